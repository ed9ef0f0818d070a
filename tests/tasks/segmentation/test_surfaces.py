"""Distances between surfaces: closed forms, and every pair of pixels by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from modicum.tasks.segmentation.surfaces import surface_distances


def region(rows: slice, columns: slice, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    filled = np.zeros(size, bool)
    filled[rows, columns] = True
    return filled


def brute_force(first: np.ndarray, second: np.ndarray, spacing: tuple[float, float]) -> tuple[float, float]:
    """The definitions, on lists of points."""

    def points(filled: np.ndarray) -> np.ndarray:
        padded = np.pad(filled, 1)
        return np.array(
            [
                (r * spacing[0], c * spacing[1])
                for r, c in np.argwhere(filled)
                if not all(padded[r + 1 + dr, c + 1 + dc] for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0)))
            ]
        )

    pairs = cdist(points(first), points(second))
    distances = np.concatenate([pairs.min(1), pairs.min(0)])
    return float(np.percentile(distances, 95)), float(distances.mean())


@pytest.mark.parametrize("shift", [1, 3, 10])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_two_lines_are_as_far_apart_as_they_were_shifted(shift, spacing):
    first, second = region(slice(5, 35), slice(7, 8)), region(slice(5, 35), slice(7 + shift, 8 + shift))
    assert surface_distances(first, second, spacing) == pytest.approx((shift * spacing[1],) * 2)
    turned = surface_distances(first.T, second.T, spacing)
    assert turned == pytest.approx((shift * spacing[0],) * 2)


def test_two_squares_side_by_side_have_the_closed_form():
    # Squares of side 10 in columns 0-9 and 10-19. From (r, c) of the left one the nearest pixel is (r, 10), 10 - c away:
    # 10 pixels in column 9, 10 in column 0, and 2 in each column between; the other square is its mirror image.
    left, right = region(slice(0, 10), slice(0, 10)), region(slice(0, 10), slice(10, 20))
    distances = [1] * 10 + [10] * 10 + [d for d in range(2, 10) for _ in range(2)]
    found = surface_distances(left, right)
    assert found.average == pytest.approx(np.mean(distances))
    assert found.hausdorff95 == pytest.approx(10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share=st.floats(0.05, 0.95),
    rows=st.floats(0.2, 3),
    columns=st.floats(0.2, 3),
)
def test_any_two_regions_are_as_far_apart_as_by_brute_force(seed, share, rows, columns):
    generator = np.random.default_rng(seed)
    first, second = (generator.random((9, 11)) < share for _ in range(2))
    first[4, 5] = second[2, 3] = True
    found = surface_distances(first, second, (rows, columns))
    assert found == pytest.approx(brute_force(first, second, (rows, columns)))
    assert found == pytest.approx(surface_distances(second, first, (rows, columns)))


def test_equal_regions_have_no_distance_and_filled_ones_that_of_their_outline():
    filled = region(slice(10, 20), slice(10, 30))
    hollow = filled.copy()
    hollow[11:19, 11:29] = False
    assert surface_distances(filled, filled) == (0, 0)
    # The hollow one's inner side is its surface too only where the outline is more than one pixel wide.
    assert surface_distances(filled, hollow) == (0, 0)


def test_distances_to_an_empty_region_are_undefined():
    some, none = region(slice(1, 3), slice(1, 3)), np.zeros((40, 50), bool)
    for pair in ((some, none), (none, some), (none, none)):
        assert all(math.isnan(value) for value in surface_distances(*pair))


def test_a_region_at_the_edge_of_the_image_has_its_surface_there():
    edge, apart = region(slice(0, 4), slice(0, 4)), region(slice(0, 1), slice(0, 1))
    assert surface_distances(edge, apart).average == pytest.approx(brute_force(edge, apart, (1.0, 1.0))[1])
