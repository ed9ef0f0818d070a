"""The rows of split ``reference`` as one batch: annotated examples that a method asks for."""

from collections.abc import Callable, Mapping

import numpy as np

from modicum.data.manifest import REFERENCE
from modicum.engine.inputs.batches import BatchPlan, StageData, Stored
from modicum.engine.inputs.preparation import PreparedData
from modicum.tasks import Task
from modicum.tasks.base import Batch


def reference_reader(
    prepared: PreparedData, task: Task, targets: Mapping[str, np.ndarray]
) -> Callable[[], Batch]:
    """Reads the reference rows when called, on the CPU; returns an empty batch if there are none."""

    def read() -> Batch:
        rows = prepared.rows(REFERENCE)
        if not len(rows):
            return {}
        read_images, positions = prepared.images
        stored = {"image": Stored(read_images, positions[None])}
        stored |= {n: Stored(r, p[None]) for n, (r, p) in prepared.auxiliary_images.items()}
        data = StageData(
            stored, targets, rows, rows[:0], np.zeros(len(rows)), assemble=task.assemble, kinds=prepared.kinds
        )
        return data.on_device(data.batches(BatchPlan([rows]))[0])

    return read
