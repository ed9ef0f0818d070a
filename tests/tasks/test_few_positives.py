"""Intervals of few images: resamples without a metric are counted, and too few patients get no interval."""

import numpy as np
import pytest

from modicum.tasks.bootstrap import FEWEST, FEWEST_ALIKE
from modicum.tasks.classification.evaluation import evaluate


def binary(positives, negatives, groups=None, seed=0):
    """Estimates of noisy probabilities."""
    truth = np.array([1] * positives + [0] * negatives)
    generator = np.random.default_rng(seed)
    p = np.clip(0.3 + 0.3 * truth + generator.normal(0, 0.2, len(truth)), 0.01, 0.99)
    return evaluate(
        np.stack([1 - p, p], axis=1),
        truth,
        kind="binary",
        classes=["no", "yes"],
        groups=groups,
        resamples=2000,
    )


def test_one_positive_image_gets_no_interval_and_its_reason():
    found = binary(1, 60)
    for name in (
        "auroc",
        "average_precision",
        "sensitivity",
        "sensitivity_at_95_specificity",
        "balanced_accuracy",
    ):
        assert np.isnan(found[name].low), name
        assert found[name].reason.startswith("no interval: it rests on 1 of a kind"), name
        # (1 - 1/61)^61 = 36.5 % of the resamples hold no positive image.
        assert found[name].undefined / 2000 == pytest.approx((1 - 1 / 61) ** 61, abs=0.04)
    for name in ("accuracy", "specificity", "brier", "majority_accuracy"):  # need no positive one
        assert not np.isnan(found[name].low), name


def test_few_negatives_are_as_few():
    found = binary(60, FEWEST - 1)
    assert np.isnan(found["specificity"].low)
    assert np.isnan(found["auroc"].low)
    assert not np.isnan(found["sensitivity"].low)


def test_from_the_fewest_on_there_is_one_that_says_how_many_resamples_it_is_of():
    found = binary(FEWEST, 60)["auroc"]
    assert found.low < found.value < found.high
    assert found.undefined > 0
    assert (
        found.reason == f"interval of the {2000 - found.undefined:,} of 2,000 resamples where it is defined"
    )
    many = binary(60, 60)["auroc"]
    assert (many.undefined, many.reason) == (0, "")


def test_many_images_of_few_patients_are_few():
    groups = ["a"] * 10 + ["b"] * 10 + [f"n{i}" for i in range(40)]
    found = binary(20, 40, groups)["auroc"]
    assert np.isnan(found.low)
    assert "rests on 2 of a kind" in found.reason
    assert not np.isnan(binary(20, 40)["auroc"].low)


def test_a_rare_finding_and_the_mean_that_holds_it():
    generator = np.random.default_rng(1)
    truth = (generator.random((80, 2)) < 0.5).astype(float)
    truth[:, 1] = 0
    truth[:2, 1] = 1
    truth[40:, 0] = np.nan
    found = evaluate(
        generator.random((80, 2)), truth, kind="multi-label", classes=["common", "rare"], resamples=400
    )
    assert not np.isnan(found["auroc/common"].low)
    assert np.isnan(found["auroc/rare"].low)
    assert np.isnan(found["auroc"].low)
    assert "rests on 2" in found["auroc"].reason


def test_a_rare_class_of_several():
    generator = np.random.default_rng(2)
    truth = np.array([0] * 30 + [1] * 30 + [2] * 3)
    p = generator.dirichlet([1, 1, 1], len(truth))
    found = evaluate(p, truth, kind="multi-class", classes=["a", "b", "c"], resamples=400)
    assert np.isnan(found["auroc/c"].low)
    assert np.isnan(found["balanced_accuracy"].low)
    assert not np.isnan(found["auroc/a"].low)
    assert not np.isnan(found["accuracy"].low)


def test_six_images_that_are_all_right_show_no_interval_without_width():
    def all_right(images):
        truth = np.arange(images) % 2
        p = 0.1 + 0.8 * truth
        return evaluate(np.stack([1 - p, p], 1), truth, kind="binary", classes=["a", "b"], resamples=300)

    six = all_right(6)["accuracy"]
    assert (six.value, np.isnan(six.low)) == (1.0, True)
    assert "6 patients (or images) that all say the same" in six.reason
    assert all_right(FEWEST_ALIKE)["accuracy"].low == 1.0  # told in the report
