"""Meters of a run: parameters, memory, images per second, and the share of time spent waiting for data."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modicum.engine.run_folder import memory_kind


@dataclass
class SavedTensors:
    """Bytes that autograd keeps between forward and backward pass."""

    bytes: int = 0
    _seen: set[int] = field(default_factory=set)
    _kept: list[Tensor] = field(default_factory=list)


@contextmanager
def saved_tensors(excluded: Iterable[Tensor]) -> Iterator[SavedTensors]:
    """Counts the bytes that autograd saves for the backward pass inside the block.

    Storages count once, even if several views of them are saved. ``excluded`` (parameters and buffers) do not count:
    they are counted as weights. The result does not depend on timing, allocator or threads.
    """
    account = SavedTensors()
    excluded_storages = {_storage(tensor) for tensor in excluded}

    def pack(tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key is not None and key not in excluded_storages and key not in account._seen:
            account._seen.add(key)
            account.bytes += tensor.untyped_storage().nbytes()
            # A storage freed inside the block could give its address to another one.
            account._kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield account
    account._kept.clear()


def _storage(tensor: Tensor) -> int | None:
    """Identifies a storage among all that are alive, including those of fake tensors, which have no address."""
    try:
        storage = tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):  # tensors without storage: sparse, functional wrappers
        return None
    return storage._cdata if storage.nbytes() else None


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors; shared storages count once."""
    sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(sizes.values())


def memory_account(
    network: nn.Module,
    optimizers: Iterable[Optimizer],
    activations: int,
    average: Mapping[str, Tensor] | None,
) -> dict[str, Any]:
    """Peak training memory from its parts, in bytes: the size of the tensors, without an allocator's rounding.

    The peak is at the end of the forward pass: weights, gradients kept from the step's beginning (they exist
    during the backward pass), optimiser state, and saved activations.
    """
    weights = tensor_bytes([*network.parameters(), *network.buffers()])
    gradients = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    states = [
        value for optimizer in optimizers for state in optimizer.state.values() for value in state.values()
    ]
    optimizer_bytes = tensor_bytes([value for value in states if isinstance(value, Tensor)])
    optimizer_bytes += tensor_bytes(average.values()) if average else 0
    return {
        "device": "cpu",
        "kind": "estimated",
        "peak_bytes": weights + gradients + optimizer_bytes + activations,
        "weights_bytes": weights,
        "gradients_bytes": gradients,
        "optimizer_bytes": optimizer_bytes,
        "activations_bytes": activations,
    }


def measured_by_allocator(account: Mapping[str, Any], peak: int) -> dict[str, Any]:
    """The account with the peak that a GPU's allocator measured, in this or an earlier process of the run."""
    if memory_kind(account) == "measured":  # the run was resumed, and the allocator's count restarted
        return {**account, "peak_bytes": max(account["peak_bytes"], peak)}
    measured = {"device": "cuda", "kind": "measured", "peak_bytes": peak}
    return {**account, **measured, "estimated_bytes": account["peak_bytes"]}


class Stopwatch:
    """Splits the time of a training loop into waiting for data and working."""

    def __init__(self) -> None:
        self.waiting = 0.0
        self.working = 0.0
        self.images = 0
        self._mark: float | None = None

    def begin_wait(self) -> None:
        """The loop begins to wait for a batch."""
        self._mark = time.perf_counter()

    def begin_work(self) -> None:
        """A batch has arrived."""
        now = time.perf_counter()
        if self._mark is not None:
            self.waiting += now - self._mark
        self._mark = now

    def end_work(self, images: int) -> None:
        """A batch of ``images`` images is done; the next wait begins."""
        now = time.perf_counter()
        if self._mark is not None:
            self.working += now - self._mark
        self.images += images
        self._mark = now

    def pause(self) -> None:
        """Stops the clock for what is neither waiting nor training (validation, checkpoints)."""
        self._mark = None

    def summary(self) -> dict[str, float]:
        """Training seconds, images a second, and the share of waiting."""
        total = self.waiting + self.working
        return {
            "train_seconds": total,
            "images_per_second": self.images / total if total else 0.0,
            "data_wait_share": self.waiting / total if total else 0.0,
        }
