"""Frozen modules that stay frozen, and the learned tensors that a run saves."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


class Frozen(nn.Module):
    """Wraps a module that is never trained: no gradients, and always in evaluation mode.

    Calling ``train()`` on a parent would otherwise switch a frozen encoder's batch norms to batch statistics and
    let their running statistics drift (a defect of published releases). Its tensors are not part of what a run
    saves; see :func:`learned_tensors`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.module.eval()
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def learned_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that a run has to save: learnable parameters and persistent buffers.

    Everything inside a :class:`Frozen` is left out, as are parameters without gradients and buffers that are not
    persistent; a tensor with several names comes under its first. Returns references, not copies.
    """
    kept = module.state_dict(keep_vars=True)
    frozen = tuple(
        f"{name}." if name else "" for name, part in module.named_modules() if isinstance(part, Frozen)
    )
    return deduplicated(
        {
            name: tensor
            for name, tensor in kept.items()
            if not name.startswith(frozen) and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
        }
    )


def deduplicated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named tensors without repetitions: a tensor with several names is kept under its first."""
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        first.setdefault(id(tensor), name)
    return {name: tensors[name] for name in first.values()}


def learnable_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that receive gradients."""
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """``(total, learnable)`` numbers of parameters; shared ones count once."""
    total = sum(parameter.numel() for parameter in module.parameters())
    return total, sum(parameter.numel() for parameter in learnable_parameters(module))
