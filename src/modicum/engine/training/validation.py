"""Evaluates a stage's current weights on the validation rows, across all processes."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from modicum.distributed import gathered, processes, share_buffers, weighted_mean
from modicum.engine.inputs.batches import StageData, loader
from modicum.engine.randomness import seed_globals
from modicum.engine.scoring import CollectedOutputs, DecideFn, score
from modicum.methods.base import TrainStage
from modicum.tasks.base import Scores, Task


def validate(
    stage: TrainStage,
    data: StageData,
    task: Task,
    *,
    batch_size: int,
    rank: int,
    device: torch.device,
    forward_context: Callable[[], AbstractContextManager[object]],
    seed: int = 0,
    decide: DecideFn | None = None,
) -> dict[str, float]:
    """The task's metrics if the stage is scored, and ``loss`` if it has losses; the same in all processes.

    Args:
        stage: the stage; in training mode before and after.
        data: data whose ``val_rows`` are divided among the processes.
        task: the task, which scores outputs.
        batch_size: images in one forward pass.
        rank: rank of this process.
        device: where to compute.
        forward_context: context of forward passes, for their precision.
        seed: the run's seed; random draws in validation are the same in every epoch.
        decide: computes predictions from the outputs of all rows together; None if each output is a prediction.
    """
    rows = data.val_rows[rank :: processes()]
    scores = task.scores() if stage.scored else None
    collected = CollectedOutputs()
    stage.eval()
    share_buffers(stage)
    losses = score(
        stage.validate,
        loader(data.in_order(rows, batch_size), 0, pin=False),
        collected.take if scores is None or decide is not None else scores.update,
        device,
        forward_context,
        on_device=data.on_device,
        before_batch=lambda number: seed_globals("validate", seed, stage.name, rank, number),
    )
    losses = weighted_mean(losses, len(rows))
    values = {"loss": sum(losses.values())} if losses else {}
    if scores is not None:
        values |= _metrics(task, scores, collected, decide)
    else:
        values = {**losses, **values}
    stage.train()
    return values


def _metrics(
    task: Task, scores: Scores, collected: CollectedOutputs, decide: DecideFn | None
) -> dict[str, float]:
    """Metrics over the rows of all processes."""
    if decide is not None:  # the scores are still empty
        if processes() > 1:
            others, collected = gathered(collected), CollectedOutputs()
            collected.merge(others)
        collected.decided(decide, scores)
    elif processes() > 1:
        parts, scores = gathered(scores), task.scores()
        scores.merge(parts)
    return scores.metrics()
