"""Operating points and temperature: chosen on validation predictions, by rules that are known from elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special
from sklearn.metrics import balanced_accuracy_score, roc_curve

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks import Classification, task_from_dict
from modicum.tasks.classification.operating_points import (
    FEWEST,
    OperatingPoints,
    PointChoice,
    best_threshold,
    tuned_temperature,
)
from modicum.tasks.classification.positive_class import denies, negative_then_positive

BOTH = PointChoice("balanced", "validation")


def scored(task, logits, truth):
    """The scores of a task on made outputs."""
    scores = task.scores()
    target = {"labels" if task.kind == "multi-label" else "label": torch.from_numpy(truth)}
    scores.update(torch.from_numpy(logits), {"row": torch.arange(len(logits)), **target})
    return scores


def drawn(images, factor, shift=0.0, seed=0):
    """Two logits an image and classes drawn by their true probabilities; the logits are then scaled and shifted."""
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(0, 2, images)
    truth = (generator.random(images) < special.expit(log_odds)).astype(np.int64)
    return np.stack([np.zeros(images), factor * log_odds + shift], axis=1), truth


# Temperature


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0, 8.0])
def test_the_temperature_undoes_the_factor_that_logits_are_too_large_by(factor):
    logits, truth = drawn(20_000, factor)
    assert tuned_temperature(logits, truth, "binary") == pytest.approx(factor, rel=0.06)


def test_calibration_errors_before_and_after_are_those_of_the_metric():
    for kind, classes in (("binary", ["a", "b"]), ("multi-label", ["x", "y"])):
        logits, truth = drawn(400, 4.0)
        if kind == "multi-label":
            logits, truth = np.repeat(logits[:, 1:], 2, axis=1), np.stack([truth, truth], 1).astype(float)
            truth[:50, 0] = np.nan
        before = Classification(kind, classes)
        after = Classification(kind, classes, points=PointChoice("half", "validation")).calibrated(
            scored(before, logits, truth)
        )
        errors = after.points.facts["ece"]
        assert errors["before"] == pytest.approx(scored(before, logits, truth).metrics()["ece"])
        assert errors["after"] == pytest.approx(scored(after, logits, truth).metrics()["ece"])
        assert errors["after"] < errors["before"]
        assert task_from_dict(after.to_dict()).points.facts["ece"] == errors


def test_the_temperature_of_three_classes_and_of_findings_with_unknown_ones():
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (20_000, 3))
    truth = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    assert tuned_temperature(2.5 * logits, truth, "multi-class") == pytest.approx(2.5, rel=0.06)
    present = (generator.random(logits.shape) < special.expit(logits)).astype(float)
    present[generator.random(logits.shape) < 0.3] = np.nan
    assert tuned_temperature(4 * logits, present, "multi-label") == pytest.approx(4, rel=0.06)


def test_images_that_are_all_told_apart_do_not_make_certainties():
    """Without Platt's targets the likelihood rises for ever as the temperature falls."""
    logits = np.array([[0.0, -2.0]] * 12 + [[0.0, 2.0]] * 12)
    truth = np.repeat([0, 1], 12)
    temperature = tuned_temperature(logits, truth, "binary")
    # At the optimum of Platt's targets both sides say (N + 1) / (N + 2).
    assert special.expit(2 / temperature) == pytest.approx(13 / 14, abs=1e-3)


def test_few_images_leave_the_temperature_at_one():
    logits, truth = drawn(2 * FEWEST - 1, 5.0)
    assert tuned_temperature(logits, truth, "binary") == 1.0


# Thresholds


@pytest.mark.parametrize("seed", range(4))
def test_the_balanced_threshold_is_that_of_the_roc_curve(seed):
    logits, truth = drawn(200, 1.0, shift=-3.0, seed=seed)
    z = logits[:, 1]
    false, true, _ = roc_curve(truth, z)
    said = special.expit(z) >= best_threshold(z, truth, "balanced")
    assert balanced_accuracy_score(truth, said) == pytest.approx((true - false).max() / 2 + 0.5)


@pytest.mark.parametrize("specificity", [0.8, 0.9, 0.99])
def test_the_threshold_at_a_specificity_keeps_it_and_finds_most(specificity):
    logits, truth = drawn(300, 1.0, shift=2.0, seed=5)
    z = logits[:, 1]
    said = special.expit(z) >= best_threshold(z, truth, "specificity", specificity)
    false, true, _ = roc_curve(truth, z, drop_intermediate=False)
    assert (~said[truth == 0]).mean() >= specificity
    assert said[truth == 1].mean() == pytest.approx(true[1 - false >= specificity - 1e-12].max())


def test_one_half_stays_where_nothing_is_better():
    truth = np.repeat([0, 1], 20)
    assert best_threshold(np.zeros(40), truth, "balanced") == 0.5  # all alike
    assert best_threshold(np.where(truth == 1, 1.0, -1.0), truth, "balanced") == 0.5  # told apart there


def test_what_is_decided_does_not_depend_on_which_class_is_called_positive():
    logits, truth = drawn(150, 1.0, shift=1.5, seed=2)
    one = Classification("binary", ["a", "b"], points=BOTH)
    other = Classification("binary", ["b", "a"], points=BOTH)
    by_b = one.calibrated(scored(one, logits, truth)).scores()
    by_a = other.calibrated(scored(other, logits[:, ::-1].copy(), 1 - truth)).scores()
    by_b.merge([scored(one, logits, truth)])
    by_a.merge([scored(other, logits[:, ::-1].copy(), 1 - truth)])
    assert (by_b.table()["prediction"] == by_a.table()["prediction"]).all()


# The task


def test_a_model_that_is_sure_of_one_class_finds_the_other_at_its_own_point():
    """It ranks well and says 'b' of nearly none: the case of a report that claims 92 of 100 and finds 4 of 50."""
    logits, truth = drawn(400, 1.0, shift=-6.0, seed=1)
    task = Classification("binary", ["a", "b"], points=BOTH)
    before = scored(task, logits, truth)
    assert before.metrics()["sensitivity"] < 0.1
    chosen = task.calibrated(before)
    after = chosen.scores()
    after.merge([before])
    assert after.metrics()["sensitivity"] > 0.7
    assert after.metrics()["specificity"] > 0.7
    assert after.metrics()["auroc"] == pytest.approx(before.metrics()["auroc"])
    table = after.table()
    assert ((table["p_b"] >= chosen.points.thresholds[0]) == (table["prediction"] == "b")).all()
    hits = (table["prediction"] == "b") & (table["truth"] == "b")
    assert after.metrics()["sensitivity"] == pytest.approx(hits.sum() / (table["truth"] == "b").sum())
    predicted = chosen.prediction_table(chosen.activate(torch.from_numpy(logits)).numpy())
    assert (predicted["prediction"] == table["prediction"]).all()


def test_each_finding_has_its_own_point_and_too_few_images_none():
    generator = np.random.default_rng(0)
    truth = np.zeros((200, 3))
    truth[:60, 0] = 1  # common
    truth[60 : 60 + FEWEST, 1] = 1  # just enough
    truth[: FEWEST - 1, 2] = 1  # one too few
    logits = 2.0 * truth - 5 + generator.normal(0, 0.5, truth.shape)
    truth[150:, 0] = np.nan
    task = Classification("multi-label", ["x", "y", "z"], points=PointChoice("balanced", 1.0))
    chosen = task.calibrated(scored(task, logits, truth))
    x, y, z = chosen.points.thresholds
    assert 0 < x < 0.3
    assert 0 < y < 0.3
    assert z == 0.5
    facts = chosen.points.facts["classes"]
    assert (facts["x"]["with"], facts["x"]["without"]) == (60, 90)
    assert "sensitivity" not in facts["z"]
    assert any("'z': decided at one half" in note for note in chosen.notes)
    after = chosen.scores()
    after.merge([scored(task, logits, truth)])
    assert after.metrics()["balanced_accuracy"] > 0.8
    said = after.table()["prediction"].str.split("|")
    probabilities = after.table()["p_x"]
    assert [("x" in names) for names in said] == list(probabilities >= x)
    assert {example.prediction for example in after.examples(8)} - {"no x", "no y", "no z"}


def test_several_classes_keep_the_most_probable_one_and_get_a_temperature():
    logits = np.random.default_rng(1).normal(0, 6, (300, 4))
    truth = np.random.default_rng(2).integers(0, 4, 300)
    task = Classification("multi-class", list("abcd"), points=BOTH)
    chosen = task.calibrated(scored(task, logits, truth))
    assert chosen.points.thresholds == ()
    assert chosen.points.temperature > 5  # guesses that are sure of themselves
    after = chosen.scores()
    after.merge([scored(task, logits, truth)])
    assert list(after.table()["prediction"]) == ["abcd"[i] for i in logits.argmax(1)]
    assert after.metrics()["log_loss"] < 1.5 < scored(task, logits, truth).metrics()["log_loss"]


def test_points_are_kept_with_the_task_and_older_tasks_decide_at_one_half():
    logits, truth = drawn(100, 3.0, shift=-4.0)
    task = Classification("binary", ["no", "yes"], points=BOTH)
    chosen = task.calibrated(scored(task, logits, truth))
    again = task_from_dict(json.loads(json.dumps(chosen.to_dict())))
    assert (again.points.thresholds, again.points.temperature) == (
        chosen.points.thresholds,
        chosen.points.temperature,
    )
    assert not again.calibrates
    assert "operating_points" not in task.to_dict()
    old = task_from_dict({k: v for k, v in chosen.to_dict().items() if k != "operating_points"})
    assert (old.points, old.calibrates) == (OperatingPoints(), "")
    table = old.prediction_table(old.activate(torch.from_numpy(logits)).numpy())
    assert list(table["prediction"]) == ["yes" if row[1] > row[0] else "no" for row in logits]
    assert table["p_yes"].to_numpy() == pytest.approx(special.expit(logits[:, 1]))


def manifest(tmp_path, labels):
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(len(labels))], "label": labels})
    return Manifest(table, tmp_path, "made")


def test_given_points_are_used_as_they_are_and_checked(tmp_path):
    data = manifest(tmp_path, ["0", "1"] * 4)
    given = Classification.from_manifest(data, {"operating_point": [0.2], "temperature": 2.0})
    assert not given.calibrates
    table = given.prediction_table(given.activate(torch.tensor([[0.0, -2.0], [0.0, -3.0]])).numpy())
    assert table["p_1"].to_numpy() == pytest.approx(special.expit([-1.0, -1.5]))
    assert list(table["prediction"]) == ["1", "0"]
    for wrong, said in [([0.2, 0.3], "has 2 values"), ([1.2], "has 1.2")]:
        with pytest.raises(InputError, match=said):
            Classification.from_manifest(data, {"operating_point": wrong})
    with pytest.raises(InputError, match="of 3 classes the most probable"):
        Classification.from_manifest(manifest(tmp_path, ["a", "b", "c"]), {"operating_point": [0.5]})
    asked = Classification.from_manifest(data, {"operating_point": "half", "temperature": 1.0})
    assert not asked.calibrates
    usual = Classification.from_manifest(data, Classification.Options().model_dump())
    assert usual.calibrates == "operating points and temperature"


# The majority class beside accuracy


def test_saying_the_most_common_class_is_scored_beside_accuracy():
    truth = np.array([0] * 70 + [1] * 30)
    logits = np.zeros((100, 2))
    logits[:, 1] = np.where(np.arange(100) % 2, 1, -1)
    found = scored(Classification("binary", ["a", "b"]), logits, truth).metrics()
    assert found["majority_accuracy"] == pytest.approx(0.7)
    several = Classification("multi-class", ["a", "b", "c"])
    found = scored(several, np.eye(3)[truth], truth).metrics()
    assert (found["accuracy"], found["majority_accuracy"]) == (1.0, pytest.approx(0.7))
    labels = np.array([[1, 0], [0, np.nan], [0, 0], [0, 1.0]])
    found = scored(Classification("multi-label", ["x", "y"]), np.zeros((4, 2)), labels).metrics()
    assert found["majority_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)


# The positive class


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (["covid", "no covid"], "covid"),
        (["COVID", "non-COVID"], "COVID"),
        (["CT_COVID", "CT_NonCOVID"], "CT_COVID"),
        (["covid", "noncovid"], "covid"),
        (["DR", "No_DR"], "DR"),
        (["glaucoma", "healthy"], "glaucoma"),
        (["NORMAL", "PNEUMONIA"], "PNEUMONIA"),
        (["Parasitized", "Uninfected"], "Parasitized"),
        (["benign", "malignant"], "malignant"),
        (["0", "1"], "1"),
        (["abnormal", "normal"], "abnormal"),
        (["normal", "not normal"], "not normal"),
        (["HIV negative", "HIV positive"], "HIV positive"),
        (["false", "true"], "true"),
        (["control", "patient"], "patient"),
        (["NoFinding", "Finding"], "Finding"),
        (["cat", "dog"], "dog"),  # no name says which: the second in order
        (["nodule", "mass"], "nodule"),  # in the order of the alphabet
    ],
)
def test_the_class_that_denies_is_the_negative_one(tmp_path, classes, positive):
    task = Classification.from_manifest(manifest(tmp_path, classes), {})
    assert task.classes[1] == positive
    assert any(f"'{positive}' is the positive one" in note for note in task.notes)


def test_the_user_names_the_positive_class(tmp_path):
    data = manifest(tmp_path, ["covid", "no covid"])
    assert Classification.from_manifest(data, {"positive": "no covid"}).classes == ("covid", "no covid")
    ordered = Classification.from_manifest(data, {"classes": ["covid", "no covid"]})
    assert ordered.classes == ("covid", "no covid")  # as the user has ordered them
    both = {"classes": ["covid", "no covid"], "positive": "covid"}
    assert Classification.from_manifest(data, both).classes == ("no covid", "covid")
    with pytest.raises(InputError, match="'covd' is neither of 'covid' and 'no covid'"):
        Classification.from_manifest(data, {"positive": "covd"})
    with pytest.raises(InputError, match="there are 3 classes"):
        Classification.from_manifest(manifest(tmp_path, ["a", "b", "c"]), {"positive": "a"})
    assert negative_then_positive(["a", "b"], None)[1].endswith("--positive names the other)")


def test_words_inside_other_words_deny_nothing():
    assert not any(
        denies(name) for name in ("nodule", "nonspecific", "abnormal", "controlled", "10", "cleared")
    )
