"""Tasks: what a target and a prediction are, with metrics and plots."""

from collections.abc import Mapping
from typing import Any

from modicum.data.manifest import Manifest
from modicum.errors import InputError, did_you_mean
from modicum.tasks.base import Batch, Example, Scores, Task
from modicum.tasks.classification.task import Classification

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classification,)}

__all__ = ["TASKS", "Batch", "Classification", "Example", "Scores", "Task", "task_from_dict", "task_of"]


def task_of(manifest: Manifest, name: str, options: Mapping[str, Any]) -> Task:
    """The task called ``name`` with what a manifest says of its classes."""
    if name not in TASKS:
        raise InputError(f"unknown task '{name}'", did_you_mean(name, TASKS))
    return TASKS[name].from_manifest(manifest, options)


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """A task as a run folder keeps it."""
    return TASKS[str(values["name"])].from_dict(values)
