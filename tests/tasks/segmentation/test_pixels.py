"""Counts and ranking of pixels against scikit-learn, and the bounds that histograms promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from modicum.tasks.segmentation.pixels import (
    BINS,
    decided,
    pixel_counts,
    probability_bin,
    ranking_bounds,
    ranking_of,
)


def made(
    seed: int, spread: float, size: tuple[int, ...] = (2, 3, 17, 19)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that say something of the truth, more certain for a larger spread."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(size, generator=generator) < 0.2
    logits = spread * (torch.randn(size, generator=generator) + 1.5 * truth - 0.75)
    return logits.sigmoid(), truth


def ranked(absent: np.ndarray, present: np.ndarray) -> dict[str, float]:
    """Of one histogram."""
    return {name: float(value[0]) for name, value in ranking_of(absent[:, None], present[:, None]).items()}


def test_bins_rise_with_the_probability_and_split_at_one_half():
    probabilities = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    bins = probability_bin(probabilities)
    assert bool((bins.diff() >= 0).all())
    assert (bins[0], bins[-1]) == (0, BINS - 1)
    assert bins[probabilities < 0.4999].max() == BINS // 2 - 1
    assert bins[probabilities > 0.5001].min() == BINS // 2


def test_counts_are_scikit_learns_inside_the_field_of_view():
    probabilities, truth = made(0, 2)
    inside = torch.rand(2, 1, 17, 19, generator=torch.Generator().manual_seed(1)) < 0.7
    predicted = decided(probabilities, exclusive=False, threshold=0.4)
    counts = pixel_counts(probabilities, truth, predicted, inside)
    for image in range(2):
        within = inside[image, 0]
        for channel in range(3):
            matrix = confusion_matrix(
                truth[image, channel][within], probabilities[image, channel][within] >= 0.4
            )
            found = [part[image, channel] for part in (counts.rejections, counts.false_alarms)]
            found += [part[image, channel] for part in (counts.misses, counts.hits)]
            assert found == matrix.ravel().tolist()
    assert counts.histogram.sum() == 3 * inside.sum()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-3, 0.3, 2.0, 10.0, 40.0]))
def test_ranking_is_scikit_learns_within_the_bounds_that_the_histogram_gives(seed, spread):
    probabilities, truth = made(seed, spread, (1, 1, 40, 50))
    absent, present = pixel_counts(probabilities, truth, truth).histogram[0, 0]
    said, was = probabilities.flatten().double().numpy(), truth.flatten().numpy()
    exact = {"auroc": roc_auc_score(was, said), "auprc": average_precision_score(was, said)}
    found, bounds = ranked(absent, present), ranking_bounds(absent, present)
    for name, value in exact.items():
        assert bounds[name].low - 1e-9 <= value <= bounds[name].high + 1e-9
        assert bounds[name].low - 1e-9 <= found[name] <= bounds[name].high + 1e-9


def test_ranking_of_a_million_pixels_is_exact_to_the_fifth_digit():
    probabilities, truth = made(0, 2.0, (1, 1, 1000, 1000))
    absent, present = pixel_counts(probabilities, truth, truth).histogram[0, 0]
    said, was = probabilities.flatten().double().numpy(), truth.flatten().numpy()
    found, bounds = ranked(absent, present), ranking_bounds(absent, present)
    for name, score in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
        assert found[name] == pytest.approx(score(was, said), abs=5e-6)
        assert bounds[name].high - bounds[name].low < 2e-3


def test_auroc_of_probabilities_that_are_their_own_bins_is_exact():
    # 8 distinct values, far apart: ties within a bin are ties of the probabilities.
    generator = np.random.default_rng(0)
    levels = np.array([0.0, 0.01, 0.2, 0.4, 0.6, 0.9, 0.99, 1.0])
    said, was = levels[generator.integers(0, 8, 900)], generator.random(900) < 0.3
    shape = (1, 1, 30, 30)
    truth = torch.from_numpy(was).view(shape)
    absent, present = pixel_counts(torch.from_numpy(said).view(shape), truth, truth).histogram[0, 0]
    assert ranked(absent, present)["auroc"] == pytest.approx(roc_auc_score(was, said), abs=1e-12)


def test_histograms_of_images_add_up_to_that_of_all_pixels():
    probabilities, truth = made(0, 2, (6, 1, 17, 19))
    absent, present = pixel_counts(probabilities, truth, truth).histogram[:, 0].sum(0)
    exact = roc_auc_score(truth.flatten(), probabilities.flatten().double())
    assert ranked(absent, present)["auroc"] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("value", [False, True])
def test_ranking_without_both_kinds_of_pixels_is_undefined(value):
    probabilities, truth = made(0, 2, (1, 1, 9, 9))
    absent, present = pixel_counts(probabilities, torch.full_like(truth, value), truth).histogram[0, 0]
    assert np.isnan(ranked(absent, present)["auroc"])
    assert ranked(absent, present)["auprc"] == pytest.approx(1 if value else np.nan, nan_ok=True)
    assert np.isnan(list(ranking_bounds(absent, present).values())).all()


def test_exclusive_channels_are_decided_by_the_most_probable_one_the_first_on_a_tie():
    probabilities = torch.tensor([[0.4, 0.2, 0.5], [0.4, 0.5, 0.1], [0.2, 0.3, 0.4]]).view(1, 3, 1, 3)
    assert decided(probabilities, exclusive=True).squeeze().tolist() == [
        [True, False, True],
        [False, True, False],
        [False, False, False],
    ]


def test_the_threshold_itself_is_predicted():
    probabilities = torch.tensor([0.74, 0.75, 0.76]).view(1, 1, 1, 3)
    assert decided(probabilities, exclusive=False, threshold=0.75).flatten().tolist() == [False, True, True]
