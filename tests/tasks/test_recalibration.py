"""Calibration slope and intercept are those of a logistic regression of another library; intervals know of patients."""

import math

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from modicum.tasks.bootstrap import bootstrap
from modicum.tasks.classification.curves import reliability
from modicum.tasks.classification.recalibration import logistic_fit, recalibration
from modicum.tasks.classification.reliability_by_patient import effective_size, reliability_by_patient


@pytest.fixture(scope="module")
def stated():
    rng = np.random.default_rng(0)
    truth_logit = rng.normal(-0.5, 1.2, 400)
    positive = rng.random(400) < special.expit(truth_logit)
    return special.expit(2 * truth_logit + 0.7), positive


def test_slope_and_intercept_are_those_of_a_logistic_regression(stated):
    probability, positive = stated
    logits = special.logit(probability)
    reference = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(logits[:, None], positive)
    intercept, slope = logistic_fit(logits, positive.astype(float), np.ones((400, 1)))
    assert slope[0] == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercept[0] == pytest.approx(reference.intercept_[0], abs=1e-4)
    # The probabilities were made twice too extreme.
    assert slope[0] == pytest.approx(0.5, abs=0.12)


def test_a_weight_of_two_is_an_image_counted_twice(stated):
    probability, positive = stated
    weights = np.where(np.arange(400) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(400), weights.astype(int))
    statistic = recalibration(probability, positive)
    ours = statistic.values(weights[:, None])
    theirs = recalibration(probability[twice], positive[twice]).values(np.ones((len(twice), 1)))
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=1e-8), name


def test_very_many_images_are_fitted_in_bins_without_a_difference_that_shows():
    rng = np.random.default_rng(4)
    logits = rng.normal(-1, 1.5, 3000)
    positive = rng.random(3000) < special.expit(0.7 * logits)
    found = recalibration(special.expit(logits), positive).values(np.ones((3000, 1)))
    exact = logistic_fit(logits, positive.astype(float), np.ones((3000, 1)))
    assert found["calibration_slope"][0] == pytest.approx(exact[1][0], abs=2e-3)


def test_right_probabilities_have_slope_one_and_intercept_zero():
    # Of each probability as many images as it says.
    probability = np.repeat([0.1, 0.3, 0.8], 10)
    positive = np.concatenate([np.arange(10) < round(10 * p) for p in (0.1, 0.3, 0.8)])
    values = recalibration(probability, positive).values(np.ones((30, 1)))
    assert values["calibration_slope"][0] == pytest.approx(1)
    assert values["calibration_intercept"][0] == pytest.approx(0, abs=1e-9)
    assert values["observed_expected"][0] == pytest.approx(1)


def test_outcomes_that_a_probability_parts_have_no_slope():
    values = recalibration(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert math.isnan(values.values(np.ones((4, 1)))["calibration_slope"][0])


def test_interval_of_the_slope_holds_its_value(stated):
    probability, positive = stated
    found = bootstrap([recalibration(probability, positive)], 400, resamples=100)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


def test_copies_of_an_image_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    stated, correct = rng.random(60), rng.random(60) < 0.5
    single = reliability(stated, correct, bins=5)
    copied = reliability_by_patient(
        np.repeat(stated, 4), np.repeat(correct, 4), np.repeat(np.arange(60), 4), bins=5
    )
    assert np.abs(copied.low - single.low).max() < 0.03
    assert (reliability(np.repeat(stated, 4), np.repeat(correct, 4), bins=5).low > single.low).all()


def test_images_that_are_all_alike_count_as_many_as_their_patients():
    assert effective_size(np.ones(12, dtype=bool), np.repeat(np.arange(4), 3)) == 4
    assert effective_size(np.array([True, False] * 6), np.arange(12)) == pytest.approx(12)
    # Three images each of four patients, all of a patient alike: as many as patients.
    assert effective_size(
        np.repeat([True, False, True, False], 3), np.repeat(np.arange(4), 3)
    ) == pytest.approx(4)
