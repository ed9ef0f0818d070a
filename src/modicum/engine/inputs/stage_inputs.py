"""Inputs of a method's stages: images, and the outputs of earlier stages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modicum.batch import FELLOW, PARTNER, Kind, kind_of, prefix_of
from modicum.engine.devices import process_rank, process_world
from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.inputs.boxes import box_inputs
from modicum.engine.inputs.extraction import Extraction, LiveStage, RecordReader, extracted
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.known_rows import rows_known
from modicum.engine.model import backbone_facts
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import ExtractStage, FitStage, Stage, TrainStage
from modicum.progress import say
from modicum.tasks import Task
from modicum.wording import count_of


@dataclass
class StageInputs:
    """Collects the outputs of extract stages, and gives each training stage its inputs.

    Attributes:
        recipe: the run's settings.
        prepared: manifest and images.
        task: the task, for labels of balanced sampling.
        targets: arrays over all rows of the manifest.
        stores: folder of the feature stores.
        device: where to compute.
    """

    recipe: Recipe
    prepared: PreparedData
    task: Task
    targets: dict[str, np.ndarray]
    stores: Path
    device: torch.device
    _made: dict[str, Stored | LiveStage] = field(default_factory=dict)
    _views: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def extract(self, stage: ExtractStage) -> None:
        """Runs a stage over all images, or arranges for it to be run batch by batch."""
        settings = self.recipe.features
        self._made[stage.output] = extracted(
            Extraction(
                stage,
                self.prepared.store,
                self.prepared.positions,
                self.stores,
                backbone_facts(stage),
                self.recipe.training.batch_size,
                self.recipe.training.precision,
                self.device,
                process_rank(),
                process_world(),
            ),
            settings.mode,
            None if settings.disk_gb is None else settings.disk_gb * 1e9,
        )
        self._views[stage.output] = stage.views
        if isinstance(self._made[stage.output], Stored):
            stage.to("cpu")  # its records are on the disk: the device's memory is for training
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def check(self, stages: Sequence[Stage]) -> None:
        """Refuses a stage that can learn from no row before the first one learns. Raises InputError."""
        train_rows = self.prepared.rows("train")
        for stage in stages:
            if not isinstance(stage, ExtractStage):
                self._learned_from(stage, train_rows)

    def of(self, stage: TrainStage | FitStage) -> StageData:
        """The data of a stage that is trained or fitted."""
        read_images, image_positions = self.prepared.images
        images = Stored(read_images, image_positions[None])
        seen = {
            name: Stored(read, positions[None])
            for name, (read, positions) in self.prepared.auxiliary_images.items()
        }
        train_rows, val_rows = self._rows_of(stage)
        available: dict[str, Stored | LiveStage] = {"image": images, **seen, **self._made}
        bases = [name.removeprefix(prefix_of(name)) for name in stage.reads]
        boxes = box_inputs(self.prepared.boxes, bases, stage.name, train_rows)
        available |= boxes
        inputs: dict[str, Stored | LiveStage] = {**seen}
        for name in stage.reads:
            prefix = prefix_of(name)
            base = name.removeprefix(prefix)
            if base not in available:
                raise ValueError(f"stage '{stage.name}' reads '{name}', which no stage before it provides")
            inputs[name] = available[base]
            # With boxes come their classes, and with any input of another row the masks and boxes of that row's image.
            of_row = {**(boxes if base == "boxes" else {}), **seen}
            inputs |= {prefix + other: source for other, source in of_row.items()}
        prefixes = {prefix_of(name) for name in stage.reads}
        if FELLOW in prefixes:
            self._say_repeated_eyes(stage.name, np.union1d(train_rows, val_rows))
        live = {name: source for name, source in inputs.items() if isinstance(source, LiveStage)}
        sources = {f"{prefix_of(name)}source": images for name in live}
        return StageData(
            {**{name: s for name, s in inputs.items() if isinstance(s, Stored)}, **sources},
            self.targets,
            train_rows,
            val_rows,
            self._sampling_labels(train_rows),
            live,
            max((self._views.get(name, ("identity",)) for name in stage.reads), key=len),
            getattr(stage, "aligned_views", False),
            self.task.assemble,
            tuple(name for name in self.task.shuffled if name in seen),
            self._fellows(val_rows, train_rows) if FELLOW in prefixes else None,
            stage.partner_sampling if PARTNER in prefixes else None,
            {**self._kinds_of_records(), **self.prepared.kinds},
        )

    def _kinds_of_records(self) -> dict[str, Kind]:
        """Kinds of the outputs of extract stages: features, unless the name has a kind by convention."""
        return {name: Kind.FEATURES for name in self._made if kind_of(name) is None}

    def _rows_of(self, stage: TrainStage | FitStage) -> tuple[np.ndarray, np.ndarray]:
        """Training rows and validation rows.

        Raises:
            InputError: the stage can learn from none of the training rows.
        """
        train_rows = self.prepared.rows("train")
        scored = getattr(stage, "scored", False)
        val_rows = self._rows_to_select_by(stage.name) if scored else self.prepared.rows("val")
        mask = self._learned_from(stage, train_rows)
        if mask is None:
            return train_rows, val_rows
        kept = train_rows[mask[train_rows]]
        if len(kept) < len(train_rows):
            say(f"{stage.name}: learns from {len(kept)} of {len(train_rows)} training images")
        return kept, val_rows if scored else val_rows[mask[val_rows]]

    def _learned_from(self, stage: TrainStage | FitStage, train_rows: np.ndarray) -> np.ndarray | None:
        """Which rows a stage may learn from; None for all."""
        if type(stage).learns_from in (TrainStage.learns_from, FitStage.learns_from):
            return None  # nothing need be found out about the rows
        mask = stage.learns_from({**self.targets, **self._has_inputs()})
        if mask is None:
            return None
        mask = _checked(mask, stage.name, len(self.prepared.manifest))
        if not mask[train_rows].any():
            raise InputError(
                f"stage '{stage.name}' can learn from none of the {len(train_rows)} training images",
                stage.learns_from_none
                or "the method's page (modicum methods NAME) says which images it learns from",
            )
        return mask

    def _has_inputs(self) -> dict[str, np.ndarray]:
        """Which rows have each further input, as ``has_NAME``; ``has_fellow``: the other eye, in the same split."""
        boxes = self.prepared.boxes
        rows = len(self.prepared.manifest)
        pictures = {name: positions >= 0 for name, (_, positions) in self.prepared.auxiliary_images.items()}
        return {
            "has_fellow": self._fellows() != np.arange(rows),
            "has_boxes": np.zeros(rows, dtype=bool) if boxes is None else boxes.counts > 0,
            **{f"has_{name}": has for name, has in pictures.items()},
        }

    def _fellows(self, *groups: np.ndarray) -> np.ndarray:
        """For each row, the row of the patient's other eye in the same split, or the row itself.

        Args:
            groups: rows that have their fellows among themselves: those to validate on, those to learn from.
        """
        rows = rows_known(self.prepared.manifest)
        splits = self.prepared.manifest.table["split"].to_numpy()
        fellows = np.arange(len(rows))
        parts = [np.flatnonzero(splits == name) for name in dict.fromkeys(splits)]
        for part in (*parts, *groups):
            inside = rows.take(part).fellow()
            fellows[part] = np.where(inside >= 0, part[inside], part)
        return fellows

    def _say_repeated_eyes(self, stage: str, rows: np.ndarray) -> None:
        repeated = rows_known(self.prepared.manifest).take(rows).repeated_eyes()
        if repeated:
            say(
                f"{stage}: {count_of(repeated, 'eye')} with several images, each of which is graded; "
                "beside the other eye the first in the table is shown"
            )

    def _rows_to_select_by(self, stage: str) -> np.ndarray:
        if self.recipe.training_of(stage).select != "oracle":
            return self.prepared.rows("val")
        rows = self.prepared.rows("test")
        if not len(rows):
            raise InputError(
                "select is 'oracle', and there are no test images to choose the weights by",
                "leave select out, or give the data a test split",
            )
        return rows

    def _sampling_labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels of balanced sampling; one for all images if the task has no labels."""
        if not self.targets:
            return np.zeros(len(rows), dtype=np.int64)
        return self.task.sampling_labels({name: values[rows] for name, values in self.targets.items()})

    def describe(self) -> dict[str, Any] | None:
        """For ``metrics.json``: the source of features and their size on disk; None without features."""
        if not self._made:
            return None
        sizes = [_bytes_per_image(made) for made in self._made.values() if isinstance(made, Stored)]
        live = [name for name, made in self._made.items() if isinstance(made, LiveStage)]
        return {"mode": "live" if live else "store", "live": live, "bytes_per_image": sum(sizes)}


def _checked(mask: object, stage: str, rows: int) -> np.ndarray:
    """Checks a stage's choice of training rows: one boolean per row; anything else would select rows by accident."""
    if isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (rows,):
        return mask
    actual = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, np.ndarray) else type(mask).__name__
    raise InputError(
        f"stage '{stage}': learns_from gave {actual}",
        f"return a numpy array of bool with one value for each of the {rows} rows",
    )


def _bytes_per_image(stored: Stored) -> int:
    """Bytes on disk of one image's records in all views."""
    reader = stored.read
    assert isinstance(reader, RecordReader)
    return reader.store.spec.stride * len(stored.positions)
