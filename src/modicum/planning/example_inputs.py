"""Batches without values, as the loader gives them to the stages of a method."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from modicum.batch import (
    FELLOW,
    PICTURES,
    Kind,
    Kinds,
    box_classes_of,
    kind_of,
    names_of,
    prefix_of,
    with_prefix,
)
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.model import further_images
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import FitStage, TrainStage
from modicum.planning.data_facts import DataFacts
from modicum.planning.known_values import KnownValues
from modicum.tasks.base import AuxiliaryImage, Batch

BOXES = "boxes"
_OF_TARGETS = (Kind.TARGET, Kind.TEXT)


@dataclass
class ExampleInputs:
    """Makes what each stage reads.

    Attributes:
        recipe: settings of the run.
        facts: of the data.
        place: the device to make tensors on.
        values: told what is known of targets, boxes and rows.
        records: by name, what an extract stage makes of one image ``[1, ...]``.
    """

    recipe: Recipe
    facts: DataFacts
    place: str
    values: KnownValues
    records: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kinds(self) -> Kinds:
        """Kinds of inputs whose names have none by convention."""
        named = {one.column: Kind(one.kind) for one in self._auxiliary_images()}
        return {**{name: Kind.FEATURES for name in self.records if kind_of(name) is None}, **named}

    def images(self, count: int) -> Batch:
        """Stored images alone."""
        with self._placed():
            batch = self.facts.task.example_batch(count, self._stored_size())
        return {"image": batch["image"]}

    def of(self, stage: TrainStage | FitStage, count: int, *, longest: bool = False) -> Batch:
        """The first training batch of a stage. Of pictures and records no values are known.

        Args:
            stage: what reads it.
            count: rows.
            longest: whether reports are as long as they may be, and not those of the first batch.

        Raises:
            InputError: the stage reads what is not known here.
        """
        with self.values:
            batch = self._read_by(stage, self._of_rows(stage, count, longest), count)
        for name in names_of(batch, *PICTURES, Kind.FEATURES, kinds=self.kinds):
            self.values.forget(batch[name])
        return batch

    def has_reports(self) -> bool:
        """Whether batches differ in the length of their reports."""
        return any(kind_of(name) == Kind.TEXT for name in self.facts.targets)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _read_by(self, stage: TrainStage | FitStage, rows: Batch, count: int) -> Batch:
        available = {**rows, **self._boxes(count)}
        available |= {name: record.expand(count, *record.shape[1:]) for name, record in self.records.items()}
        asked_for = {"image", BOXES, box_classes_of(BOXES), *self.records}
        batch: Batch = {}
        for prefix in dict.fromkeys(["", *map(prefix_of, stage.reads)]):
            reads = {name.removeprefix(prefix) for name in stage.reads if prefix_of(name) == prefix}
            if unknown := reads - available.keys():
                raise InputError(
                    f"stage '{stage.name}' reads '{prefix}{min(unknown)}', whose shape is not known without the data",
                    "give --batch-size a number",
                )
            if BOXES in reads:
                reads.add(box_classes_of(BOXES))
            part = {
                name: tensor for name, tensor in available.items() if name in reads or name not in asked_for
            }
            if prefix == FELLOW:
                part["missing"] = torch.zeros(count, dtype=torch.bool)
            batch |= with_prefix({name: self._own(tensor) for name, tensor in part.items()}, prefix)
        return batch

    def _of_rows(self, stage: TrainStage | FitStage, count: int, longest: bool) -> Batch:
        """Images, all that lies beside them, and targets."""
        facts, size = self.facts, self._stored_size()
        with self._placed():
            batch = facts.task.example_batch(count, size)
            for one in self._auxiliary_images():
                if one.column not in batch and (one.required or one.column in facts.columns):
                    batch[one.column] = one.example(count, size, facts.task.levels)
        rows = facts.first_rows(count, self.recipe.training_of(stage.name).sampling, self.recipe.seed)
        batch = {
            name: tensor
            for name, tensor in batch.items()
            if kind_of(name) not in _OF_TARGETS or name in facts.targets
        }
        for name, values in facts.targets.items():
            if not (longest and kind_of(name) == Kind.TEXT):
                batch[name] = torch.from_numpy(values[rows])
        return batch

    def _boxes(self, count: int) -> Batch:
        """As many boxes of the whole image as an image has at most."""
        height, width = self._stored_size()
        whole = torch.tensor([0.0, 0.0, width, height]).expand(count, self.facts.boxes, 4)
        classes = torch.zeros(count, self.facts.boxes, dtype=torch.int64)
        return {BOXES: whole, box_classes_of(BOXES): classes}

    def _auxiliary_images(self) -> list[AuxiliaryImage]:
        """The task's and the method's; of a pattern (``masks:*``) those that the data have."""
        by_column = {one.column: one for one in self.facts.task.auxiliary_images}
        for one in further_images(self.recipe):
            names = [one.column]
            if one.column.endswith("*"):
                names = sorted(name for name in self.facts.columns if name.startswith(one.column[:-1]))
            by_column = {**{name: replace(one, column=name) for name in names}, **by_column}
        return list(by_column.values())

    def _stored_size(self) -> tuple[int, int]:
        settings = store_settings(self.recipe.image, self.recipe.task, self.recipe.options)
        return settings.height, settings.width

    @contextmanager
    def _placed(self) -> Iterator[None]:
        with torch.device(self.place):
            yield

    def _own(self, tensor: Tensor) -> Tensor:
        """A tensor with memory of its own, on the device."""
        return tensor.to(self.place, copy=True).contiguous()
