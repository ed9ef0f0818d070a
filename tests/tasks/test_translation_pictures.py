"""Grids that show a displacement field, against the function that moves pictures by fields; colours of error maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.nn import warp
from modicum.tasks.image_to_image.pictures import (
    GRID_COLOUR,
    comparison_pictures,
    displacement_grid,
    error_colours,
    error_map,
)


def constant(down, right, height=48, width=36):
    return np.stack([np.full((height, width), down), np.full((height, width), right)]).astype(np.float32)


def grey(grid):
    """How much of a pixel a line covers, from 0 to 1."""
    return grid[..., 2].astype(float) / GRID_COLOUR[2]


def moved(grid, field):
    found = warp(torch.from_numpy(grid)[None, None], torch.from_numpy(field.astype(np.float64))[None])
    return found[0, 0].numpy()


def test_no_displacement_is_a_straight_grid():
    lines = grey(displacement_grid(constant(0, 0), spacing=12)) > 0.25
    rows, columns = np.flatnonzero(lines.all(1)), np.flatnonzero(lines.all(0))
    # Lines lie half a space from the border and a whole one from each other, each on the border of two pixels.
    assert rows.tolist() == [5, 6, 17, 18, 29, 30, 41, 42]
    assert columns.tolist() == [5, 6, 17, 18, 29, 30]
    lines[rows], lines[:, columns] = False, False
    assert not lines.any()


@given(st.integers(-5, 5), st.integers(-5, 5))
@settings(max_examples=20, deadline=None)
def test_the_grid_moves_as_a_picture_does(down, right):
    field = constant(down, right)
    expected = moved(grey(displacement_grid(constant(0, 0), spacing=12)), field)
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(
        grey(displacement_grid(field, spacing=12))[inner], expected[inner], atol=1 / 255
    )


def test_where_a_picture_is_stretched_lines_keep_their_width():
    rows, columns = np.indices((120, 120)).astype(np.float32)
    half = np.stack([60 - rows / 2 - 30, 60 - columns / 2 - 30])  # p + field = 30 + p / 2: twice as large
    lines = grey(displacement_grid(half, spacing=10))
    assert lines[:, 60].mean() == pytest.approx(1 / 20, abs=0.01)  # one pixel of every twenty
    assert grey(displacement_grid(0 * half, spacing=10))[:, 60].mean() == pytest.approx(1 / 10, abs=0.01)


def test_the_picture_under_a_grid_is_seen_between_its_lines():
    under = np.full((1, 48, 36), 0.8, np.float32)
    grid = displacement_grid(constant(0, 0), under, spacing=12)
    assert len(set(grid[0, 0])) == 1  # grey
    assert 0 < grid[0, 0, 0] < 0.8 * 255
    on_a_line = displacement_grid(constant(0.5, 0.0), under, spacing=12)[5, 0]
    assert tuple(on_a_line) == GRID_COLOUR


def test_errors_are_black_where_there_are_none_and_brightest_from_half_of_the_scale_on():
    target = np.zeros((1, 4, 4), np.float32)
    made = target.copy()
    made[0, 1, 1], made[0, 2, 2] = 0.5, 0.9
    colours = error_map(made, target)
    assert colours[0, 0].sum() < 10
    assert (colours[1, 1] == colours[2, 2]).all()
    assert colours[1, 1].sum() > 2 * 255
    brightness = error_colours(np.linspace(0, 0.5, 40)[None]).astype(int).sum(-1)[0]
    assert (np.diff(brightness) > 0).mean() > 0.9


def test_without_a_target_there_is_no_error_to_show():
    image = np.zeros((3, 4, 4), np.float32)
    assert list(comparison_pictures(image, image[:1], None)) == ["source", "output"]
    assert list(comparison_pictures(image, image[:1], image[:1])) == ["source", "output", "target", "error"]
