"""What a stage's present weights are worth on the validation rows, by all processes together."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from modicum.engine.distributed import gathered, processes, share_buffers, weighted_mean
from modicum.engine.inputs.batches import StageData, in_batches, loader
from modicum.engine.scoring import score
from modicum.methods.base import TrainStage
from modicum.tasks.base import Task


def validate(
    stage: TrainStage,
    data: StageData,
    task: Task,
    *,
    batch_size: int,
    rank: int,
    device: torch.device,
    forward_context: Callable[[], AbstractContextManager[object]],
) -> dict[str, float]:
    """The task's metrics, and ``loss`` where the stage has validation losses; the same in every process.

    Args:
        stage: is in training mode before and after.
        data: whose ``val_rows`` are shared out among the processes.
        task: scores.
        batch_size: images in one forward pass.
        rank: of this process.
        device: where to compute.
        forward_context: for the precision of forward passes.
    """
    rows = data.val_rows[rank :: processes()]
    batches = loader(data.batches(in_batches(rows, batch_size)), 0, pin=False)
    scores = task.scores()
    stage.eval()
    share_buffers(stage)
    losses = score(stage.validate, batches, scores, device, forward_context, on_device=data.on_device)
    stage.train()
    if processes() > 1:
        parts = gathered(scores)
        scores = task.scores()
        scores.merge(parts)
    losses = weighted_mean(losses, len(rows))
    return {**({"loss": sum(losses.values())} if losses else {}), **scores.metrics()}
