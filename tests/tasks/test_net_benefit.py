"""Net benefit and predictive values are what their definitions give by hand, and a loop over patients gives the bands."""

import numpy as np
import pytest

from modicum.errors import InputError
from modicum.tasks.classification.net_benefit import decision_curve, net_benefit, net_benefit_of_all
from modicum.tasks.classification.predictive_values import decision_rates, predictive_values

SCORES = np.array([0.9, 0.8, 0.6, 0.3, 0.2, 0.1, 0.7, 0.4, 0.4, 0.05])
POSITIVE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)


def test_net_benefit_is_that_of_counting_by_hand():
    # From 0.4 on: 3 of 4 cases, and 3 others in vain, of 10 images; the odds of 0.4 are 2/3.
    assert net_benefit(SCORES, POSITIVE, [0.4])[0] == pytest.approx(3 / 10 - 3 / 10 * 2 / 3)
    # From 0.75 on: 2 cases and nobody in vain.
    assert net_benefit(SCORES, POSITIVE, [0.75])[0] == pytest.approx(2 / 10)


def test_acting_on_everyone_is_the_model_that_says_yes_to_all():
    thresholds = [0.05, 0.2, 0.5, 0.9]
    everyone = net_benefit(np.ones(10), POSITIVE, thresholds)
    assert net_benefit_of_all(0.4, thresholds) == pytest.approx(everyone)
    assert net_benefit_of_all(0.4, [0.4]) == pytest.approx([0.0], abs=1e-12)


def test_at_another_prevalence_images_count_as_if_they_were_as_common():
    # Each of the 6 negative images three times makes 4 of 22 positive.
    times = np.where(POSITIVE, 1, 3)
    repeated = net_benefit(np.repeat(SCORES, times), np.repeat(POSITIVE, times), [0.1, 0.3, 0.6])
    assert net_benefit(SCORES, POSITIVE, [0.1, 0.3, 0.6], prevalence=4 / 22) == pytest.approx(repeated)


def test_band_is_that_of_a_loop_over_drawn_patients():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(30), 2)
    positive = rng.random(60) < 0.4
    scores = np.clip(0.35 * positive + 0.6 * rng.random(60), 0, 1)
    curve = decision_curve(scores, positive, thresholds=[0.2, 0.5], groups=patients, resamples=4000)
    drawn = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(patients == one) for one in rng.integers(30, size=30)])
        acts = scores[rows] >= 0.5
        hits, alarms = (acts & positive[rows]).sum(), (acts & ~positive[rows]).sum()
        drawn.append(hits / 60 - alarms / 60)
    assert [curve.low[1], curve.high[1]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert curve.low[1] < curve.model[1] < curve.high[1]


def test_thresholds_at_the_ends_are_refused():
    with pytest.raises(InputError, match="threshold 1 of a decision curve"):
        net_benefit(SCORES, POSITIVE, [1.0])


def test_predictive_values_follow_bayes():
    # Sensitivity 90 %, specificity 95 %, prevalence 1 %: of 10,000 people 90 rightly and 495 wrongly said.
    ppv, npv = predictive_values(0.9, 0.95, 0.01)
    assert ppv[0] == pytest.approx(90 / (90 + 495))
    assert npv[0] == pytest.approx(9405 / (9405 + 10))
    with pytest.raises(InputError, match="prevalence 5 is not between"):
        predictive_values(0.9, 0.95, 5.0)


def test_at_the_prevalence_of_the_images_bayes_gives_what_is_counted():
    says = SCORES >= 0.4
    values = decision_rates(says, POSITIVE, prevalence=0.4).values(np.ones((10, 1)))
    assert values["ppv"][0] == pytest.approx(3 / 6)
    assert values["npv"][0] == pytest.approx(3 / 4)
    assert values["ppv_at_prevalence"] == pytest.approx(values["ppv"])
    assert values["npv_at_prevalence"] == pytest.approx(values["npv"])
