"""Finds tasks by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from modicum.data.manifest import LABELS_PREFIX, MASKS_PREFIX, Manifest
from modicum.errors import InputError, did_you_mean
from modicum.tasks.base import Task
from modicum.tasks.classification.task import Classification
from modicum.tasks.detection.task import Detection
from modicum.tasks.encoder.task import Encoder
from modicum.tasks.image_text.task import ImageText
from modicum.tasks.image_to_image.task import ImageToImage
from modicum.tasks.segmentation.task import Segmentation

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Classification, Detection, Encoder, ImageText, ImageToImage, Segmentation)
}


RENAMED_OPTIONS = {"neighbours": "adjacent_slices"}
"""Settings of tasks in the run folders and cards of earlier versions, and what they are called now."""


def task_of(manifest: Manifest, name: str, options: Mapping[str, Any]) -> Task:
    """The task called ``name`` for the data of a manifest.

    Raises:
        InputError: an unknown task, or a manifest without the columns that it needs.
    """
    return task_class(name).from_manifest(manifest, options)


def tasks_of_columns(columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tasks that a manifest's columns are for, by name, and the settings with which they read those columns."""
    by_task: dict[str, dict[str, Any]] = {}
    if "label" in columns or any(name.startswith(LABELS_PREFIX) for name in columns):
        by_task[Classification.name] = {}
    if "mask" in columns or any(name.startswith(MASKS_PREFIX) for name in columns):
        by_task[Segmentation.name] = {}
    if "target" in columns:
        by_task[ImageToImage.name] = {}
    if "report" in columns:
        by_task[ImageText.name] = {"report_length": 64}
    return by_task


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """The task of a run folder's JSON values. Raises :class:`~modicum.errors.InputError` for an unknown one."""
    options = values.get("options")
    if isinstance(options, Mapping):
        values = {**values, "options": {RENAMED_OPTIONS.get(key, key): options[key] for key in options}}
    return task_class(str(values["name"])).from_dict(values)


def task_class(name: str) -> type[Task]:
    """The class of the task called ``name``. Raises :class:`~modicum.errors.InputError` for an unknown one."""
    if name not in TASKS:
        raise InputError(f"unknown task '{name}'", did_you_mean(name, TASKS))
    return TASKS[name]
