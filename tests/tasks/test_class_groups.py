"""Head, medium and tail: by stated numbers of training images, as means of class accuracies, empty groups undefined."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks import task_from_dict, task_of
from modicum.tasks.classification.class_groups import ClassGroups
from modicum.tasks.classification.evaluation import evaluate, point_metrics

ISIC = {"MEL": 1088, "NV": 6782, "BCC": 483, "AKIEC": 289, "BKL": 1075, "DF": 70, "VASC": 99}


def manifest(counts, split="train"):
    labels = [name for name, count in counts.items() for _ in range(count)]
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(len(labels))], "label": labels, "split": split})
    return Manifest(table, Path(), "made.csv", "made", [])


def test_groups_of_isic_2018_and_the_thresholds_of_the_release():
    groups = ClassGroups(1000, 200, ISIC).members()
    assert groups == {"head": ["MEL", "NV", "BKL"], "medium": ["BCC", "AKIEC"], "tail": ["DF", "VASC"]}
    assert ClassGroups(100, 20, ISIC).members()["tail"] == []  # its own default has no tail
    kept = ClassGroups(1000, 200, ISIC)
    assert ClassGroups.from_dict(kept.as_dict()) == kept
    assert "tail (fewer than 200): DF 70, VASC 99" in kept.note()


def test_accuracies_are_means_over_classes_and_an_empty_group_is_undefined():
    truth = np.array([0] * 40 + [1] * 20 + [2] * 10)
    said = truth.copy()
    said[:10], said[40:50] = 1, 0
    probabilities = np.eye(3)[said]
    groups = {"head": ["a", "b"], "medium": [], "tail": ["c"]}
    settings = {"kind": "multi-class", "classes": ["a", "b", "c"], "class_groups": groups}
    values = point_metrics(probabilities, truth, **settings)
    assert values["head_accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert values["tail_accuracy"] == 1.0
    assert math.isnan(values["medium_accuracy"])
    found = evaluate(probabilities, truth, **settings, resamples=50)
    nothing = found["medium_accuracy"].as_dict()
    assert nothing["value"] is nothing["low"] is None
    assert nothing["reason"] == "not defined: there is no class in this group"
    assert found["head_accuracy"].low < 0.625 < found["head_accuracy"].high
    assert "head_accuracy" not in point_metrics(
        probabilities, truth, kind="multi-class", classes=["a", "b", "c"]
    )


def test_a_task_counts_its_training_rows_alone_keeps_the_groups_and_reports_them():
    rows = pd.concat(
        [manifest({"a": 30, "b": 8, "c": 2}).table, manifest({"c": 50}, "test").table], ignore_index=True
    )
    task = task_of(
        Manifest(rows, Path(), "made.csv", "made", []), "classification", {"head_above": 20, "tail_below": 5}
    )
    assert task.groups.counts == {"a": 30, "b": 8, "c": 2}
    again = task_from_dict(task.to_dict())
    assert again.groups == task.groups
    assert task.metric("tail_accuracy").higher_is_better
    assert [name for name, metric in task.metrics().items() if metric.compared] == [
        "balanced_accuracy", "macro_f1", "head_accuracy", "medium_accuracy", "tail_accuracy",
    ]  # fmt: skip
    scores = again.scores()
    scores.update(torch.eye(3)[[0, 1, 2, 0]], {"row": torch.arange(4), "label": torch.tensor([0, 1, 2, 2])})
    assert scores.metrics()["tail_accuracy"] == 0.5
    assert again.calibrated(scores).groups == task.groups


def test_two_classes_have_groups_too():
    truth = np.array([0] * 8 + [1] * 4)
    probabilities = np.eye(2)[np.r_[truth[:9], [0, 0, 0]]]
    found = point_metrics(
        probabilities,
        truth,
        kind="binary",
        classes=["no", "yes"],
        class_groups={"head": ["no"], "medium": [], "tail": ["yes"]},
    )
    assert (found["head_accuracy"], found["tail_accuracy"]) == (1.0, 0.25)


def test_half_a_statement_and_overlapping_groups_are_refused():
    rows = manifest({"a": 5, "b": 2})
    with pytest.raises(InputError, match="tail_below=3 states one of two limits"):
        task_of(rows, "classification", {"tail_below": 3})
    with pytest.raises(InputError, match="a class could be in both"):
        task_of(rows, "classification", {"head_above": 3, "tail_below": 9})
    with pytest.raises(InputError, match="loss 'mse' makes grades"):
        task_of(rows, "classification", {"head_above": 3, "tail_below": 3}).for_loss("mse")
