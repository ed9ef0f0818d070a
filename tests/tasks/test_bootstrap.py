"""Intervals: weights are copies, coverage is as promised, patients are the unit."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn import metrics as sk

from modicum.errors import InputError
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap, group_numbers, resampled_counts
from modicum.tasks.classification.evaluation import evaluate, metric_names, metric_statistics, point_metrics
from modicum.tasks.classification.metrics import ranking

GRADES = ["g0", "g1", "g2", "g3"]


def mean_of(values: np.ndarray) -> Statistic:
    """The mean, as a statistic."""
    terms = sparse.csr_array(np.stack([values, np.ones(len(values))]))
    return Statistic(terms, lambda sums: {"mean": sums[0] / sums[1]})


@st.composite
def predictions(draw):
    """Probabilities, truth and kind, with ties, unknown findings and absent classes."""
    kind = draw(st.sampled_from(["binary", "multi-class", "multi-label"]))
    classes = 2 if kind == "binary" else draw(st.integers(2, 4))
    n = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = generator.uniform(size=(n, classes)) + 0.01
    if draw(st.booleans()):
        probabilities = np.ceil(probabilities * 3)
    probabilities /= probabilities.sum(1, keepdims=True)
    if kind == "multi-label":
        truth = generator.choice([0.0, 1.0, np.nan], p=[0.5, 0.3, 0.2], size=(n, classes))
    else:
        truth = generator.integers(classes, size=n)
    weights = generator.multinomial(n, np.full(n, 1 / n))
    return probabilities, truth, kind, GRADES[:classes], weights


@given(predictions())
@settings(max_examples=80, deadline=None)
def test_a_weight_is_that_many_copies_of_the_image_for_every_metric(case):
    probabilities, truth, kind, classes, weights = case
    weighted, copied = {}, {}
    statistics, _ = metric_statistics(probabilities, truth, kind, classes, 0.95)
    for statistic in statistics:
        weighted |= {k: v[0] for k, v in statistic.values(weights[:, None].astype(np.float64)).items()}
    rows = np.repeat(np.arange(len(weights)), weights)
    statistics, _ = metric_statistics(probabilities[rows], truth[rows], kind, classes, 0.95)
    for statistic in statistics:
        copied |= {k: v[0] for k, v in statistic.values(np.ones((len(rows), 1))).items()}
    assert weighted == pytest.approx(copied, abs=1e-12, nan_ok=True)


def test_each_resample_of_patients_equals_the_metric_on_their_copied_images():
    generator = np.random.default_rng(0)
    truth = generator.integers(4, size=120)
    probabilities = generator.dirichlet(np.ones(4), size=120)
    patients = [f"p{number}" for number in generator.integers(30, size=120)]
    unit = group_numbers(patients, 120)
    counts = next(resampled_counts(int(unit.max()) + 1, 20, seed=3))
    by_hand: dict[str, list[float]] = {}
    for column in counts.T.astype(int):
        rows = np.concatenate(
            [np.flatnonzero(unit == u) for u, times in enumerate(column) for _ in range(times)]
        )
        point = point_metrics(
            probabilities[rows], truth[rows], kind="multi-class", classes=GRADES, ordered=True
        )
        for name, value in point.items():
            by_hand.setdefault(name, []).append(value)
    found = evaluate(
        probabilities,
        truth,
        kind="multi-class",
        classes=GRADES,
        ordered=True,
        groups=patients,
        resamples=20,
        seed=3,
    )
    for name, values in by_hand.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=80)
    ours = bootstrap([mean_of(values)], 80, resamples=20_000)["mean"]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_95_percent_interval_of_auroc_covers_the_truth_in_about_95_percent_of_data_sets():
    truth = stats.norm.cdf(1 / math.sqrt(2))  # two unit normals one apart
    generator = np.random.default_rng(0)
    positive = np.arange(120) % 2 == 0
    covered = 0
    for _ in range(200):
        statistic = ranking(generator.normal(size=120) + positive, positive)
        interval = bootstrap([statistic], 120, resamples=400)["auroc"]
        covered += interval.low <= truth <= interval.high
    # 190 expected; three binomial standard deviations are 9, and percentile intervals are a bit short.
    assert 178 <= covered <= 199


@pytest.mark.parametrize("copies", [4, 9])
def test_copies_of_images_widen_the_patient_interval_by_the_root_of_their_number(copies):
    generator = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    scores = generator.normal(size=200) + positive
    patients = np.repeat([f"p{i}" for i in range(200)], copies)
    statistic = ranking(np.repeat(scores, copies), np.repeat(positive, copies))
    naive = bootstrap([statistic], 200 * copies)["auroc"]
    honest = bootstrap([statistic], 200 * copies, groups=patients)["auroc"]
    assert naive.value == honest.value
    ratio = (honest.high - honest.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(copies), rel=0.1)
    alone = bootstrap([ranking(scores, positive)], 200)["auroc"]
    assert honest.high - honest.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_counts_are_draws_with_replacement_and_the_same_for_a_seed():
    first, again, other = (np.hstack(list(resampled_counts(50, 3000, seed))) for seed in (1, 1, 2))
    assert first.shape == (50, 3000)
    assert (first.sum(0) == 50).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Multinomial: mean 1, variance 1 - 1/n, covariance -1/n.
    assert first.var(axis=1).mean() == pytest.approx(1 - 1 / 50, rel=0.02)
    assert np.cov(first)[np.triu_indices(50, 1)].mean() == pytest.approx(-1 / 50, rel=0.05)


def test_blank_patients_are_patients_of_their_own():
    import pandas as pd

    numbers = group_numbers(["b", "", "a", None, "b", float("nan"), pd.NA, " a "], 8)
    assert numbers[0] == numbers[4]
    assert numbers[2] == numbers[7]
    assert len(set(numbers)) == 6
    assert sorted(set(numbers)) == list(range(6))


def test_groups_must_be_one_an_image():
    with pytest.raises(InputError, match="2 groups for 3 images"):
        bootstrap([mean_of(np.arange(3.0))], 3, groups=["a", "b"])


def test_one_patient_has_a_value_and_no_interval():
    found = bootstrap([mean_of(np.arange(5.0))], 5, groups=["a"] * 5)["mean"]
    assert found.value == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert "fewer than two patients" in found.reason


@pytest.mark.parametrize(("name", "value"), [("resamples", -1), ("confidence", 95.0)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is {value:g}"):
        bootstrap([mean_of(np.arange(3.0))], 3, **{name: value})


def test_resamples_without_the_rare_class_are_left_out_and_counted():
    generator = np.random.default_rng(0)
    truth = np.array([0] * 49 + [1])
    score = generator.uniform(size=50)
    probabilities = np.stack([1 - score, score], axis=1)
    found = evaluate(probabilities, truth, kind="binary", classes=["healthy", "ill"])
    # A given image is missed by a resample of n with probability (1 - 1/n)^n.
    assert found["auroc"].undefined / 2000 == pytest.approx((1 - 1 / 50) ** 50, abs=0.03)
    assert math.isnan(found["auroc"].low)  # of what those say that happen to hold the one image
    assert found["accuracy"].undefined == 0


def test_one_class_only_gives_nan_and_a_reason_and_no_error():
    probabilities = np.random.default_rng(0).dirichlet([1, 1], size=30)
    found = evaluate(probabilities, np.ones(30, dtype=int), kind="binary", classes=["healthy", "ill"])
    for name in ("auroc", "sensitivity_at_95_specificity", "balanced_accuracy", "specificity"):
        assert math.isnan(found[name].value), name
        assert found[name].reason, name
    assert "30 with, 0 without" in found["auroc"].reason
    assert found["auroc"].undefined == 2000
    assert found["accuracy"].value == pytest.approx((probabilities[:, 1] > 0.5).mean())


def test_an_absent_class_is_left_out_of_the_macro_average_and_named():
    generator = np.random.default_rng(0)
    truth = generator.integers(3, size=60)
    probabilities = generator.dirichlet(np.ones(4), size=60)
    found = evaluate(probabilities, truth, kind="multi-class", classes=GRADES, ordered=True)
    expected = np.mean([sk.roc_auc_score(truth == c, probabilities[:, c]) for c in range(3)])
    assert found["auroc"].value == pytest.approx(expected)
    assert found["auroc"].reason == "mean over 3 of 4: not defined for g3"
    assert math.isnan(found["auroc/g3"].value)
    assert found["auroc/g3"].reason == "needs images with and without 'g3': 0 with, 60 without"
    assert found["auroc"].low < found["auroc"].value < found["auroc"].high


def test_a_finding_that_is_never_known_is_undefined():
    truth = np.array([[1, np.nan], [0, np.nan], [1, np.nan]])
    found = evaluate(np.full((3, 2), 0.5), truth, kind="multi-label", classes=["a", "b"], resamples=50)
    assert math.isnan(found["auroc/b"].value)
    assert found["auroc"].value == 0.5
    assert "not defined for b" in found["brier"].reason


def test_no_images_at_all_is_undefined_and_no_error():
    found = evaluate(np.zeros((0, 4)), np.zeros(0, dtype=int), kind="multi-class", classes=GRADES)
    assert all(math.isnan(estimate.value) and estimate.reason for estimate in found.values())


@given(predictions())
@settings(max_examples=50, deadline=None)
def test_every_metric_is_there_and_what_is_undefined_says_why(case):
    probabilities, truth, kind, classes, _ = case
    found = evaluate(probabilities, truth, kind=kind, classes=classes, ordered=True, resamples=10)
    assert list(found) == metric_names(kind, classes, ordered=True)
    point = point_metrics(probabilities, truth, kind=kind, classes=classes, ordered=True)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(point[name], nan_ok=True)
        assert estimate.reason or not math.isnan(estimate.value)


def test_an_estimate_as_json_has_null_for_nan():
    assert Estimate(0.5, 0.4, 0.6).as_dict() == {"value": 0.5, "low": 0.4, "high": 0.6}
    undefined = Estimate(math.nan, undefined=3, reason="no images").as_dict()
    assert undefined == {"value": None, "low": None, "high": None, "undefined": 3, "reason": "no images"}


def test_all_metrics_of_10000_predictions_with_2000_resamples_take_seconds():
    generator = np.random.default_rng(0)
    truth = generator.integers(4, size=10_000)
    probabilities = generator.dirichlet(np.ones(4), size=10_000)
    start = time.process_time()
    evaluate(probabilities, truth, kind="multi-class", classes=GRADES, ordered=True)
    assert time.process_time() - start < 6
