"""A task whose output is one severity score: its loss, its metrics and its tables."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from modicum.errors import InputError
from modicum.tasks import Classification, task_from_dict
from modicum.tasks.bootstrap import Estimate
from modicum.tasks.classification.metric_table import severity_metrics_of
from modicum.tasks.classification.severity_metrics import evaluate_severity, severity_metrics
from modicum.tasks.classification.thresholds import Thresholds

GRADES = ["0", "1", "2", "3", "4"]
WEIGHTS = [1.0, 5.0, 2.5, 12.5, 25.0]


def graded(**settings) -> Classification:
    return Classification("multi-class", GRADES, ordered=True, output="score", **settings)


def batch(labels, first=0):
    positions = torch.arange(first, first + len(labels))
    return {"label": torch.tensor(labels), "row": positions}


def made(seed=0, count=120, grades=5):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, grades, count)
    return truth + generator.normal(0, 0.8, count), truth


# The task


def test_a_loss_of_a_score_gives_the_task_one_output_and_others_leave_it_as_it_is():
    task = Classification("multi-class", GRADES, ordered=True)
    for words in ("mse", "mae", "smooth_l1+0.5*mse"):
        assert (task.for_loss(words).num_outputs, task.for_loss(words).output) == (1, "score")
    for words in ("auto", "cross_entropy", "focal", "cross_entropy+0.2*kappa"):
        assert task.for_loss(words) is task
    assert graded().thresholds.values == (0.5, 1.5, 2.5, 3.5)


@pytest.mark.parametrize(
    ("kind", "classes", "words", "problem"),
    [
        (
            "multi-class",
            ["a", "b", "c"],
            "mse",
            "mse needs grades, and these classes have no order; pass --set orde",
        ),
        (
            "multi-class",
            ["a", "b", "c"],
            "kappa+focal",
            "kappa needs grades, and these classes have no order",
        ),
        ("multi-label", ["x", "y"], "mae", "loss 'mae' does not fit multi-label labels; use bce"),
        ("multi-label", ["x", "y"], "kappa", "does not fit multi-label labels"),
        ("binary", ["no", "yes"], "bce", "loss 'bce' does not fit binary labels"),
    ],
)
def test_labels_that_do_not_allow_a_loss_are_refused(kind, classes, words, problem):
    with pytest.raises(InputError, match=problem):
        Classification(kind, classes).for_loss(words)


def test_a_score_of_classes_without_an_order_is_refused():
    with pytest.raises(InputError, match="needs grades"):
        Classification("multi-class", ["a", "b", "c"], output="score")
    with pytest.raises(InputError, match="thresholds has 1 values for 5 grades"):
        graded(thresholds=[1.0])
    with pytest.raises(InputError, match="loss 'mse' is of score, but this task's output is logits"):
        Classification("multi-class", GRADES, ordered=True).loss({}, {"loss": "mse"})
    with pytest.raises(InputError, match="loss 'focal' is of logits, but this task's output is score"):
        graded().loss({}, {"loss": "focal"})


def test_what_a_run_folder_keeps_makes_the_same_task_and_older_ones_are_of_logits():
    task = graded(thresholds=[0.4, 1.1, 2.0, 3.9])
    again = task_from_dict(task.to_dict())
    assert again.to_dict() == task.to_dict()
    assert again.thresholds == task.thresholds
    assert task.to_dict()["thresholds_from"] == "given"
    old = {
        "name": "classification",
        "kind": "multi-class",
        "classes": GRADES,
        "ordered": True,
        "specificity": 0.9,
    }
    assert task_from_dict(old).num_outputs == 5
    assert Classification("multi-class", GRADES, ordered=True, specificity=0.9).to_dict() == old


def test_what_a_user_reads_is_the_score_and_the_name_of_its_grade():
    task = Classification("multi-class", ["none", "mild", "severe"], ordered=True, output="score")
    outputs = torch.tensor([[-3.0], [0.5], [1.49], [9.0]], dtype=torch.bfloat16)
    activated = task.activate(outputs)
    assert activated.dtype == torch.float32
    table = task.prediction_table(activated.numpy().astype(np.float64))
    assert list(table.columns) == ["prediction", "score"]
    assert list(table["prediction"]) == ["none", "mild", "mild", "severe"]
    assert table["score"].tolist() == outputs.float().flatten().tolist()
    assert list(task.prediction_table(np.zeros((0, 1))).columns) == ["prediction", "score"]
    broken = task.prediction_table(np.array([[math.nan], [1.0]]))
    assert broken["prediction"].tolist() == [None, "mild"]  # never the highest grade


# The loss


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("auto", 0.14 / 3),
        ("mse", 0.14 / 3),
        ("mae", 0.2),
        ("smooth_l1", 0.07 / 3),
        ("smooth_l1+0.5*mse", 0.14 / 3),
        ("2*mae+mse", 0.4 + 0.14 / 3),
    ],
)
def test_losses_by_name_are_those_by_hand(words, expected):
    loss = graded().loss({}, {"loss": words})
    found = loss(torch.tensor([[0.3], [1.9], [3.2]]), batch([0, 2, 3]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_a_last_batch_of_one_image_is_one_number():
    assert graded().loss({}, {})(torch.tensor([[1.5]]), batch([1])).item() == pytest.approx(0.25)


TARGETS = {"label": np.repeat(np.arange(5), [100, 20, 40, 8, 4])}


@pytest.mark.parametrize("choice", ["balanced", WEIGHTS])
@pytest.mark.parametrize("words", ["cross_entropy", "focal", "kappa", "mse", "smooth_l1+0.5*mse"])
def test_class_weights_reach_every_loss_and_every_term(words, choice):
    task = Classification("multi-class", GRADES, ordered=True).for_loss(words)
    plain = task.loss(TARGETS, {"loss": words})
    weighted = task.loss(TARGETS, {"loss": words, "class_weights": choice})
    buffers = [buffer.tolist() for _, buffer in weighted.named_buffers(remove_duplicate=False)]
    assert buffers == [WEIGHTS] * (2 if "+" in words else 1)
    outputs = torch.randn(6, task.num_outputs, generator=torch.Generator().manual_seed(0))
    labels = batch([0, 1, 2, 3, 4, 4])
    assert abs(plain(outputs, labels) - weighted(outputs, labels)) > 1e-3
    assert weighted.state_dict() == {}


def test_dynamic_weights_are_the_studys_and_depend_on_the_epoch_alone():
    task = graded()
    loss = task.loss(TARGETS, {"loss": "mse+mae", "class_weights": "dynamic"})
    outputs, labels = torch.tensor([[1.0], [3.0]]), batch([0, 4])
    expected = {0: WEIGHTS, 1: [1, 4.6, 2.35, 11.35, 22.6], 4: [1, 3.6244, 1.98415, 8.54515, 16.7464]}
    values = {}
    for epoch in (0, 1, 4, 1, 0):
        loss.on_epoch_start(epoch)
        for _, buffer in loss.named_buffers(remove_duplicate=False):
            assert buffer.tolist() == pytest.approx(expected[epoch], abs=1e-4)
        assert values.setdefault(epoch, loss(outputs, labels).item()) == loss(outputs, labels).item()
    loss.on_epoch_start(1000)
    plain = task.loss(TARGETS, {"loss": "mse+mae"})
    assert loss(outputs, labels).item() == pytest.approx(plain(outputs, labels).item())


def test_dynamic_weights_of_findings_tend_to_1_too():
    task = Classification("multi-label", ["x", "y"])
    targets = {"labels": np.array([[1, 0], [0, 0], [0, 1], [0, np.nan]], dtype=np.float32)}
    loss = task.loss(targets, {"class_weights": "dynamic", "class_weights_decay": 0.5})
    loss.on_epoch_start(0)
    assert loss.loss.pos_weight.tolist() == [3, 2]
    loss.on_epoch_start(1)
    assert loss.loss.pos_weight.tolist() == [2, 1.5]


def test_an_opened_run_needs_no_training_rows():
    for words in ("mse", "kappa", "focal"):
        task = Classification("multi-class", GRADES, ordered=True).for_loss(words)
        task.loss({}, {"loss": words, "class_weights": "dynamic"})


# The metrics


def test_metrics_are_scikit_learns():
    from sklearn import metrics

    scores, truth = made()
    found = severity_metrics(scores, truth, classes=GRADES, thresholds=Thresholds.of("midpoints", 5))
    said = np.clip(np.floor(scores + 0.5), 0, 4).astype(int)
    cuts = [metrics.roc_auc_score(truth >= cut, scores) for cut in range(1, 5)]
    fpr, tpr, _ = metrics.roc_curve(truth >= 1, scores, drop_intermediate=False)
    expected = {
        "auroc": np.mean(cuts),
        "accuracy": metrics.accuracy_score(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro"),
        "quadratic_kappa": metrics.cohen_kappa_score(truth, said, weights="quadratic"),
        "mae": metrics.mean_absolute_error(truth, said),
        "sensitivity_at_95_specificity": tpr[1 - fpr >= 0.95].max(),
        **{f"auroc/>={cut}": cuts[cut - 1] for cut in range(1, 5)},
    }
    recalls = metrics.recall_score(truth, said, average=None)
    expected |= {f"sensitivity/{grade}": recalls[grade] for grade in range(5)}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert list(found) == list(severity_metrics_of(GRADES))
    assert not {"brier", "ece", "log_loss"} & set(found)


def test_two_grades_are_a_binary_task():
    from sklearn import metrics

    task = Classification("binary", ["no", "yes"]).for_loss("mse")
    scores, truth = made(grades=2)
    collected = task.scores()
    collected.update(torch.tensor(scores)[:, None], batch(truth.tolist()))
    found = collected.metrics()
    said = scores >= 0.5
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(truth, said))
    assert found["specificity"] == pytest.approx(metrics.recall_score(truth, said, pos_label=0))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert task.monitor == "auroc"
    assert not any("/" in name for name in found)


def test_a_grade_that_nobody_has_is_left_out_of_means_and_named():
    scores, truth = made(grades=4)
    found = evaluate_severity(
        scores, truth, classes=GRADES, thresholds=Thresholds.of("midpoints", 5), resamples=20
    )
    assert math.isnan(found["auroc/>=4"].value)
    assert found["auroc"].reason == "mean over 3 of 4: not defined for >=4"
    assert found["balanced_accuracy"].reason == "mean over 4 of 5: not defined for 4"
    assert isinstance(found["mae"], Estimate)
    assert found["mae"].low < found["mae"].value < found["mae"].high


def test_scores_that_are_not_finite_and_grades_out_of_range_are_errors():
    scores, truth = made(count=10)
    for broken, problem in ((math.nan, "scores of 1 of 10 images are not finite"), (math.inf, "not finite")):
        with pytest.raises(InputError, match=problem):
            severity_metrics(
                np.where(np.arange(10) == 3, broken, scores),
                truth,
                classes=GRADES,
                thresholds=Thresholds.of("midpoints", 5),
            )
    with pytest.raises(InputError, match=r"truth has the value 7; give 0\.\.4"):
        severity_metrics(
            scores,
            truth + 7 * (truth == truth[0]) - truth * (truth == truth[0]),
            classes=GRADES,
            thresholds=Thresholds.of("midpoints", 5),
        )


def test_directions_of_metrics_and_unknown_ones():
    task = graded()
    assert task.higher_is_better("quadratic_kappa")
    assert task.higher_is_better("auroc/>=2")
    assert not task.higher_is_better("mae")
    assert task.monitor == "quadratic_kappa"
    for name, problem in (
        ("log_loss", "unknown metric 'log_loss' for task classification"),
        ("auroc/2", "metric 'auroc/2': there is no class '2'; did you mean '>=2'"),
        ("auroc/>=0", "metric 'auroc/>=0': there is no class '>=0'"),
    ):
        with pytest.raises(InputError, match=problem):
            task.higher_is_better(name)
    assert task.metric("auroc/>=2").title == "AUROC of “2” or more"
    with pytest.raises(InputError, match="unknown metric 'mae'"):
        Classification("multi-class", GRADES, ordered=True).higher_is_better("mae")


def test_scores_of_two_processes_are_those_of_one():
    scores, truth = made(count=31)
    whole, first, second = (graded().scores() for _ in range(3))
    whole.update(torch.tensor(scores)[:, None], batch(truth.tolist()))
    first.update(torch.tensor(scores[:16])[:, None], batch(truth[:16].tolist()))
    second.update(torch.tensor(scores[15:])[:, None], batch(truth[15:].tolist(), 15))
    merged = graded().scores()
    merged.merge([second, first])
    assert merged.metrics() == whole.metrics()
    assert merged.table().equals(whole.table())
    assert list(whole.table().columns) == ["truth", "prediction", "score"]


def test_examples_are_the_largest_mistakes_then_the_nearest_hits():
    task = graded()
    collected = task.scores()
    collected.update(torch.tensor([[4.0], [0.1], [2.2], [0.8], [3.4]]), batch([0, 0, 4, 1, 3]))
    found = task.examples(collected, 4)
    assert [(e.row, e.kind) for e in found] == [
        (0, "mistake"),
        (2, "mistake"),
        (1, "correct"),
        (3, "correct"),
    ]
    assert all(e.output == 0 and math.isnan(e.probability) for e in found)
    assert [(e.truth, e.prediction) for e in found[:2]] == [("0", "4"), ("4", "2")]
    assert found[0].score == 4


# Thresholds that are tuned


def test_calibrated_chooses_thresholds_where_asked_to_and_keeps_them():
    truth = np.repeat(np.arange(5), 7)
    task = graded(thresholds="validation")
    collected = task.scores()
    collected.update(torch.tensor(0.6 * truth + 0.5)[:, None], batch(truth.tolist()))
    assert collected.metrics()["quadratic_kappa"] < 0.9
    assert task.calibrates == "thresholds"
    chosen = task.calibrated(collected)
    assert (chosen.calibrates, chosen.thresholds.source) == ("", "validation")
    assert task_from_dict(chosen.to_dict()).thresholds.values == chosen.thresholds.values
    assert "highest on the validation images" in chosen.notes[0]
    again = chosen.scores()
    again.merge([collected])
    assert again.metrics()["quadratic_kappa"] == 1
    for settled in (graded(), graded(thresholds=[1.0, 2.0, 3.0, 4.0]), chosen):
        assert not settled.calibrates
        assert settled.calibrated(collected) is settled


def test_squared_error_learns_the_mean_grade():
    """Gradient descent on mean squared error finds the conditional mean."""
    features = functional.one_hot(torch.arange(5), 5).float()
    linear = torch.nn.Linear(5, 1)
    loss = graded().loss({}, {"loss": "mse"})
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = loss(linear(features), batch([0, 1, 2, 3, 4]))
        value.backward()
        return value

    optimizer.step(closure)
    assert linear(features).flatten().tolist() == pytest.approx([0, 1, 2, 3, 4], abs=1e-2)
