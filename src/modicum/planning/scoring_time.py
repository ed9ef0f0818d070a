"""How long scoring a prediction at its image's own size takes: a few are made up, against true masks or targets."""

import time
from contextlib import suppress

import numpy as np

from modicum.data.manifest import Manifest
from modicum.engine.inference.dense_evaluation import read_truth
from modicum.errors import ModicumError
from modicum.tasks import DenseTask, Task

SCORED = 3
"""Images that are timed, from all over the data."""


def scoring_seconds(task: Task, manifest: Manifest) -> float:
    """Seconds of one image; 0 where predictions are no images, whose scores cost nothing beside the network.

    Similarity of structure and distances between surfaces are measured on whole photographs, however small the network's
    input is, and may cost more than the network.
    """
    if not isinstance(task, DenseTask):
        return 0.0
    scores, times = task.scores(), []
    for row in sorted({number * len(manifest) // SCORED for number in range(SCORED)}):
        began = time.perf_counter()
        with suppress(ModicumError):  # what is wrong with the file is told where the data are checked
            truth = read_truth(task, manifest, row)
            height, width = next(iter(truth.values())).shape[-2:]
            # A slope: half of it is above any threshold, with an edge to measure distances from.
            slope = np.linspace(0, 1, width, dtype=np.float32)
            scores.add(row, np.broadcast_to(slope, (task.num_outputs, height, width)).copy(), truth, None)
            times.append(time.perf_counter() - began)
    return float(np.median(times)) if times else 0.0
