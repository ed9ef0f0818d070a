"""Calibrates a task, such as its thresholds, on validation predictions of the selected weights; never on test images."""

from collections.abc import Mapping

import numpy as np
import torch

from modicum.engine.inference.evaluation import score_stored
from modicum.engine.inputs.batches import StageData
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.recipe.settings import Recipe
from modicum.engine.scoring import decide_fn
from modicum.errors import InputError
from modicum.methods import Method, TrainStage
from modicum.progress import say
from modicum.tasks import Task
from modicum.tasks.base import Scores

Scored = tuple[Scores, Mapping[str, np.ndarray]]
"""Scores of rows, and further columns of their table."""


def check_calibration(task: Task, prepared: PreparedData) -> None:
    """Raises :class:`InputError` if a task is calibrated on validation images and there are none."""
    check_calibrated_rows(task, len(prepared.rows("val")))


def check_calibrated_rows(task: Task, count: int) -> None:
    """The same for a number of validation images."""
    if task.needs_calibration and not count:
        raise InputError(
            f"no image is in split 'val', and {task.calibrates} are to be chosen on validation images",
            "give some rows the split val, or raise the second of data.fractions (train, val, test)",
        )


def calibrated_task(
    task: Task,
    method: Method,
    recipe: Recipe,
    prepared: PreparedData,
    device: torch.device,
    learned: tuple[TrainStage, StageData] | None,
) -> tuple[Task, Scored | None]:
    """Calibrates the task on the predictions of the selected weights for the validation rows.

    Says what was chosen. A task that chooses nothing comes back as it is, and nothing is predicted; so does one whose
    settings have a default, where there are no validation rows.

    Args:
        task: the trained task.
        method: the method, with the selected weights.
        recipe: the run's recipe.
        prepared: the run's data, of which the rows in ``val`` are read.
        device: where to compute.
        learned: see :func:`~modicum.engine.inference.evaluation.evaluate_rows`.

    Returns:
        The task, and the scores of the validation rows as it reads them, where they were predicted.
    """
    rows = prepared.rows("val")
    if not task.calibrates:
        return task, None
    if not len(rows):
        say(f"no validation images to choose by: default {task.calibrates}")
        return task, None
    scores, further = score_stored(
        method.predictor(),
        task,
        recipe,
        prepared.manifest,
        prepared.store,
        prepared.positions,
        rows,
        device,
        "val",
        learned,
        decide_fn(method, prepared.manifest),
    )
    chosen = task.calibrated(scores)
    for note in chosen.notes:
        if note not in task.notes:
            say(note)
    read = chosen.scores()
    read.merge([scores])
    return chosen, (read, further)
