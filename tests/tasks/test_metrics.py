"""Metrics against scikit-learn, torchmetrics, closed forms and published values."""

import math
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics as sk

from modicum.errors import InputError
from modicum.tasks.classification.evaluation import metric_names, point_metrics
from modicum.tasks.classification.metrics import (
    auroc,
    average_precision,
    quadratic_kappa,
    sensitivity_at_specificity,
)
from modicum.tasks.classification.task import Classification

GRADES = ["none", "mild", "moderate", "severe", "proliferative"]
FINDINGS = ["effusion", "pneumonia", "nodule"]


@st.composite
def scored(draw, smallest: int = 2, both: bool = True):
    """Scores, often tied, and a truth (with both classes)."""
    n = draw(st.integers(smallest, 60))
    ties = draw(st.sampled_from([2, 5, 10_000]))
    scores = draw(npst.arrays(np.float64, n, elements=st.integers(0, ties).map(lambda k: k / ties)))
    positive = draw(npst.arrays(np.bool_, n))
    if both:
        positive[:2] = True, False
    weights = draw(npst.arrays(np.int64, n, elements=st.integers(0, 3)))
    weights[:2] = np.maximum(weights[:2], 1)
    return scores, positive, weights


def softmax_case(seed: int, n: int = 200, classes: int = 5, ties: bool = False):
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=n)
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), truth] += 1
    if ties:
        logits = np.round(logits)
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), truth


@given(scored())
@settings(max_examples=80, deadline=None)
def test_ranking_metrics_equal_scikit_learn_with_ties_and_weights(case):
    scores, positive, weights = case
    assert auroc(scores, positive) == pytest.approx(sk.roc_auc_score(positive, scores), abs=1e-12)
    assert average_precision(scores, positive) == pytest.approx(
        sk.average_precision_score(positive, scores), abs=1e-12
    )
    assert auroc(scores, positive, weights) == pytest.approx(
        sk.roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12
    )
    assert average_precision(scores, positive, weights) == pytest.approx(
        sk.average_precision_score(positive, scores, sample_weight=weights), abs=1e-12
    )


@given(scored(), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@settings(max_examples=80, deadline=None)
def test_sensitivity_at_specificity_is_the_best_over_all_thresholds(case, target):
    scores, positive, _ = case
    best = 0.0
    for threshold in [np.inf, *scores]:
        says = scores >= threshold
        specificity = (~says & ~positive).sum() / (~positive).sum()
        if specificity >= target:
            best = max(best, (says & positive).sum() / positive.sum())
    assert sensitivity_at_specificity(scores, positive, target) == pytest.approx(best, abs=1e-12)


def test_a_specificity_that_is_met_exactly_counts():
    scores = np.array([0.9, 0.8] + [0.1] * 19)
    positive = np.array([False, True] + [False] * 19)
    assert sensitivity_at_specificity(scores, positive, 0.95) == 1.0  # 19 of 20 negatives stay below 0.8
    assert sensitivity_at_specificity(scores, positive, 0.951) == 0.0


def test_auroc_of_normal_scores_tends_to_its_closed_form():
    generator = np.random.default_rng(0)
    positive = np.arange(200_000) % 2 == 0
    scores = generator.normal(size=200_000) + positive
    # P(X > Y) = Phi(d / sqrt 2) for two unit normals d apart.
    assert auroc(scores, positive) == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.004)


@pytest.mark.parametrize(
    ("truth", "predicted", "kappa"),
    [
        ([0, 0, 0, 0, 1, 1, 2, 2, 3, 4], [0, 0, 0, 1, 1, 2, 2, 1, 4, 4], 0.897436),
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 1.0),
        ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], -1.0),
        ([0, 1, 2, 3, 4], [2, 2, 2, 2, 2], 0.0),
        ([0, 1, 2, 3, 4], [1, 2, 3, 4, 4], 0.8),
    ],
)
def test_quadratic_kappa_of_hand_made_gradings(truth, predicted, kappa):
    assert quadratic_kappa(np.array(truth), np.array(predicted), 5) == pytest.approx(kappa, abs=5e-7)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_quadratic_kappa_equals_scikit_learn(data):
    classes = data.draw(st.integers(2, 6))
    n = data.draw(st.integers(1, 50))
    truth, predicted = (
        data.draw(npst.arrays(np.int64, n, elements=st.integers(0, classes - 1))) for _ in range(2)
    )
    weights = data.draw(npst.arrays(np.int64, n, elements=st.integers(1, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sk.cohen_kappa_score(
            truth, predicted, weights="quadratic", labels=range(classes), sample_weight=weights
        )
    assert quadratic_kappa(truth, predicted, classes, weights) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


def test_quadratic_kappa_of_one_class_throughout_is_undefined():
    assert math.isnan(quadratic_kappa(np.array([3, 3, 3]), np.array([3, 3, 3]), 5))


def test_quadratic_kappa_of_50000_predictions_takes_less_than_50_ms():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(5, size=(2, 50_000))
    seconds = []
    for _ in range(5):
        start = time.process_time()
        quadratic_kappa(truth, predicted, 5)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_multi_class_metrics_equal_scikit_learn(seed, ties):
    probabilities, truth = softmax_case(seed, ties=ties)
    found = point_metrics(probabilities, truth, kind="multi-class", classes=GRADES, ordered=True)
    predicted = probabilities.argmax(1)
    one_hot = np.eye(5)[truth]
    expected = {
        "auroc": sk.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro"),
        "average_precision": sk.average_precision_score(one_hot, probabilities, average="macro"),
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "macro_f1": sk.f1_score(truth, predicted, average="macro"),
        "kappa": sk.cohen_kappa_score(truth, predicted),
        "quadratic_kappa": sk.cohen_kappa_score(truth, predicted, weights="quadratic"),
        "brier": sk.brier_score_loss(truth, probabilities, scale_by_half=False),
        "log_loss": sk.log_loss(truth, probabilities),
    }
    for index, name in enumerate(GRADES):
        expected[f"auroc/{name}"] = sk.roc_auc_score(truth == index, probabilities[:, index])
        expected[f"average_precision/{name}"] = sk.average_precision_score(
            truth == index, probabilities[:, index]
        )
        expected[f"sensitivity/{name}"] = sk.recall_score(truth == index, predicted == index)
        expected[f"specificity/{name}"] = sk.recall_score(truth != index, predicted != index)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert list(found) == metric_names("multi-class", GRADES, ordered=True)


@pytest.mark.parametrize("seed", range(3))
def test_binary_metrics_equal_scikit_learn(seed):
    probabilities, truth = softmax_case(seed, classes=2)
    found = point_metrics(probabilities, truth, kind="binary", classes=["healthy", "ill"])
    predicted = probabilities.argmax(1)
    expected = {
        "auroc": sk.roc_auc_score(truth, probabilities[:, 1]),
        "average_precision": sk.average_precision_score(truth, probabilities[:, 1]),
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "macro_f1": sk.f1_score(truth, predicted, average="macro"),
        "kappa": sk.cohen_kappa_score(truth, predicted),
        "brier": sk.brier_score_loss(truth, probabilities[:, 1]),
        "log_loss": sk.log_loss(truth, probabilities),
        "sensitivity": sk.recall_score(truth, predicted),
        "specificity": sk.recall_score(truth, predicted, pos_label=0),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert not [name for name in found if "/" in name]


def test_findings_are_scored_on_the_images_where_they_are_known():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, size=(300, 3)).astype(np.float32)
    probabilities = np.clip(truth * 0.3 + generator.uniform(size=truth.shape) * 0.7, 0, 1)
    truth[generator.random(truth.shape) < 0.3] = np.nan
    found = point_metrics(probabilities, truth, kind="multi-label", classes=FINDINGS)
    by_finding: dict[str, list[float]] = {}
    for index, name in enumerate(FINDINGS):
        known = ~np.isnan(truth[:, index])
        t, p = truth[known, index].astype(int), probabilities[known, index]
        says = (p >= 0.5).astype(int)
        values = {
            "auroc": sk.roc_auc_score(t, p),
            "average_precision": sk.average_precision_score(t, p),
            "sensitivity": sk.recall_score(t, says),
            "specificity": sk.recall_score(t, says, pos_label=0),
            "accuracy": sk.accuracy_score(t, says),
            "balanced_accuracy": sk.balanced_accuracy_score(t, says),
            "macro_f1": sk.f1_score(t, says),
            "brier": sk.brier_score_loss(t, p),
            "log_loss": sk.log_loss(t, p),
        }
        for metric, value in values.items():
            by_finding.setdefault(metric, []).append(value)
            if f"{metric}/{name}" in found:
                assert found[f"{metric}/{name}"] == pytest.approx(value, abs=1e-12), (metric, name)
    for metric, values in by_finding.items():
        if metric in found:
            assert found[metric] == pytest.approx(np.mean(values), abs=1e-12), metric
    assert list(found) == metric_names("multi-label", FINDINGS)


def test_macro_f1_of_findings_equals_scikit_learn_without_the_undefined():
    truth = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 1]])
    probabilities = np.array([[0.9, 0.1, 0.2], [0.6, 0.2, 0.1], [0.7, 0.3, 0.4]])
    found = point_metrics(probabilities, truth, kind="multi-label", classes=FINDINGS)
    expected = sk.f1_score(truth, probabilities >= 0.5, average="macro", zero_division=np.nan)
    assert found["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_macro_f1_with_a_class_that_neither_occurs_nor_is_predicted():
    probabilities, truth = np.eye(4)[[0, 1, 1, 2, 0]], np.array([0, 1, 2, 2, 1])
    found = point_metrics(probabilities, truth, kind="multi-class", classes=["a", "b", "c", "d"])
    expected = sk.f1_score(
        truth, probabilities.argmax(1), average="macro", labels=range(4), zero_division=np.nan
    )
    assert found["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_calibration_error_equals_torchmetrics():
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, truth = softmax_case(0, n=1000)
    found = point_metrics(probabilities, truth, kind="multi-class", classes=GRADES)["ece"]
    expected = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(truth), num_classes=5, n_bins=15, norm="l1"
    )
    assert found == pytest.approx(float(expected), abs=1e-6)  # torchmetrics keeps accuracies in float32
    two, truth = softmax_case(1, n=1000, classes=2)
    found = point_metrics(two, truth, kind="binary", classes=["a", "b"])["ece"]
    expected = multiclass_calibration_error(torch.tensor(two), torch.tensor(truth), num_classes=2, n_bins=15)
    assert found == pytest.approx(float(expected), abs=1e-6)
    findings = np.stack([1 - truth, truth], axis=1)
    assert point_metrics(two, findings, kind="multi-label", classes=["a", "b"])["ece"] == pytest.approx(
        float(expected), abs=1e-6
    )


def test_calibration_error_of_constant_confidence_is_its_distance_to_accuracy():
    probabilities = np.tile([0.2, 0.8], (10, 1))
    truth = np.array([1] * 6 + [0] * 4)
    assert point_metrics(probabilities, truth, kind="binary", classes=["a", "b"])["ece"] == pytest.approx(0.2)


def test_extremes_of_the_brier_score():
    truth = np.array([0, 1, 2])
    right, wrong = np.eye(3)[truth], np.eye(3)[(truth + 1) % 3]
    assert point_metrics(right, truth, kind="multi-class", classes=["a", "b", "c"])["brier"] == 0.0
    assert point_metrics(wrong, truth, kind="multi-class", classes=["a", "b", "c"])["brier"] == 2.0
    certain = np.array([[0.0, 1.0]])
    assert point_metrics(certain, np.array([0]), kind="binary", classes=["a", "b"])["brier"] == 1.0


def test_uniform_probabilities_have_chance_values():
    truth = np.arange(100) % 5
    found = point_metrics(np.full((100, 5), 0.2), truth, kind="multi-class", classes=GRADES, ordered=True)
    assert found["auroc"] == 0.5
    assert found["average_precision"] == pytest.approx(0.2)
    assert found["log_loss"] == pytest.approx(math.log(5))
    assert found["quadratic_kappa"] == 0.0
    assert found["brier"] == pytest.approx(0.8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_type_is_taken_and_ties_stay_ties(dtype):
    probabilities, truth = softmax_case(0, classes=2)
    given_type = probabilities.astype(dtype)
    found = point_metrics(given_type, truth, kind="binary", classes=["a", "b"])
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(truth, given_type[:, 1]), abs=1e-12)


def test_a_task_lists_the_metrics_that_it_reports():
    for kind, classes in [("binary", ["a", "b"]), ("multi-class", GRADES), ("multi-label", FINDINGS)]:
        task = Classification(kind, classes, ordered=True)
        assert list(task.metrics()) == metric_names(kind, classes, ordered=True)
    task = Classification("multi-class", GRADES, specificity=0.975)
    assert task.higher_is_better("sensitivity_at_97.5_specificity")
    assert (
        task.metric("sensitivity_at_97.5_specificity/mild").meaning
        == "found, with 2.5 false alarms in 100, read from the ROC curve of these images"
    )
    assert not task.higher_is_better("log_loss")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("aurok", "auroc"),
        ("auroc/milt", "mild"),
        ("brier/mild", "brier"),
        ("quadratic_kapa", "quadratic_kappa"),
        ("sensitivity_at_x_specificity", "sensitivity_at_95_specificity"),
    ],
)
def test_a_mistyped_metric_gets_a_suggestion(name, hint):
    with pytest.raises(InputError, match=f"did you mean '{hint}'"):
        Classification("multi-class", GRADES, ordered=True).metric(name)


def test_a_metric_the_task_does_not_have_is_refused():
    task = Classification("multi-class", GRADES)
    words = r"unknown metric 'quadratic_kappa' for task classification \(multi-class\); did you mean 'kappa'\? \(known: "
    with pytest.raises(InputError, match=words):
        task.higher_is_better("quadratic_kappa")
    with pytest.raises(InputError, match="unknown metric 'sensitivity_at_90_specificity'"):
        task.higher_is_better("sensitivity_at_90_specificity")


@pytest.mark.parametrize(
    ("probabilities", "truth", "kind", "says"),
    [
        ([[2.0, -1.0]], [0], "binary", r"lie in -1..2, not in 0..1; apply softmax"),
        ([[0.9, 0.9]], [0], "binary", "add up to 1.8"),
        ([[0.5, 0.5]], [2], "binary", r"truth has the value 2; give 0..1"),
        ([[0.5, 0.5]], [[2, 0]], "multi-label", "truth has the value 2; give 1, 0 or NaN"),
        ([[np.nan, 0.5]], [0], "binary", "1 of 1 images are not finite"),
        ([[0.5, 0.5]], [0], "binery", "did you mean 'binary'"),
        ([[0.5, 0.5]], [0], "multi-label", "truth has shape"),
        ([[0.2, 0.3, 0.5]], [0], "binary", "3 columns of probabilities, 2 classes"),
    ],
)
def test_bad_input_says_what_is_wrong(probabilities, truth, kind, says):
    with pytest.raises(InputError, match=says):
        point_metrics(np.array(probabilities), np.array(truth), kind=kind, classes=["a", "b"])


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(InputError, match="same name"):
        point_metrics(np.array([[0.5, 0.5]]), np.array([0]), kind="binary", classes=["a", "a"])


def test_a_truth_of_zeros_and_ones_is_read_as_false_and_true():
    truth = np.array([0, 1, 1, 0, 1])
    scores = np.array([0.1, 0.7, 0.4, 0.5, 0.9])
    assert auroc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores))
    assert average_precision(scores, truth) == pytest.approx(sk.average_precision_score(truth, scores))
    assert sensitivity_at_specificity(scores, truth, 0.5) == pytest.approx(1.0)
