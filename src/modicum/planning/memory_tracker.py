"""Measures the peak memory of PyTorch code, from the creation and release of every storage.

Nothing need be allocated for it: fake tensors (:mod:`torch._subclasses.fake_tensor`) are born and die like real ones.

>>> with FakeTensorMode(), MemoryTracker() as memory:
...     total = (torch.ones(1000) + 1).sum()
>>> memory.peak().bytes
8000
"""

import itertools
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OTHER = "activations"
"""Whatever nobody has named: what autograd keeps, and what passes."""


@dataclass(frozen=True)
class Peak:
    """The moment of the largest memory use.

    Attributes:
        bytes: of all that was alive then.
        parts: of these, the bytes of everything of one name.
    """

    bytes: int
    parts: dict[str, int] = field(default_factory=dict)


class MemoryTracker(TorchDispatchMode):
    """Tracks every storage that an operation creates inside the block until it is released.

    The gradients and temporaries of a backward pass are among them. What an operation needs inside (workspaces) is
    not seen.

    Args:
        block: bytes to whose multiples sizes are rounded up; 512 is what PyTorch's CUDA allocator hands out.
    """

    def __init__(self, block: int = 1) -> None:
        super().__init__()
        self.block = block
        self._numbers = itertools.count()
        self._alive: dict[int, tuple[int, int, Any]] = {}
        self._events: list[tuple[int, int]] = []  # number of a storage, and the bytes that came or went
        self._names: dict[int, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._number(leaf)
        return result

    def name(self, tensors: Iterable[Tensor], name: str) -> None:
        """Names tensors; those created outside the block count from now on."""
        for tensor in tensors:
            number = self._number(tensor)
            if number is not None:
                self._names[number] = name

    def moment(self) -> int:
        """The current moment, as an index in the order of events."""
        return len(self._events)

    def peak(self, since: int = 0) -> Peak:
        """The moment of the largest sum of live sizes at or after a :meth:`moment`."""
        if not self._events:
            return Peak(0)
        numbers, changes = np.array(self._events, dtype=np.int64).T
        sums = np.cumsum(changes)
        first = max(0, since - 1)  # what was alive then is a candidate too
        top = first + int(np.argmax(sums[first:]))
        left = np.bincount(numbers[: top + 1], weights=changes[: top + 1]).astype(np.int64)
        parts: dict[str, int] = {}
        for number in np.flatnonzero(left).tolist():
            name = self._names.get(number, OTHER)
            parts[name] = parts.get(name, 0) + int(left[number])
        return Peak(int(sums[top]), parts)

    def _number(self, tensor: Tensor) -> int | None:
        """The number of a tensor's storage, which is tracked from now on if it is new."""
        try:
            storage = tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):  # sparse tensors have none
            return None
        key = storage._cdata
        size = -(-storage.nbytes() // self.block) * self.block
        if key in self._alive:
            number, before, watch = self._alive[key]
            if size != before:  # resized in place
                self._events.append((number, size - before))
                self._alive[key] = number, size, watch
            return number
        number = next(self._numbers)
        self._events.append((number, size))
        self._alive[key] = number, size, weakref.ref(storage, lambda _: self._died(key))
        return number

    def _died(self, key: int) -> None:
        number, size, _ = self._alive.pop(key)
        self._events.append((number, -size))
