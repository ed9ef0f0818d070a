"""What the processes of one training tell each other. Alone, each of these functions is a matter of course."""

from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


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
