"""Optimisers from settings, and their state as plain tensors."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from modicum.engine.recipe.settings import TrainingSettings
from modicum.errors import InputError, did_you_mean
from modicum.methods.base import Update
from modicum.wording import listed

OPTIMIZERS: Mapping[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "adam": Adam}

_IMPLEMENTATIONS = {"fused", "foreach", "differentiable"}
"""Options that choose the implementation of a step; giving any of them switches off the default choice."""


def option_names(optimizer: str) -> list[str]:
    """Names of the options of an optimiser of :data:`OPTIMIZERS`, for an update or one of its parameter groups."""
    return [name for name in inspect.signature(OPTIMIZERS[optimizer]).parameters if name != "params"]


def make_optimizer(
    update: Update, settings: TrainingSettings, note: Callable[[str], None] | None = None
) -> Optimizer:
    """Builds the optimiser of one update; its own options override the run's settings.

    A parameter group's ``lr_scale`` multiplies its learning rate.

    Args:
        update: says what is learned, with which options. Those that only another known optimiser has (``betas`` where
            the run's is SGD) are left out.
        settings: the run's.
        note: told what was left out.

    Raises:
        InputError: an option that no known optimiser has, or a value that this one refuses.
    """
    name, where = settings.optimizer, f"update '{update.name}'"
    left_out: dict[str, None] = {}
    options = _with_defaults(_taken(update.options, name, where, left_out), settings)
    groups = [
        _group(group, options, name, f"parameter group {number} of {where}", left_out)
        for number, group in enumerate(_parameter_groups(update))
    ]
    if left_out and note is not None:
        note(f"{where}: {listed(list(left_out))} left out, optimiser {name} has no such option")
    try:
        return OPTIMIZERS[name](groups, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        as_given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise InputError(
            f"{where}: {OPTIMIZERS[name].__name__} refuses its parameters or options ({error})",
            f"change them where the stage names its updates (options: {as_given})",
        ) from error


def _parameter_groups(update: Update) -> list[dict[str, Any]]:
    given = list(update.parameters)
    if any(isinstance(group, dict) for group in given):
        return [dict(group) if isinstance(group, dict) else {"params": [group]} for group in given]
    return [{"params": given}] if given else []


def _with_defaults(options: dict[str, Any], settings: TrainingSettings) -> dict[str, Any]:
    """An update's options, completed by the run's settings."""
    general: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer != "sgd":
        general["betas"] = settings.betas
        if not _IMPLEMENTATIONS & options.keys():
            general["fused"] = True  # a sixth of the time on a CPU, and faster on a GPU too
        return general | options
    general["momentum"] = settings.momentum
    given = general | options
    looks_ahead = settings.nesterov and given["momentum"] > 0 and not given.get("dampening")
    return {"nesterov": looks_ahead, **given}


def _group(
    group: dict[str, Any], options: Mapping[str, Any], optimizer: str, where: str, left_out: dict[str, None]
) -> dict[str, Any]:
    """One parameter group, whose own options override the update's."""
    given = {key: value for key, value in group.items() if key not in {"params", "lr_scale"}}
    group_options = _taken(given, optimizer, where, left_out)
    if options.get("fused") and _IMPLEMENTATIONS & group_options.keys():
        group_options = {"fused": None, **group_options}
    if options.get("nesterov") and group_options.get("dampening"):
        group_options = {"nesterov": False, **group_options}
    peak_lr = group_options.get("lr", options["lr"]) * group.get("lr_scale", 1.0)
    return {"params": group["params"], **group_options, "peak_lr": peak_lr, "lr": peak_lr}


def _taken(
    options: Mapping[str, Any], optimizer: str, where: str, left_out: dict[str, None]
) -> dict[str, Any]:
    """The given options that an optimiser has; those that only another optimiser has are added to ``left_out``."""
    names = option_names(optimizer)
    others = {name for other in OPTIMIZERS for name in option_names(other)}
    for name in options:
        if name not in others:
            raise InputError(
                f"{where}: optimiser {optimizer} has no option '{name}'", did_you_mean(name, names)
            )
        if name not in names:
            left_out[name] = None
    return {name: value for name, value in options.items() if name in names}


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
    """Returns the state of optimisers as named tensors, and the rest of it as JSON."""
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
    """The inverse of :func:`optimizer_tensors`, for new optimisers of the same recipe."""
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
