"""Whether a checkpoint holds what training needs to go on from it."""

import json

from modicum.engine.checkpoint import Checkpoint
from modicum.engine.training.stage_module import TrainingProgress


def check_state(checkpoint: Checkpoint) -> None:
    """Raises KeyError, TypeError or ValueError for a checkpoint that training cannot go on from."""
    state, progress = checkpoint.state, TrainingProgress.from_dict(checkpoint.state)
    counts = (progress.epoch, progress.batch, progress.step, progress.loss_count)
    if any(type(count) is not int or count < 0 for count in counts) or progress.step != checkpoint.step:
        raise ValueError("counts of steps that cannot be")
    if not isinstance(progress.loss_sums, dict) or not isinstance(progress.best, dict | None):
        raise TypeError("progress of another kind")
    if type(progress.finished) is not bool or not isinstance(checkpoint.tensors["learned"], dict):
        raise TypeError("progress of another kind")
    float(state["images"]), float(state["waiting"]), float(state["working"])
    if not isinstance(state["memory"], dict | None):
        raise TypeError("memory of another kind")
    if not progress.finished:
        json.loads(state["optimizer"])
