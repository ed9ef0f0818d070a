"""Tasks: what a target and a prediction are, with metrics and plots.

These names are imported when they are first used: metrics and curves alone need no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modicum.tasks.base import Batch, Example, ImageLevelTask, Scores, Task
    from modicum.tasks.box_lists import BoxListScores, BoxListTask
    from modicum.tasks.classification.task import Classification
    from modicum.tasks.dense import DenseTask
    from modicum.tasks.registry import TASKS, task_class, task_from_dict, task_of, tasks_of_columns

DEFAULT_TASK = "classification"
"""The task of a recipe that names none."""

__all__ = [
    "DEFAULT_TASK",
    "TASKS",
    "Batch",
    "BoxListScores",
    "BoxListTask",
    "Classification",
    "DenseTask",
    "Example",
    "ImageLevelTask",
    "Scores",
    "Task",
    "task_class",
    "task_from_dict",
    "task_of",
    "tasks_of_columns",
]

_HOMES = {
    **dict.fromkeys(("Batch", "Example", "ImageLevelTask", "Scores", "Task"), "modicum.tasks.base"),
    **dict.fromkeys(("BoxListScores", "BoxListTask"), "modicum.tasks.box_lists"),
    **dict.fromkeys(
        ("TASKS", "task_class", "task_from_dict", "task_of", "tasks_of_columns"), "modicum.tasks.registry"
    ),
    "Classification": "modicum.tasks.classification.task",
    "DenseTask": "modicum.tasks.dense",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'modicum.tasks' has no attribute {name!r}")
