"""Checks of how a method is trained."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from modicum.methods.base import FitStage, TrainStage, Update
from modicum.methods.checks.outcome import Broken, NotApplicable
from modicum.methods.checks.trial import Trial

if TYPE_CHECKING:
    from modicum.run import Run


def check_trains(trial: Trial) -> None:
    """A small training runs to its end."""
    trial.first  # noqa: B018 - done here


def check_rows(trial: Trial) -> None:
    """Every stage that learns is shown rows, none from which it does not learn, and these follow from the targets."""
    _, seen = trial.first
    for stage in seen.method.stages():
        if isinstance(stage, TrainStage | FitStage) and not seen.batches[stage.name]:
            raise Broken(
                f"stage '{stage.name}' was shown no batch", "give data=... with rows that it learns from"
            )
    train = set(np.flatnonzero(trial.rows()["split"].to_numpy() == "train").tolist())
    for name, masks in seen.masks.items():
        first, *others = masks
        if first is None and all(other is None for other in others):
            mask = train
        elif not isinstance(first, np.ndarray) or first.dtype != bool:
            raise Broken(
                f"learns_from of stage '{name}' gave {type(first).__name__}", "return a numpy array of bool"
            )
        elif not all(isinstance(other, np.ndarray) and np.array_equal(first, other) for other in others):
            raise Broken(
                f"learns_from of stage '{name}' gave other rows when it was asked again",
                "let it depend on nothing but the targets that it is given",
            )
        else:
            mask = train & set(np.flatnonzero(first).tolist())
        if outside := seen.rows[name] - mask:
            raise Broken(
                f"stage '{name}' was shown {len(outside)} rows of which it may not learn (row {min(outside)}, say)",
                "read rows through the batches that the stage is given",
            )


def check_optimizers(trial: Trial) -> None:
    """All options of an update and of its parameter groups take effect in its optimiser."""
    _, seen = trial.first
    asked = 0
    for stage in seen.method.stages():
        if not isinstance(stage, TrainStage):
            continue
        for update in stage.updates():
            made = _groups_of(update, seen.groups[stage.name])
            if made is None:
                raise Broken(
                    f"the optimiser of update '{update.name}' of stage '{stage.name}' made no step",
                    "name parameters that the update's losses depend on",
                )
            for number, (wanted, group) in enumerate(zip(_wanted(update), made, strict=True)):
                asked += len(wanted)
                for key, value in wanted.items():
                    if key in group and not _same(group[key], value):
                        raise Broken(
                            f"update '{update.name}' asks for {key}={value!r} in group {number}, and the optimiser has "
                            f"{group[key]!r}",
                            f"name an option that the optimiser takes under {key}",
                        )
    if not asked:
        raise NotApplicable("no update has options of its own")


def _groups_of(update: Update, optimizers: list[list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    """The groups of the optimiser that has the update's parameters."""
    own_ids = {id(parameter) for group in update.parameters for parameter in _parameters(group)}
    for groups in optimizers:
        if {id(parameter) for group in groups for parameter in group["params"]} == own_ids:
            return groups
    return None


def _parameters(group: Any) -> list[Tensor]:
    if not isinstance(group, dict):
        return [group]
    parameters = group["params"]
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _wanted(update: Update) -> list[dict[str, Any]]:
    """Of each parameter group, the options that it or the update names; of the learning rate, in the first epoch."""
    groups = [group for group in update.parameters if isinstance(group, dict)] or [{}]
    if groups != [{}] and len(groups) < len(update.parameters):  # single parameters have a group each
        groups = [group if isinstance(group, dict) else {} for group in update.parameters]
    wanted = []
    for group in groups:
        options = {**update.options, **{k: v for k, v in group.items() if k not in ("params", "lr_scale")}}
        if "lr" in options:
            options["lr"] = options["lr"] * group.get("lr_scale", 1.0) * update.lr_factor(0)
        wanted.append(options)
    return wanted


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return bool(np.isclose(float(first), float(second), rtol=1e-6, atol=0))
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def check_resumes(trial: Trial) -> None:
    """The same seed gives the same weights, bit for bit, also where the training is killed in each stage and resumed."""
    run, _ = trial.first
    resumed, stops = trial.resumed
    if (different := _difference(run, resumed)) is None:
        if not stops:
            raise NotApplicable("no stage has two batches to be stopped in; give data=... with more rows")
        return
    if (drawn := _difference(run, trial.again)) is not None:
        raise Broken(
            f"two trainings with the same seed have another {drawn}",
            "draw from PyTorch's global generators, which are seeded for every step, or from generators seeded by them",
        )
    where = ", ".join(f"batch {place} of stage '{stage}'" for stage, place in stops.items())
    raise Broken(
        f"killed in {where or 'no stage'} and resumed, it has another {different} than when it runs through",
        "keep all that changes in training in parameters or buffers: attributes are lost with the process",
    )


def _difference(first: "Run", second: "Run") -> str | None:
    """What two runs do not have alike, of their weights and the losses on the way; None where they have all."""
    ours, theirs = (_weights(run.path) for run in (first, second))
    if odd := sorted(set(ours) ^ set(theirs)):
        return f"tensor '{odd[0]}'"
    for name, value in ours.items():
        if not _equal(value, theirs[name]):
            return f"tensor '{name}'"
    for one, two in zip(*(_history(run.path) for run in (first, second)), strict=False):
        if one != two:
            return f"loss or score at step {one['step']} of stage '{one['stage']}'"
    return None


def _history(path: Path) -> list[dict[str, Any]]:
    """What was recorded of steps and epochs, without the time that they took."""
    file = path / "history.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [{**json.loads(line), "seconds": None} for line in lines]


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(
        ((first == second) | ((first != first) & (second != second))).all()
    )


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path / "weights.safetensors")
