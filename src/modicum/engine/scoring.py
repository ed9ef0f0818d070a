"""One pass of a network over one split, without gradients."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from modicum.engine.inputs.batches import as_network_input
from modicum.tasks.base import Batch, Scores

Judge = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
"""From a batch to outputs and named losses."""


@torch.no_grad()
def score(
    judge: Judge,
    batches: Iterable[Batch],
    scores: Scores,
    device: torch.device,
    forward_context: Callable[[], AbstractContextManager[object]],
    advance: Callable[[], None] = lambda: None,
    on_device: Callable[[Batch], Batch] = as_network_input,
) -> dict[str, float]:
    """Feeds every batch through ``judge`` into ``scores``; returns the mean of each named loss.

    The network must be in evaluation mode. ``on_device`` makes a network's input of a loaded batch.
    """
    sums: dict[str, Tensor] = {}
    images = 0
    for stored in batches:
        batch = on_device({name: tensor.to(device, non_blocking=True) for name, tensor in stored.items()})
        with forward_context():
            outputs, losses = judge(batch)
        scores.update(outputs.float(), batch)
        count = len(batch["position"])
        images += count
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.float() * count
        advance()
    return {name: float(value) / max(1, images) for name, value in sums.items()}
