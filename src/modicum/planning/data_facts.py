"""What a memory prediction has to know of the data: read from the data's table, or assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int, Shaped

from modicum.data.boxes.column import COLUMN as BOXES
from modicum.data.boxes.column import given_boxes
from modicum.data.held_out import hold_out
from modicum.data.manifest import Manifest
from modicum.data.sampling import epoch_order
from modicum.engine.inputs.preparation import read_manifest, task_for, with_parts
from modicum.engine.recipe.settings import Recipe
from modicum.tasks import Task, task_class

ASSUMED_ROWS = 1024
"""Training images of data that nobody has seen."""
ASSUMED_BOXES = 8
"""Boxes of an image of such data."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of the training images.

    Attributes:
        task: what is learned.
        targets: of the training images.
        rows: how many there are.
        columns: of the table; empty where there is none.
        boxes: of the image that has most.
    """

    task: Task
    targets: Mapping[str, np.ndarray]
    rows: int
    columns: frozenset[str] = field(default_factory=frozenset)
    boxes: int = ASSUMED_BOXES

    @cached_property
    def sampling_labels(self) -> Shaped[np.ndarray, "rows *findings"]:
        """What balanced sampling goes by; all alike where nothing is known of the images."""
        return (
            self.task.sampling_labels(self.targets) if self.targets else np.zeros(self.rows, dtype=np.int64)
        )

    def batch_unit(self, sampling: str) -> int:
        """What batch sizes are multiples of: ``round_robin`` shows an image of each kind in turn."""
        return len(np.unique(self.sampling_labels)) if sampling == "round_robin" else 1

    def first_rows(self, count: int, sampling: str, seed: int) -> Int[np.ndarray, "count"]:
        """The training images of a run's first batch; from the start again where there are fewer."""
        return np.resize(epoch_order(self.sampling_labels, sampling, seed=seed), count)


def assumed_facts(recipe: Recipe, num_classes: int | None = None) -> DataFacts:
    """Of data that nobody has seen; see :meth:`~modicum.tasks.base.Task.from_options`."""
    task = task_class(recipe.task).from_options(recipe.options, num_classes).for_loss(recipe.training.loss)
    return DataFacts(task, task.example_targets(ASSUMED_ROWS), ASSUMED_ROWS)


def facts_of(recipe: Recipe) -> DataFacts:
    """Of the data of a recipe. Raises :class:`~modicum.errors.InputError` for what is wrong with its table."""
    manifest = read_manifest(recipe.data, recipe.task, recipe.options)
    if recipe.data.held_out is not None:
        manifest = hold_out(manifest, recipe.data.held_out)
    manifest = with_parts(manifest, recipe)
    task = task_for(manifest, recipe)
    targets = task.targets(manifest)
    rows = np.flatnonzero(manifest.table["split"].to_numpy() == "train")
    return DataFacts(
        task,
        {name: values[rows] for name, values in targets.items()},
        len(rows),
        frozenset(str(name) for name in manifest.table),
        _most_boxes(manifest),
    )


def _most_boxes(manifest: Manifest) -> int:
    if BOXES not in manifest.table:
        return ASSUMED_BOXES
    return max((len(boxes) for boxes in given_boxes(manifest) if boxes is not None), default=1)
