"""What the processes of one training exchange. In a single process, each of these functions gives its own value back.

A loss over a batch (contrastive, prototypes, optimal transport) takes ``gather_with_gradient`` of its inputs, so that
two processes with half a batch each learn what one learns from the whole. Each process then computes the whole loss;
data-parallel training averages the gradients, and the backward pass of the gathering sums them over processes, which
together is the gradient of the one loss.
"""

from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed, nn

T = TypeVar("T")


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def process_number() -> int:
    """The rank of this process among those that train together; 0 alone."""
    return distributed.get_rank() if _together() else 0


def gather_with_gradient(values: Shaped[Tensor, "b *shape"]) -> Shaped[Tensor, "all_b *shape"]:
    """The values of all processes along the first axis, in the order of their ranks, with gradients to each.

    All processes must give the same number of rows. Integers and booleans come without gradients.
    """
    if processes() == 1:
        return values
    if not values.is_floating_point():
        parts = [torch.empty_like(values) for _ in range(processes())]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values.contiguous()))


def own_part(values: Shaped[Tensor, "all_b *shape"], count: int) -> Shaped[Tensor, "b *shape"]:
    """Of gathered values, those of this process, which gave ``count`` of them."""
    start = process_number() * count
    return values[start : start + count]


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks."""
    values: list[T] = [value] * processes()
    if len(values) > 1:
        distributed.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Returns when every process has come here."""
    gathered(None)


def weighted_mean(values: dict[str, float], weight: float) -> dict[str, float]:
    """The mean of each value over all processes, each with its weight."""
    parts = gathered((values, weight))
    total = sum(weight for _, weight in parts)
    return {
        name: sum(part[name] * share for part, share in parts if share) / total
        for name in next((part for part, share in parts if share), values)
        if total
    }


def share_buffers(network: nn.Module) -> None:
    """Gives all processes the first one's buffers: each has seen other batches, and only the first's are saved."""
    if processes() > 1:
        with torch.no_grad():
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
