"""What code sees that looks at the values of tensors which have none.

In a dry run images, weights and what is made of them have shapes and no values. What is small and does not depend on
them (row numbers, classes, tokens, drawn noise, masks) is computed as it would be: how many words of a report are
hidden decides the size of a layer's output. Where code asks for a value that is not known, it sees one with which all
is well: 0, False, and True where the question was whether all of something holds.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

LARGEST = 2**20
"""Values that are computed at most for one tensor."""

MOST_QUESTIONS = 10_000
"""Unknown values that code may look at in one step; a loop that waits for one to change would never end."""

_WHETHER_ALL = {aten.all.default, aten.all.dim, aten.all.dims, aten._is_all_true.default}
_INDEXING = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor, aten._unsafe_index_put.default,
}  # fmt: skip
# Draws, and their derivatives, that have no kernel for shapes alone; results are as large as the first argument.
_LIKE_FIRST = {
    aten._standard_gamma.default, aten._standard_gamma_grad.default, aten._sample_dirichlet.default,
    aten._dirichlet_grad.default, aten.poisson.default, aten.binomial.default,
}  # fmt: skip


class KnownValues(TorchDispatchMode):
    """Tracks the values of small tensors during an execution on tensors without values (fake, or on meta).

    Values belong to storages: whatever views a storage has, and whatever is written into it, is followed.

    Only one execution at a time is followed; random numbers that are drawn on the way are drawn from PyTorch's generator.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0
        self._failed: tuple[BaseException, Any] | None = None
        self._values: dict[int, tuple[Any, Tensor]] = {}

    # --- what is known --------------------------------------------------------------------------------------------

    def know(self, tensor: Tensor, values: Tensor) -> None:
        """Records the values of a tensor without values."""
        storage, before = tensor.untyped_storage(), self.values(tensor)
        with _disable_current_modes():
            if before is not None:  # of what shares its memory something is known already
                before.copy_(values)
                return
            kept = torch.zeros(storage.nbytes() // tensor.element_size(), dtype=tensor.dtype)
            kept.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(values)
        key = storage._cdata
        self._values[key] = weakref.ref(storage, lambda _: self._values.pop(key, None)), kept

    def forget(self, tensor: Tensor) -> None:
        """Nothing is known of a tensor from now on, nor of what shares its memory."""
        key = _storage_key(tensor)
        if key is not None:
            self._values.pop(key, None)

    def begin_step(self) -> None:
        """Code may look at values again."""
        self._asked = 0

    def values(self, tensor: Tensor) -> Tensor | None:
        """What a tensor holds; None where that is not known."""
        if has_values(tensor):
            return tensor
        key = _storage_key(tensor)
        if key not in self._values:
            return None
        kept = self._values[key][1]
        if kept.dtype != tensor.dtype:
            return None
        with _disable_current_modes():
            return kept.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    # --- operations -----------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            return self._answer(func, args, kwargs)
        except Exception as error:
            if self._failed is None or self._failed[0] is not error:
                self._failed = error, func
            raise

    def operation_of(self, error: BaseException) -> str | None:
        """The operation that an error came from, for instance ``aten.nonzero``; None where it came from other code."""
        while error is not None:
            if self._failed is not None and self._failed[0] is error:
                return str(self._failed[1]).rpartition(".")[0]
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
        return None

    def _answer(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if func is aten._local_scalar_dense.default:
            return self._scalar(args[0])
        if func is aten.equal.default:
            return self._equal(*args)
        if func is aten.masked_select.default:
            given, mask = torch.broadcast_tensors(*args)
            return aten.index.Tensor(given, self._as_numbers([mask]))
        if func in _INDEXING:
            args = (args[0], self._as_numbers(args[1]), *args[2:])
        if func is aten._to_copy.default and _leaves_the_gpu(args[0], kwargs):
            return self._brought_back(args[0], kwargs)
        known_values = {id(tensor): self.values(tensor) for tensor in _tensors((args, kwargs))}
        complete = all(values is not None for values in known_values.values())
        try:
            result = _run(func, args, kwargs)
        except Exception:
            if not (complete and known_values):
                raise
            return self._from_values(func, args, kwargs, known_values)
        self._follow(func, args, kwargs, known_values if complete else None, result)
        return result

    def _follow(
        self, func: Any, args: Any, kwargs: Any, known_values: dict[int, Tensor | None] | None, result: Any
    ) -> None:
        """Notes what is known after an operation."""
        written = _written(func, args, kwargs)
        made = [
            tensor
            for tensor in _tensors(result)
            if not has_values(tensor) and not self._knows_storage(tensor)
        ]
        small = all(tensor.numel() <= LARGEST for tensor in (*made, *written))
        if known_values is not None and small and (made or any(not has_values(tensor) for tensor in written)):
            with _disable_current_modes():
                computed = _with_values(func, args, kwargs, known_values)
            for tensor, values in zip(_tensors(result), _tensors(computed), strict=True):
                if any(tensor is one for one in made):
                    self.know(tensor, values)
        elif known_values is None or not small:
            for tensor in written:
                self.forget(tensor)
            if func in _WHETHER_ALL and small:
                with _disable_current_modes():
                    yes = torch.ones((), dtype=torch.bool)
                for tensor in made:
                    self.know(tensor, yes)

    def _from_values(self, func: Any, args: Any, kwargs: Any, known_values: dict[int, Tensor | None]) -> Any:
        """Results whose shapes depend on values, which are known."""
        device = next(iter(_tensors((args, kwargs)))).device
        with _disable_current_modes():
            computed = _with_values(func, args, kwargs, known_values)
        return tree_map(
            lambda leaf: self._without_values(leaf, device) if isinstance(leaf, Tensor) else leaf, computed
        )

    def _without_values(self, values: Tensor, device: torch.device) -> Tensor:
        made = torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device=device)
        if values.numel() <= LARGEST and not has_values(made):
            self.know(made, values)
        return made

    def _knows_storage(self, tensor: Tensor) -> bool:
        return _storage_key(tensor) in self._values

    # --- questions ------------------------------------------------------------------------------------------------

    def _scalar(self, tensor: Tensor) -> bool | int | float:
        values = self.values(tensor)
        if values is not None:
            with _disable_current_modes():
                return values.item()
        self._asked += 1
        if self._asked > MOST_QUESTIONS:
            raise RuntimeError("it looks at values again and again, which in a dry run never change")
        return False if tensor.dtype == torch.bool else 0.0 if tensor.dtype.is_floating_point else 0

    def _equal(self, first: Tensor, second: Tensor) -> bool:
        one, other = self.values(first), self.values(second)
        if one is None or other is None:
            return first.shape == second.shape
        with _disable_current_modes():
            return torch.equal(one, other)

    def _as_numbers(self, indices: Iterable[Tensor | None]) -> list[Tensor | None]:
        """Indices in which masks whose values are known are the numbers of what they select."""
        parts: list[Tensor | None] = []
        for index in indices:
            values = (
                self.values(index) if index is not None and index.dtype in (torch.bool, torch.uint8) else None
            )
            if index is None or values is None or has_values(index):
                parts.append(index)
                continue
            with _disable_current_modes():
                numbers = values.nonzero(as_tuple=True)
            parts += [self._without_values(number, index.device) for number in numbers]
        return parts

    def _brought_back(self, tensor: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """A GPU's tensor on the CPU: what is known of it, or zeros."""
        values = self.values(tensor)
        dtype = kwargs.get("dtype") or tensor.dtype
        if values is None:
            return torch.zeros(tensor.shape, dtype=dtype)
        with _disable_current_modes():
            return values.to(dtype, copy=True)


def _run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return torch.empty_like(args[0]) if func in _LIKE_FIRST else func(*args, **kwargs)


def _with_values(func: Any, args: Any, kwargs: Any, known_values: dict[int, Tensor | None]) -> Any:
    """The operation on values, on the CPU."""
    args, kwargs = tree_map(
        lambda leaf: known_values[id(leaf)] if isinstance(leaf, Tensor) else leaf, (args, kwargs)
    )
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": False}
    result = func(*args, **kwargs)
    if func.__name__.startswith(("empty", "new_empty")):
        result.zero_()  # whatever is there would be another thing each time
    return result


def _written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    if not func._schema.is_mutable:
        return []
    changed: list[Any] = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            changed.append(args[number] if number < len(args) else kwargs.get(argument.name))
    return list(_tensors(changed))


def _tensors(values: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor is an ordinary one, neither fake nor on meta."""
    return not isinstance(tensor, FakeTensor) and not tensor.is_meta


def _storage_key(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # sparse tensors have none
        return None


def _leaves_the_gpu(tensor: Tensor, kwargs: dict[str, Any]) -> bool:
    device = kwargs.get("device")
    return (
        tensor.is_meta and not isinstance(tensor, FakeTensor) and device is not None and device.type == "cpu"
    )
