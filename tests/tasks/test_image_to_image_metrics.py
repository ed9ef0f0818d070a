"""Metrics of translations by hand, by torchmetrics and by the release's own arithmetic."""

import doctest
import math

import modicum  # noqa: F401 - before torchmetrics, which imports torchvision

# isort: split
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from modicum.errors import InputError
from modicum.tasks.image_to_image import metrics
from modicum.tasks.image_to_image.metric_table import MEASURES
from modicum.tasks.image_to_image.metrics import (
    foreground,
    mean_over_slices,
    nmae,
    psnr,
    psnr_foreground,
    psnr_release,
    sharpness,
    sharpness_error,
    ssim_foreground,
    ssim_gaussian,
    ssim_release,
)


def head(seed: int = 0, side: int = 48) -> np.ndarray:
    """A noisy disc on the background of -1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(rows, columns) < 0.4 * side
    return np.where(inside, rng.uniform(-0.9, 0.7, (side, side)), -1).astype(np.float32)


def noisy(real: np.ndarray, seed: int = 1, amount: float = 0.2) -> np.ndarray:
    return (real + amount * np.random.default_rng(seed).normal(size=real.shape)).astype(np.float32)


EMPTY = np.full((48, 48), -1, np.float32)


def test_docstring_examples_run():
    assert doctest.testmod(metrics).failed == 0


def test_an_offset_of_a_fifth_on_the_foreground_is_0_1_and_20_db():
    real = head()
    made = np.where(real != -1, real + np.float32(0.2), 0.9).astype(
        np.float32
    )  # the background does not count
    assert nmae(made, real) == pytest.approx(0.1, abs=1e-6)
    assert psnr_foreground(made, real) == pytest.approx(20, abs=1e-4)
    inside = (real != -1).mean()
    assert psnr(made, real) == pytest.approx(
        -10 * math.log10(inside * 0.1**2 + (1 - inside) * 0.95**2), abs=1e-4
    )


def test_the_releases_psnr_is_its_double_indexing():
    real = head()
    made = noisy(real)
    rows, columns = np.where(real != -1)
    unit_made, unit_real = (made + 1) / 2.0, (real + 1) / 2.0
    mean_square = np.mean((unit_made[rows][columns] - unit_real[rows][columns]) ** 2)
    expected = 20 * np.log10(1 / np.sqrt(mean_square))
    assert psnr_release(made, real) == pytest.approx(expected, abs=1e-4)


def test_the_releases_psnr_counts_background_and_sees_only_the_uppermost_rows():
    real = head()
    first_row = np.nonzero((real != -1).any(1))[0][0]
    perfect_background = np.where(real != -1, real + np.float32(0.2), real).astype(np.float32)
    assert psnr_release(perfect_background, real) > psnr_foreground(perfect_background, real) + 1
    below = real.copy()
    below[24:] += 0.2
    assert first_row < 24
    assert psnr_release(below, real) == 100
    assert psnr_foreground(below, real) < 25


def test_the_releases_psnr_is_undefined_where_the_release_stops():
    real = EMPTY.copy()
    real[3, 40] = 0.5  # one foreground pixel has no 41st
    rows, columns = np.where(real != -1)
    with pytest.raises(IndexError):
        real[rows][columns]
    assert math.isnan(psnr_release(real, real))


def test_ssim_of_the_release_is_its_definition():
    real = head(side=64)
    made = noisy(real)
    expected = direct_ssim(made.astype(np.float64), real.astype(np.float64), 2.0, sample=True).mean()
    assert ssim_release(made, real) == pytest.approx(expected, abs=1e-9)


def test_the_definition_is_torchmetrics_which_divides_covariances_by_the_whole_window():
    real = head(side=64)
    made = noisy(real)
    tensors = [torch.from_numpy(part)[None, None].double() for part in (made, real)]
    _, whole = structural_similarity_index_measure(
        *tensors, gaussian_kernel=False, kernel_size=7, data_range=2.0, return_full_image=True
    )
    expected = direct_ssim(made.astype(np.float64), real.astype(np.float64), 2.0, sample=False)
    np.testing.assert_allclose(whole[0, 0, 3:-3, 3:-3].numpy(), expected, atol=1e-6)


def direct_ssim(made: np.ndarray, real: np.ndarray, data_range: float, sample: bool) -> np.ndarray:
    """The index window by window, by its definition."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(part, (7, 7)).reshape(-1, 49) for part in (made, real)
    ]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for x, y in zip(*windows, strict=True):
        (vx, vxy), (_, vy) = np.cov(x, y, ddof=int(sample))
        mx, my = x.mean(), y.mean()
        values.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.array(values).reshape(made.shape[0] - 6, made.shape[1] - 6)


def test_recommended_ssim_is_the_mean_over_the_foreground_on_the_unit_scale():
    real = head()
    made = noisy(real)
    index = direct_ssim(
        (made.astype(np.float64) + 1) / 2, (real.astype(np.float64) + 1) / 2, 1.0, sample=True
    )
    expected = index[(real != -1)[3:-3, 3:-3]].mean()
    assert ssim_foreground(made, real) == pytest.approx(expected, abs=1e-9)


def test_ssim_depends_on_where_zero_is_and_on_the_background():
    real = head()
    made = noisy(real)
    shifted = [(part + 1) / 2 for part in (made, real)]
    on_unit = direct_ssim(*(part.astype(np.float64) for part in shifted), 1.0, sample=True).mean()
    assert on_unit != pytest.approx(ssim_release(made, real), abs=0.01)
    clean = np.where(real != -1, made, -1).astype(np.float32)
    assert (
        ssim_release(clean, real) > ssim_release(made, real) + 0.1
    )  # an empty background counts as well done
    assert ssim_foreground(clean, real) == pytest.approx(ssim_foreground(made, real), abs=0.1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_a_slice_is_perfectly_like_itself(seed, channels):
    real = np.stack([head(seed + number) for number in range(channels)])
    assert nmae(real, real) == 0
    assert psnr(real, real) == psnr_foreground(real, real) == psnr_release(real, real) == 100
    assert ssim_release(real, real) == pytest.approx(1)
    assert ssim_foreground(real, real) == pytest.approx(1)
    assert ssim_gaussian(real, real) == pytest.approx(1)
    assert sharpness_error(real, real) == 0


def test_channels_count_alike():
    real, made = head(), noisy(head())
    for metric in MEASURES.values():
        assert metric(np.stack([made] * 3), np.stack([real] * 3)) == pytest.approx(metric(made, real))
    coloured = np.stack([EMPTY, real, EMPTY])
    assert np.array_equal(foreground(coloured), real != -1)


@pytest.mark.filterwarnings("error")
def test_a_slice_of_background_alone_spoils_no_mean():
    real = head()
    made = noisy(real)
    for known, metric in MEASURES.items():
        values = [metric(made, real), metric(noisy(EMPTY), EMPTY)]
        whole_slice = known.name in {"psnr", "ssim_release", "ssim_gaussian"}
        assert math.isnan(values[1]) != whole_slice
        expected = sum(values) / 2 if whole_slice else values[0]
        assert mean_over_slices(values) == pytest.approx(expected)
    assert math.isnan(mean_over_slices([math.nan]))


def test_every_metric_has_a_direction():
    real = head()
    for known, metric in MEASURES.items():
        better, worse = (metric(noisy(real, amount=amount), real) for amount in (0.05, 0.4))
        assert (better > worse) == known.higher_is_better


def test_slices_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match=r"\[48, 48\].*\[48, 40\]"):
        nmae(head(), head()[:, :40])
    with pytest.raises(InputError, match="6x48"):
        ssim_release(head()[:6], head()[:6])


def test_gaussian_ssim_is_its_papers_formula_in_windows_of_11_pixels():
    made, real = noisy(head()), head()
    weights = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for row, column in np.ndindex(38, 38):
        x, y = (
            (part.astype(float)[row : row + 11, column : column + 11] + 1) / 2 * 255 for part in (made, real)
        )
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
        covariance = (window * (x - mean_x) * (y - mean_y)).sum()
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        values.append(alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    assert ssim_gaussian(made, real) == pytest.approx(np.mean(values), abs=1e-6)


def test_half_the_contrast_is_two_powers_of_2_less_sharp():
    # The variance of the Laplacian is a quarter.
    real = head()
    assert sharpness_error((real - 1) / 2, real) == pytest.approx(2, abs=0.3)
    assert sharpness(real / 2) == pytest.approx(sharpness(real) / 4)
    assert math.isnan(sharpness_error(real, EMPTY))
    assert math.isnan(ssim_gaussian(real[:8, :8], real[:8, :8]))
