"""What a task keeps in ``model.json``: whatever was changed in it is refused when the run is opened, or does no harm."""

import json
import random

import numpy as np
import pytest
import torch
from made_runs import CLASSES, GRADES, MASKS, TRANSLATION
from test_damaged_runs import mutated

from modicum.data.reports import Vocabulary
from modicum.engine.metrics_file import read_metrics
from modicum.engine.model_file import task_of_run
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, ModicumError
from modicum.tasks import BoxListTask, Classification, DenseTask, ImageLevelTask, task_from_dict
from modicum.tasks.anomaly.task import Anomaly, AnomalyOptions
from modicum.tasks.anomaly.threshold import Threshold
from modicum.tasks.classification.class_groups import ClassGroups
from modicum.tasks.classification.operating_points import OperatingPoints
from modicum.tasks.detection.task import Detection, DetectionOptions
from modicum.tasks.image_text.task import ImageText, ImageTextOptions

POINTS = OperatingPoints((0.3,), 1.2, "validation", {"rule": "balanced", "images": 40})
WORDS = Vocabulary(24, np.zeros(24, dtype=bool), pad=0, unknown=1, start=2, mask=3)
TASKS = {
    "classes": CLASSES,
    "grades": GRADES,
    "masks": MASKS,
    "translation": TRANSLATION,
    "points": Classification("binary", ["no", "yes"], points=POINTS),
    "findings": Classification(
        "multi-label", ["x", "y"], points=OperatingPoints((0.3, 0.4), 1.0, "validation")
    ),
    "groups": Classification(
        "multi-class", ["a", "b", "c"], groups=ClassGroups(50, 10, {"a": 99, "b": 20, "c": 3})
    ),
    "anomaly": Anomaly(
        ("ok",), ("ill", "worse"), AnomalyOptions(), Threshold(0.5, "validation", 30), masks=True
    ),
    "detection": Detection(["dark", "bright"], DetectionOptions()),
    "image-text": ImageText(ImageTextOptions(report_length=8, target_scale=2), vocabulary=WORDS),
}


def use(task) -> None:
    """All that opening, predicting, evaluating and reporting ask of a task, with outputs of any kind."""
    json.dumps(task.to_dict())
    assert task.notes is not None
    assert all(metric.title for metric in task.metrics().values())
    task.higher_is_better(task.monitor)
    generator = torch.Generator().manual_seed(0)
    outputs = task.num_outputs
    if isinstance(task, ImageLevelTask):
        values = torch.rand(4, outputs, generator=generator)
        task.prediction_table(task.activate(values).numpy().astype(np.float64)).to_csv()
        labels = torch.arange(4) % 2
        batch = {"row": torch.arange(4), "label": labels}
        if isinstance(task, Anomaly):
            batch["groups"] = torch.zeros(4, len(task.groups))
        elif task.kind == "multi-label":
            batch["label"] = batch["labels"] = (torch.rand(4, outputs, generator=generator) > 0.5).float()
        scores = task.scores()
        scores.update(values, batch)
        scores.estimates(None, 3, 0)
        scores.table().to_csv()
    elif isinstance(task, DenseTask):
        activated = (
            task.activate(torch.rand(1, outputs, 8, 8, generator=generator))[0].numpy().astype(np.float32)
        )
        task.to_file(activated)
        task.summary(activated, (1.0, 1.0))
        if task.value_range is not None:
            task.value_range.window.values(activated[0])
    elif isinstance(task, BoxListTask):
        assert len(task.boxes(np.array([[1.0, 1, 5, 5, 0.9, 0]]))) == 1


@pytest.mark.parametrize("name", TASKS)
def test_no_damage_to_a_task_is_an_internal_error_when_it_is_used(name, tmp_path):
    folder, generator = RunFolder(tmp_path), random.Random(5)
    stored = json.loads(json.dumps(TASKS[name].to_dict()))
    use(task_from_dict(stored))
    refused = lines = 0
    for _ in range(60):
        content = {"schema": 1, "weights_sha256": "0" * 64, "frozen_backbone_sha256": None}
        folder.model.write_text(json.dumps({**content, "task": mutated(stored, generator)}))
        try:
            task = task_of_run(folder)
        except ModicumError as error:
            lines += len(str(error).splitlines())
            refused += 1
        else:
            use(task)
    assert refused == lines > 10


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("classes", {"classes": "abc"}, "classes are not a list of names"),
        ("classes", {"classes": ["a", None, "c"]}, "classes are not a list of names"),
        ("classes", {"classes": ["a", "b", "b"]}, "classes are 3 names, or some of them alike"),
        ("classes", {"kind": "multi"}, "kind is none of binary, multi-class, multi-label"),
        ("points", {"classes": ["yes"]}, "classes are 1 names"),
        ("points", {"specificity": 95}, "specificity is 95"),
        ("grades", {"thresholds": [0.5]}, "thresholds are not 2 numbers"),
        ("anomaly", {"threshold": {"value": "0.5", "from": "given", "images": 0}}, "threshold is not a number"),
        ("anomaly", {"groups": "ill"}, "abnormal classes are not a list of names"),
        ("detection", {"classes": [1, 2]}, "classes are not a list of names"),
        ("groups", {"classes": ["a", "b", "d"]}, "classes in groups"),
        ("translation", {"channels": [1, "1"]}, "channels is none of 1, 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name, change, said, tmp_path):
    folder = RunFolder(tmp_path)
    content = {"schema": 1, "weights_sha256": "0" * 64, "frozen_backbone_sha256": None}
    folder.model.write_text(json.dumps({**content, "task": {**TASKS[name].to_dict(), **change}}))
    with pytest.raises(InputError, match=rf"model.json' is damaged \(task: {said}"):
        task_of_run(folder)


METRICS = {
    "task": "classification",
    "method": "full",
    "backbone": "test_vit",
    "selection": {"metric": "auroc", "mode": "max", "value": 0.7},
    "parameters": {"learnable": 7, "total": 9},
    "memory": {"kind": "estimated", "peak_bytes": 2**20},
    "time": {"images_per_second": 5, "fit_seconds": 1.5},
    "evaluations": {
        "test": {
            "images": 7,
            "patients": None,
            "resampling_unit": "image",
            "metrics": {"auroc": {"value": 0.7, "low": None, "high": None}, "accuracy": {"value": 0.5}},
            "domains": {"a": {"images": 3, "patients": None, "metrics": {"auroc": {"value": 0.5}}}},
        }
    },
}


def test_no_damage_to_metrics_is_an_internal_error_where_they_are_printed_or_compared(tmp_path):
    from modicum.comparison.grid import validation_worth
    from modicum.console.summary import run_summary

    folder, generator = RunFolder(tmp_path), random.Random(8)
    folder.recipe.write_text("method: full\n")
    refused = 0
    folder.metrics.write_text(json.dumps(METRICS))
    assert "auroc 0.700" in run_summary(tmp_path)[1]
    assert validation_worth(folder) == 0.7
    for _ in range(200):
        folder.metrics.write_text(json.dumps(mutated(METRICS, generator)))
        try:
            run_summary(tmp_path)
            read_metrics(folder)
            validation_worth(folder)
        except ModicumError:
            refused += 1
    assert refused > 50
