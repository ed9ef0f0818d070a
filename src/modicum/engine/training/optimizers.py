"""Optimisers from settings, and their state as plain tensors."""

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from modicum.engine.recipe.settings import TrainingSettings
from modicum.methods.base import Update


def make_optimizer(update: Update, settings: TrainingSettings) -> Optimizer:
    """The optimiser of one update. A group's ``lr_scale`` multiplies the run's learning rate."""
    groups: list[dict[str, Any]] = [
        dict(group) if isinstance(group, dict) else {"params": [group]} for group in update.parameters
    ]
    if groups and not any(isinstance(group, dict) for group in update.parameters):
        groups = [{"params": list(update.parameters)}]
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        options["betas"] = settings.betas
    else:
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov and settings.momentum > 0}
    # A stage's wishes for one optimiser (betas) mean nothing to another.
    options |= {
        key: value for key, value in update.options.items() if key in {"lr", "weight_decay", *options}
    }
    for group in groups:
        group["peak_lr"] = group.get("lr", options["lr"]) * group.pop("lr_scale", 1.0)
        group["lr"] = group["peak_lr"]
    # Fused AdamW takes a sixth of the time on a CPU, and is quicker on a GPU too.
    return AdamW(groups, **options, fused=True) if settings.optimizer == "adamw" else SGD(groups, **options)


def parameters_of(optimizer: Optimizer) -> Iterator[Tensor]:
    """All parameters of all groups."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def set_learning_rate(optimizer: Optimizer, factor: float) -> float:
    """Sets every group's rate to ``factor`` of its peak; returns that of the last group."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return float(optimizer.param_groups[-1]["lr"])


def clip_gradients(optimizer: Optimizer, norm: float) -> None:
    """Scales the gradients of an optimiser's parameters to a common norm of at most ``norm``.

    Lightning's own clipping refuses fused optimisers in mixed precision; bfloat16 needs no loss scaling, which is
    its reason.
    """
    torch.nn.utils.clip_grad_norm_(list(parameters_of(optimizer)), norm)


def optimizer_tensors(optimizers: list[Optimizer]) -> tuple[dict[str, Tensor], str]:
    """The state of optimisers as named tensors, and the rest of it as JSON."""
    tensors: dict[str, Tensor] = {}
    rest: list[dict[str, Any]] = []
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()["state"]
        plain: dict[str, Any] = {}
        for index, values in state.items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{number}.{index}.{name}"] = value
                else:
                    plain[f"{index}.{name}"] = value
        rest.append(plain)
    return tensors, json.dumps(rest)


def restore_optimizers(optimizers: list[Optimizer], tensors: dict[str, Tensor], rest: str) -> None:
    """The inverse of :func:`optimizer_tensors`, for optimisers freshly made from the same recipe."""
    for number, (optimizer, plain) in enumerate(zip(optimizers, json.loads(rest), strict=True)):
        state: dict[int, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            owner, index, name = key.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[name] = tensor
        for key, value in plain.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        # load_state_dict casts floating state to the parameter's dtype but must leave step counters alone.
        for values in optimizer.state.values():
            if isinstance(values.get("step"), Tensor):
                values["step"] = values["step"].to(torch.float32)
