"""What the stages of a method read: images, and what earlier stages made of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modicum.engine.devices import process_rank, process_world
from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.inputs.boxes import box_inputs
from modicum.engine.inputs.extraction import Extraction, LiveStage, RecordReader, extracted
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.model import backbone_facts
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import ExtractStage, TrainStage
from modicum.tasks import Task


@dataclass
class StageInputs:
    """Collects what extract stages provide, and hands each train stage what it reads.

    Attributes:
        recipe: the run's settings.
        prepared: manifest and images.
        task: for the labels that sampling goes by.
        targets: arrays over all rows of the manifest.
        stores: where feature stores are kept.
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

    def of(self, stage: TrainStage) -> StageData:
        """The data of a stage that learns."""
        train_rows = self.prepared.rows("train")
        read_images, image_positions = self.prepared.images
        images = Stored(read_images, image_positions[None])
        seen = {
            name: Stored(read, positions[None])
            for name, (read, positions) in self.prepared.auxiliary_images.items()
        }
        made = {"image": images, **self._made}
        boxes = box_inputs(self.prepared.boxes, stage.reads, stage.name, train_rows)
        made |= boxes
        if unknown := [name for name in stage.reads if name not in made]:
            raise ValueError(f"stage '{stage.name}' reads '{unknown[0]}', which no stage before it provides")
        made = {name: made[name] for name in dict.fromkeys([*stage.reads, *boxes])}
        stored = {name: source for name, source in made.items() if isinstance(source, Stored)}
        live = {name: source for name, source in made.items() if isinstance(source, LiveStage)}
        return StageData(
            {**stored, **seen, **({"source": images} if live else {})},
            self.targets,
            train_rows,
            self._rows_to_select_by(),
            self._sampling_labels(train_rows),
            live,
            max((self._views.get(name, ("identity",)) for name in stage.reads), key=len),
            stage.aligned_views,
            self.task.assemble,
            tuple(name for name in self.task.shuffled if name in seen),
        )

    def _rows_to_select_by(self) -> np.ndarray:
        if self.recipe.training.select != "oracle":
            return self.prepared.rows("val")
        rows = self.prepared.rows("test")
        if not len(rows):
            raise InputError(
                "select is 'oracle', and there are no test images to choose the weights by",
                "leave select out, or give the data a test split",
            )
        return rows

    def _sampling_labels(self, rows: np.ndarray) -> np.ndarray:
        """What balanced sampling goes by; where nothing is known of the images they are all alike."""
        if not self.targets:
            return np.zeros(len(rows), dtype=np.int64)
        return self.task.sampling_labels({name: values[rows] for name, values in self.targets.items()})

    def describe(self) -> dict[str, Any] | None:
        """For ``metrics.json``: where features came from and what they take on the disk; None without any."""
        if not self._made:
            return None
        sizes = [_bytes_per_image(made) for made in self._made.values() if isinstance(made, Stored)]
        live = [name for name, made in self._made.items() if isinstance(made, LiveStage)]
        return {"mode": "live" if live else "store", "live": live, "bytes_per_image": sum(sizes)}


def _bytes_per_image(stored: Stored) -> int:
    """Bytes of one image's records in all views, as they lie on the disk."""
    reader = stored.read
    assert isinstance(reader, RecordReader)
    return reader.store.spec.stride * len(stored.positions)
