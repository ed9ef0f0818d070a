"""Metrics as values: every number that a task reports is in its table, in its range, and better in its direction."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError
from modicum.recipes import shipped_recipes
from modicum.tasks import TASKS, Task, task_class
from modicum.tasks.anomaly.task import Anomaly
from modicum.tasks.anomaly.threshold import Threshold
from modicum.tasks.base import Scores
from modicum.tasks.classification.task import Classification
from modicum.tasks.detection.task import Detection
from modicum.tasks.image_text.task import ImageText, ImageTextOptions
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.tasks.metric import LOSS, Metric, check_monitor, find_metric
from modicum.tasks.metric_tables import METRIC_TABLES, metric_named
from modicum.tasks.scores import DenseScores
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

IMAGES, SIDE = 60, 24


def _segmentation(kind: str, classes: tuple[str, ...]) -> Segmentation:
    codes = {name: ((code, code),) for code, name in enumerate(classes, start=kind != "multi-class")}
    return Segmentation(kind, {"mask": MaskCodes(kind, classes, codes)}, SegmentationOptions())


TASKS_MADE: dict[str, Task] = {
    "two classes": Classification("binary", ["healthy", "ill"]),
    "classes": Classification("multi-class", ["a", "b/c", "d"]),
    "grades": Classification("multi-class", ["0", "1", "2", "3"], ordered=True, specificity=0.9),
    "findings": Classification("multi-label", ["effusion", "nodule"]),
    "one mask": _segmentation("binary", ("vessel",)),
    "exclusive masks": _segmentation("multi-class", ("background", "lung", "heart")),
    "overlapping masks": _segmentation("multi-label", ("disc", "cup")),
    "translation": ImageToImage((1, 1), ImageToImageOptions()),
    "anomalies": Anomaly(("normal",), ("ill",), threshold=Threshold(1.0, "given")),
    "anomalies in grades": Anomaly(("0",), ("1", "2"), threshold=Threshold(1.0, "given"), masks=True),
    "boxes": Detection(["lesion"]),
    "boxes of classes": Detection(["bright", "dark"]),
    "images": ImageText(ImageTextOptions()),
    "images and reports": ImageText(ImageTextOptions(report_length=8)),
}


# --- made predictions -------------------------------------------------------------------------------------------------


def _classified(task: Classification, good: float, rng: np.random.Generator) -> Scores:
    """Logits that tell classes apart the better, the larger ``good`` is."""
    count = len(task.classes)
    if task.kind == "multi-label":
        truth = rng.integers(2, size=(IMAGES, count)).astype(np.float32)
        logits = good * (2 * truth - 1) + rng.normal(size=truth.shape)
        batch = {"labels": torch.tensor(truth)}
    else:
        labels = np.arange(IMAGES) % count
        logits = good * 2 * np.eye(count)[labels] + rng.normal(size=(IMAGES, count))
        batch = {"label": torch.tensor(labels)}
    scores = task.scores()
    # Sure about what it knows and unsure about what it does not, as a calibrated model is.
    scores.update(torch.tensor(logits * (1 + good)), {**batch, "row": torch.arange(IMAGES)})
    return scores


def _segmented(task: Segmentation, good: float, rng: np.random.Generator) -> DenseScores:
    scores = task.scores()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for image in range(12):
        middles = rng.integers(6, SIDE - 6, size=(len(task.classes), 2))
        inside = [np.hypot(rows - y, columns - x) < 4 for y, x in middles]
        if task.exclusive:
            inside = [~inside[1] & ~inside[2], inside[1] & ~inside[2], inside[2]]
        mask = np.stack(inside)
        logits = good * (2 * mask - 1.0) + rng.normal(size=mask.shape)
        activated = task.activate(torch.tensor(logits)).numpy().astype(np.float32)
        scores.add(image, activated, {"mask": mask, "fov": np.ones((SIDE, SIDE), bool)}, None)
    return scores


def _translated(task: ImageToImage, good: float, rng: np.random.Generator) -> DenseScores:
    scores = task.scores()
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    inside = np.hypot(rows, columns) < 0.4 * SIDE
    for image in range(12):
        target = np.where(inside, rng.uniform(0.1, 0.9, (SIDE, SIDE)), 0)[None].astype(np.float32)
        made = target + 0.2 / (1 + good) * rng.normal(size=target.shape)
        scores.add(image, np.clip(made, 0, 1).astype(np.float32), {"target": target}, None)
    return scores


def _completed(task: ImageText, good: float, rng: np.random.Generator) -> Scores:
    """What a stage would say: errors of patches, cross-entropy and hits of words, from made guesses."""
    patches = rng.normal(size=(IMAGES, 50))
    guessed = patches + rng.normal(size=patches.shape) / (1 + good)
    words = torch.tensor(rng.integers(9, size=(IMAGES, 20)))
    logits = good * torch.nn.functional.one_hot(words, 9) + torch.tensor(rng.normal(size=(IMAGES, 20, 9)))
    surprise = torch.nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none")
    values = {
        "image": torch.tensor((guessed - patches) ** 2).mean(1),
        "report": surprise.reshape(IMAGES, 20).mean(1),
        "report_accuracy": (logits.argmax(-1) == words).double().mean(1),
    }
    scores = task.scores()
    outputs = torch.stack([values[name] for name in task.outputs], dim=1)
    scores.update(outputs, {"row": torch.arange(IMAGES)})
    return scores


def _detected(task: Detection, good: float, rng: np.random.Generator) -> Scores:
    """Boxes that lie the nearer to the true ones, and are the surer where they do, the larger ``good`` is."""
    corners = rng.uniform(0, 60, (IMAGES, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, corners.shape)], -1)
    numbers = rng.integers(len(task.classes), size=(IMAGES, 3))
    near = boxes + 6 / (1 + good) * rng.normal(size=boxes.shape)
    far = near[:, ::-1] + 40
    scores = rng.uniform(0, 1, (IMAGES, 6)) / (1 + good)
    scores[:, :3] += good / (1 + good)
    found = np.concatenate(
        [np.concatenate([near, far], 1), scores[..., None], np.tile(numbers, 2)[..., None]], -1
    )
    batch = {"boxes": torch.tensor(boxes), "box_classes": torch.tensor(numbers), "row": torch.arange(IMAGES)}
    collected = task.scores()
    collected.update(torch.tensor(found), batch)
    return collected


def _abnormal(task: Anomaly, good: float, rng: np.random.Generator) -> Scores:
    """Scores of images, and maps of half of them, that are the higher where something is, the larger ``good`` is."""
    count = 4 * IMAGES
    kinds = np.arange(count) % (1 + len(task.groups))
    found = good * kinds + rng.normal(size=count) / (1 + good)
    groups = torch.tensor(kinds[:, None] == 1 + np.arange(len(task.groups)))
    scores = task.scores()
    batch = {"label": torch.tensor(kinds > 0), "groups": groups, "row": torch.arange(count)}
    scores.update(torch.tensor(found)[:, None], batch)
    for row in range(30 if task.masks else 0):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[3:6, 3:9] = mask[12:15, 12:15] = kinds[row] > 0
        values = 1 / (1 + np.exp(-good * mask - rng.normal(size=mask.shape)))
        scores.add_map(row, values, mask if kinds[row] else None)
    return scores


MAKERS: dict[type[Task], Callable[..., Scores]] = {
    Classification: _classified,
    Segmentation: _segmented,
    ImageToImage: _translated,
    ImageText: _completed,
    Detection: _detected,
    Anomaly: _abnormal,
}


def scored(name: str, good: float, seed: int) -> Scores:
    task = TASKS_MADE[name]
    return MAKERS[type(task)](task, good, np.random.default_rng(seed))


# --- what a task reports ----------------------------------------------------------------------------------------------


def test_every_kind_of_task_is_tried():
    assert {type(task) for task in TASKS_MADE.values()} == {kind for kind in TASKS.values() if kind.evaluated}


@pytest.mark.parametrize("name", TASKS_MADE)
@given(seed=st.integers(0, 10_000), good=st.sampled_from([0.0, 0.5, 2.0, 9.0]))
@settings(max_examples=4, deadline=None)
def test_all_that_a_task_reports_is_in_its_table_and_in_its_range(name, seed, good):
    scores, known = scored(name, good, seed), TASKS_MADE[name].metrics()
    found = scores.estimates(None, 0, 0)
    assert list(found) == list(known)
    assert set(scores.metrics()) <= set(known)
    for metric, estimate in found.items():
        low, high = known[metric].range
        assert math.isnan(estimate.value) or low - 1e-9 <= estimate.value <= high + 1e-9, metric


@pytest.mark.parametrize("name", TASKS_MADE)
@pytest.mark.parametrize("seed", range(2))
def test_a_better_prediction_has_better_metrics(name, seed):
    worse, better = (scored(name, good, seed).metrics() for good in (0.3, 2.5))
    for metric, known in TASKS_MADE[name].metrics().items():
        if known.higher_is_better is None:
            assert better[metric] == worse[metric], metric
        else:
            assert (better[metric] > worse[metric]) == known.higher_is_better, metric
            assert better[metric] != worse[metric], metric


@pytest.mark.parametrize("name", TASKS_MADE)
def test_guessing_comes_to_what_the_table_says(name):
    values = [scored(name, 0.0, seed).metrics() for seed in range(12)]
    for metric, known in TASKS_MADE[name].metrics().items():
        if known.chance is not None:
            assert np.mean([one[metric] for one in values]) == pytest.approx(known.chance, abs=0.06), metric


@pytest.mark.parametrize("name", TASKS_MADE)
def test_the_mean_over_images_is_said_of_those_metrics_that_are_one(name):
    task, scores = TASKS_MADE[name], scored(name, 0.5, 0)
    table, values = scores.table(), scores.metrics()
    for metric, known in task.metrics().items():
        column = {"image": "image_error"}.get(metric, metric)
        if known.per_image and column in table:
            assert np.nanmean(table[column]) == pytest.approx(values[metric]), metric


@pytest.mark.parametrize("name", TASKS_MADE)
def test_a_task_selects_weights_by_a_metric_that_epochs_have(name):
    task = TASKS_MADE[name]
    check_monitor(task.metric(task.monitor))
    assert task.higher_is_better("loss") is False
    assert set(task.metrics()) == {metric.name for metric in task.metrics().values()}
    with pytest.raises(InputError, match=r"unknown metric 'beauty' for task .*known: "):
        task.metric("beauty")


# --- the tables -------------------------------------------------------------------------------------------------------


def test_the_tables_that_reports_read_are_those_of_the_tasks():
    assert {name: kind.metric_table for name, kind in TASKS.items()} == METRIC_TABLES


def test_a_name_means_the_same_in_every_task_but_for_its_words():
    first: dict[str, Metric] = {}
    for metric in (metric for table in METRIC_TABLES.values() for metric in table):
        known = first.setdefault(metric.name, metric)
        for what in ("title", "higher_is_better", "range", "unit", "decimals", "chance"):
            assert getattr(metric, what) == getattr(known, what), (metric.name, what)


@pytest.mark.parametrize("metric", [metric for table in METRIC_TABLES.values() for metric in table])
def test_every_metric_has_words_for_people(metric):
    assert metric.title[:1].isupper()
    assert len(metric.title) <= 40
    assert metric.meaning
    assert not metric.meaning.endswith(".")
    assert not metric.explanation or metric.explanation.endswith(".")
    assert metric.range[0] < metric.range[1]


@pytest.mark.parametrize("name", TASKS_MADE)
def test_files_of_a_run_are_read_with_the_words_of_the_task(name):
    task = TASKS_MADE[name]
    for metric, known in task.metrics().items():
        assert metric_named(metric, task.name) == known


def test_names_of_other_versions_can_be_read():
    assert metric_named("area_overlap/left lung").title == "Area overlap of “left lung”"
    assert metric_named("area_overlap").higher_is_better is None
    assert metric_named("loss", "segmentation") is LOSS


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("sensitivity_at_95_specificity", "Sensitivity at 95 % specificity"),
        ("sensitivity_at_97.5_specificity/mild", "Sensitivity at 97.5 % specificity of “mild”"),
        ("sensitivity_at_x_specificity", None),
        ("sensitivity_at_095_specificity", None),
        ("sensitivity_at_0_specificity", None),
        ("sensitivity_at_100_specificity", None),
        ("accuracy/mild", None),
    ],
)
def test_a_family_has_a_member_for_each_percentage(name, title):
    found = find_metric(METRIC_TABLES["classification"], name)
    assert (None if found is None else found.title) == title
    assert found is None or found.name == name


def test_a_new_metric_is_one_entry():
    class Sharper(ImageToImage):
        metric_table = (*ImageToImage.metric_table, Metric("blur", "Blur", "less is better", "", False))

    task = Sharper((1, 1), ImageToImageOptions())
    assert task.higher_is_better("blur") is False
    assert list(task.metrics())[-1] == "blur"
    assert replace(task.metric("blur"), name="x").title == "Blur"


# --- the metric that selects weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "task", "name", "words"),
    [
        ("full", "classification", "aurok", "unknown metric 'aurok'; did you mean 'auroc'"),
        ("full", "classification", "dice", "unknown metric 'dice'"),
        (
            "full",
            "classification",
            "sensitivity_at_specificity",
            "did you mean 'sensitivity_at_95_specificity'",
        ),
        ("segment", "segmentation", "dise", "did you mean 'dice'"),
        ("segment", "segmentation", "empty", "nothing of how good"),
        ("segment", "segmentation", "hausdorff95", "measured only in evaluations"),
        ("segment", "segmentation", "hausdorff95/cup", "measured only in evaluations"),
        ("mae", "image-text", "auroc", "known: .*image.*report, report_accuracy"),
    ],
)
def test_what_cannot_select_weights_is_refused_before_anything_is_read(method, task, name, words):
    with pytest.raises(InputError, match=words):
        make_recipe("nowhere.csv", method, {"monitor": name, "task": task, "weights": "random"})


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("full", "auroc/any"),
        ("full", "loss"),
        ("full", "sensitivity_at_90_specificity"),
        ("reggan", "ssim_foreground"),
        ("mrm", "report_accuracy"),
    ],
)
def test_what_can_select_weights_is_taken(method, name):
    assert make_recipe("nowhere.csv", method, {"monitor": name}).training.monitor == name


def test_recipes_that_come_with_modicum_select_by_metrics_that_exist():
    recipes = (
        make_recipe("data", None, {"weights": "random"}, given_recipe(name)) for name in shipped_recipes()
    )
    selecting = {(recipe.task, recipe.training.monitor) for recipe in recipes if recipe.training.monitor}
    assert selecting
    for task, name in selecting:
        assert find_metric(task_class(task).metric_table, name) is not None
