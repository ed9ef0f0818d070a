"""Curves against scikit-learn and scipy, and bands against what they must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from modicum.tasks.bootstrap import bootstrap
from modicum.tasks.classification.curves import (
    confusion_matrix,
    pr_band,
    pr_curve,
    reliability,
    roc_band,
    roc_curve,
    wilson_interval,
)
from modicum.tasks.classification.evaluation import point_metrics, top_label
from modicum.tasks.classification.metrics import ranking


@st.composite
def scored(draw):
    n = draw(st.integers(2, 50))
    ties = draw(st.sampled_from([2, 5, 10_000]))
    scores = draw(npst.arrays(np.float64, n, elements=st.integers(0, ties).map(lambda k: k / ties)))
    positive = draw(npst.arrays(np.bool_, n))
    positive[:2] = True, False
    weights = draw(npst.arrays(np.int64, n, elements=st.integers(0, 3)))
    weights[:2] = np.maximum(weights[:2], 1)
    return scores, positive, draw(st.sampled_from([None, weights]))


def normal_scores(n: int = 400, distance: float = 1.5, seed: int = 0):
    generator = np.random.default_rng(seed)
    positive = np.arange(n) % 2 == 0
    return generator.normal(size=n) + distance * positive, positive


@given(scored(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_roc_points_equal_scikit_learn(case, drop):
    scores, positive, weights = case
    ours = roc_curve(scores, positive, weights, drop_collinear=drop)
    fpr, tpr, thresholds = sk.roc_curve(positive, scores, sample_weight=weights, drop_intermediate=drop)
    np.testing.assert_allclose(ours.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(ours.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


@given(scored())
@settings(max_examples=50, deadline=None)
def test_precision_recall_points_equal_scikit_learn(case):
    scores, positive, weights = case
    ours = pr_curve(scores, positive, weights)
    precision, recall, thresholds = sk.precision_recall_curve(positive, scores, sample_weight=weights)
    np.testing.assert_allclose(ours.precision, precision, atol=1e-12)
    np.testing.assert_allclose(ours.recall, recall, atol=1e-12)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


def test_the_area_under_the_roc_points_is_auroc():
    scores, positive = normal_scores()
    curve = roc_curve(scores, positive)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(sk.roc_auc_score(positive, scores), abs=1e-12)


def test_curves_of_one_class_are_undefined_and_no_error():
    scores, positive = np.array([0.1, 0.5, 0.9]), np.array([False, False, False])
    assert np.isnan(roc_curve(scores, positive).tpr).all()
    assert np.isnan(pr_curve(scores, positive).recall[:-1]).all()
    band = roc_band(scores, positive, resamples=50)
    assert np.isnan(band.value).all()
    assert band.undefined == 50


def test_the_roc_band_holds_the_curve_and_runs_from_corner_to_corner():
    scores, positive = normal_scores()
    band = roc_band(scores, positive, resamples=500)
    assert ((band.low <= band.value) & (band.value <= band.high)).mean() > 0.97
    assert (np.diff(band.value) >= 0).all()
    assert (np.diff(band.low) >= 0).all()
    assert band.value[-1] == band.low[-1] == band.high[-1] == 1
    curve = roc_curve(scores, positive)
    for rate, value in zip(band.x, band.value, strict=True):
        assert value >= curve.tpr[curve.fpr <= rate].max() - 1e-12


def test_the_roc_band_at_5_percent_is_as_wide_as_the_interval_of_sensitivity_there():
    scores, positive = normal_scores()
    band = roc_band(scores, positive, grid=np.array([0.05]), resamples=1000)
    interval = bootstrap([ranking(scores, positive)], 400, resamples=1000)["sensitivity_at_specificity"]
    # The same resamples; the band joins the points of the curve by lines, the metric takes the point below.
    assert band.value[0] == pytest.approx(interval.value, abs=0.01)
    assert (band.low[0], band.high[0]) == pytest.approx((interval.low, interval.high), abs=0.015)


def test_the_roc_band_covers_the_true_curve_at_about_95_percent():
    grid = np.array([0.1, 0.3, 0.5])
    truth = stats.norm.sf(stats.norm.isf(grid) - 1.5)
    covered = np.zeros(3)
    for seed in range(100):
        scores, positive = normal_scores(200, seed=seed)
        band = roc_band(scores, positive, grid=grid, resamples=200)
        covered += (band.low <= truth) & (truth <= band.high)
    assert (covered >= 85).all()


def test_copied_images_do_not_narrow_the_band_of_patients():
    scores, positive = normal_scores(100)
    patients = np.repeat(np.arange(100).astype(str), 9)
    nine, truth = np.repeat(scores, 9), np.repeat(positive, 9)
    grid = np.array([0.2])
    honest = roc_band(nine, truth, groups=patients, grid=grid, resamples=600)
    naive = roc_band(nine, truth, grid=grid, resamples=600)
    assert (honest.high - honest.low)[0] == pytest.approx(3 * (naive.high - naive.low)[0], rel=0.25)


def test_the_precision_band_follows_scikit_learn():
    scores, positive = normal_scores()
    band = pr_band(scores, positive, resamples=300)
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    for wanted, value in zip(band.x[1:], band.value[1:], strict=True):
        reached = np.flatnonzero(recall >= wanted - 1e-12)[-1]  # the highest threshold that reaches it
        assert value == pytest.approx(precision[reached], abs=1e-12)
    assert ((band.low <= band.value) & (band.value <= band.high)).mean() > 0.97
    assert band.low[-1] >= 0.4


def test_one_patient_has_a_curve_and_no_band():
    scores, positive = normal_scores(20)
    band = roc_band(scores, positive, groups=["a"] * 20)
    assert not np.isnan(band.value).any()
    assert np.isnan(band.low).all()


@pytest.mark.parametrize("on_edges", [False, True])
def test_reliability_points_equal_scikit_learn(on_edges):
    generator = np.random.default_rng(0)
    stated = generator.uniform(size=500)
    if on_edges:
        stated = np.linspace(0, 1, 11)[generator.integers(11, size=500)]
    positive = generator.uniform(size=500) < stated**2
    ours = reliability(stated, positive, bins=10)
    observed, mean_stated = calibration_curve(positive, stated, n_bins=10)
    np.testing.assert_allclose(ours.accuracy, observed, atol=1e-12)
    np.testing.assert_allclose(ours.confidence, mean_stated, atol=1e-12)
    assert ours.count.sum() == 500


def test_reliability_points_make_up_the_calibration_error():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), size=300)
    truth = generator.integers(4, size=300)
    points = reliability(*top_label(probabilities, truth))
    gaps = np.nansum(points.count * np.abs(points.accuracy - points.confidence)) / 300
    found = point_metrics(probabilities, truth, kind="multi-class", classes=list("abcd"))["ece"]
    assert gaps == pytest.approx(found, abs=1e-12)
    assert np.isnan(points.accuracy[0])  # nobody's highest of four probabilities is under 1/15
    assert np.isnan(points.low[0])


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 10), (10, 10), (470, 500)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_interval_equals_scipy(successes, trials, level):
    low, high = wilson_interval(np.array([successes]), np.array([trials]), level)
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_confusion_matrix_equals_scikit_learn():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(4, size=(2, 100))
    expected = sk.confusion_matrix(truth, predicted, labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 5), expected)
