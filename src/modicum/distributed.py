"""What the processes of one training exchange. In a single process, each of these functions gives its own value back.

A loss over a batch (contrastive, prototypes, optimal transport) takes ``gather_with_gradient`` of its inputs, so that
two processes with half a batch each learn what one learns from the whole. Each process then computes the whole loss;
data-parallel training averages the gradients, and the backward pass of the gathering sums them over processes, which
together is the gradient of the one loss. A mean over a batch whose divisor differs between processes (known findings,
weights of classes, pixels that count) takes ``mean_over_processes`` of the divisor. What is gathered over batches in
buffers (a queue, running means, counts) takes ``gather_without_gradient``, or the buffers are those of the first
process's images alone: data-parallel training gives all processes its buffers before every step. A draw that decides
what is computed, and so what is exchanged, is ``of_first``.

Where gradients are off (validation), processes may see different numbers of batches: each then counts alone.
"""

from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
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

    All processes must give the same number of rows. Integers and booleans come without gradients. Without gradients
    (``torch.no_grad``), the process's own values.
    """
    if not _shares_batches():
        return values
    if not values.is_floating_point():
        return gather_without_gradient(values)
    return _all_gather(values.contiguous())


def gather_without_gradient(values: Shaped[Tensor, "b *shape"]) -> Shaped[Tensor, "all_b *shape"]:
    """The values of all processes along the first axis, in the order of their ranks, also where gradients are off.

    All processes must call it, with the same number of rows: in training, not in validation, where their numbers of
    batches differ.
    """
    if processes() == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(processes())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def of_first(value: T) -> T:
    """The first process's value, in all of them; they all must call it."""
    if processes() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def mean_over_processes(value: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The mean of a divisor over the processes that share a batch, without gradient; alone, the value itself.

    ``local_sum / mean_over_processes(local_count)``, averaged over processes, is ``sum / count`` of the whole batch.
    """
    if not _shares_batches():
        return value
    total = value.detach().clone().to(torch.promote_types(value.dtype, torch.float32))
    distributed.all_reduce(total)
    return total / processes()


def sum_with_gradient(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum of a tensor over the processes that share a batch, with gradients to each; alone, the value itself."""
    return _all_reduce(value.contiguous()) if _shares_batches() else value


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


def _all_gather(values: Tensor) -> Tensor:
    """With gradients. From PyTorch 2.13 on by what it names in place of the functions that it deprecates."""
    from torch.distributed import _functional_collectives as collectives

    if hasattr(collectives, "all_gather_single"):
        everyone: Any = distributed.group.WORLD
        return collectives.wait_tensor(collectives.all_gather_single(values, 0, everyone))
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values))


def _all_reduce(value: Tensor) -> Tensor:
    """The same for sums."""
    from torch.distributed import _functional_collectives as collectives

    if hasattr(collectives, "all_gather_single"):  # in earlier versions sums have no gradients there
        everyone: Any = distributed.group.WORLD
        return collectives.wait_tensor(collectives.all_reduce(value, "sum", everyone))
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value)


def _shares_batches() -> bool:
    return processes() > 1 and torch.is_grad_enabled()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
