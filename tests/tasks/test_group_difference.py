"""A metric of a group is that of its images alone, and the difference uses the same resamples for both."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from modicum.tasks.bootstrap import bootstrap
from modicum.tasks.classification.evaluation import metric_statistics
from modicum.tasks.classification.metrics import decisions
from modicum.tasks.group_difference import DIFFERENCE, GROUP, REST, Measured, group_and_others


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 120)
    p = np.clip(0.25 * truth + 0.7 * rng.random(120), 0, 1)
    return np.stack([1 - p, p], axis=1), truth, rng.random(120) < 0.4


def measured(data, rows):
    probabilities, truth, _ = data
    return Measured(rows, *metric_statistics(probabilities[rows], truth[rows], "binary", ["no", "yes"], 0.95))


def test_values_are_those_of_the_images_alone(data):
    probabilities, truth, inside = data
    here, there = np.flatnonzero(inside), np.flatnonzero(~inside)
    statistic = group_and_others(measured(data, here), measured(data, there), ["auroc"], 120)
    found = bootstrap([statistic], 120, resamples=200)
    ours = roc_auc_score(truth[here], probabilities[here, 1])
    theirs = roc_auc_score(truth[there], probabilities[there, 1])
    assert found[GROUP + "auroc"].value == pytest.approx(ours)
    assert found[REST + "auroc"].value == pytest.approx(theirs)
    difference = found[DIFFERENCE + "auroc"]
    assert difference.value == pytest.approx(ours - theirs)
    assert difference.low < difference.value < difference.high


def test_patients_on_both_sides_are_drawn_together():
    # One eye each in the group and in the others, both right or both wrong: the difference is 0 in every resample.
    right = np.random.default_rng(0).random(40) < 0.7
    truth, patients = np.zeros(80, dtype=int), np.tile(np.arange(40), 2)
    predicted = np.tile((~right).astype(int), 2)
    parts = [
        Measured(rows, [decisions(truth[rows], predicted[rows], 2)], {})
        for rows in (np.arange(40), np.arange(40, 80))
    ]
    found = bootstrap([group_and_others(*parts, ["accuracy"], 80)], 80, groups=patients, resamples=300)
    assert found[GROUP + "accuracy"].high > found[GROUP + "accuracy"].low
    assert (found[DIFFERENCE + "accuracy"].low, found[DIFFERENCE + "accuracy"].high) == (0, 0)


def test_a_mean_over_classes_compares_the_same_classes():
    rng = np.random.default_rng(5)
    truth = np.concatenate([np.resize([0, 1], 40), np.resize([0, 1, 2], 60)])  # class 2 is not in the group
    probabilities = rng.dirichlet(np.ones(3), 100)
    parts = [
        Measured(
            rows, *metric_statistics(probabilities[rows], truth[rows], "multi-class", ["a", "b", "c"], 0.95)
        )
        for rows in (np.arange(40), np.arange(40, 100))
    ]
    found = bootstrap([group_and_others(*parts, ["auroc"], 100)], 100, resamples=0)
    rest = np.mean([roc_auc_score(truth[40:] == c, probabilities[40:, c]) for c in (0, 1)])
    assert found[REST + "auroc"].value == pytest.approx(rest)
