"""Parses ``--set KEY=VALUE``: resolves a key to its setting, and reads the value."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml
from pydantic import BaseModel

from modicum.engine.recipe.settings import (
    OF_RUN,
    RENAMED,
    STAGE_SOURCES,
    Recipe,
    Settings,
    TrainingSettings,
    present_value,
)
from modicum.errors import InputError, did_you_mean

# Names of these settings in other programs, too different from ours to be matched by spelling.
_OTHER_NAMES = {
    "learning_rate": "lr",
    "scheduler": "schedule",
    "early_stopping": "patience",
    "grad_clip": "clip_norm",
    "gradient_clip_val": "clip_norm",
    "gradient_accumulation_steps": "accumulate",
    "num_workers": "workers",
    "transforms": "augment",
}


def overridden(
    values: dict[str, Any],
    method_config: type[BaseModel],
    settings: Mapping[str, Any],
    task_options: type[BaseModel] = Settings,
    stages: Sequence[str] = (),
) -> dict[str, Any]:
    """Applies ``--set key=value`` to a recipe's values.

    A key is a path (``training.lr``) or the last part of one where that is unique (``lr``). What the method's own
    configuration calls so comes first. ``STAGE.lr`` is a stage's own setting; ``STAGE=run:FOLDER`` takes the stage from
    an earlier run. What is set for all stages replaces a default that one of them has.
    """
    paths = _setting_paths(method_config, task_options)
    of_stages: list[tuple[list[str], Any]] = []
    for asked, value in settings.items():
        *before, name = asked.split(".")
        key, value = ".".join([*before, RENAMED.get(name, name)]), present_value(name, value)
        stage_path = _stage_path(key, value, stages)
        if stage_path is not None:
            of_stages.append((stage_path, value))
            continue
        path = _matching_path(key, paths, stages).split(".")
        _put(values, path, value)
        if path[0] == "training":
            for defaults in values.get("stages", {}).values():
                defaults.pop(path[1], None)
    for path, value in of_stages:  # after the settings of all stages, in any order
        _put(values, path, value)
    return values


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def _stage_path(key: str, value: Any, stages: Sequence[str]) -> list[str] | None:
    """The path of a stage's setting in the recipe; None for a setting of another kind.

    Raises:
        InputError: a stage has no such setting.
    """
    stage, _, setting = key.removeprefix("stages.").partition(".")
    if stage not in stages:
        return None
    if not setting:
        return ["stages", stage, "ready"] if isinstance(value, str) and value.startswith(OF_RUN) else None
    names = [*TrainingSettings.model_fields, *STAGE_SOURCES]
    if setting not in names:
        raise InputError(f"stage {stage}: unknown setting '{setting}'", did_you_mean(setting, names))
    if setting in STAGE_SOURCES and value is not None and not str(value).startswith(OF_RUN):
        raise InputError(f"{key} is {value!r}", f"name an earlier run: --set {key}={OF_RUN}runs/NAME")
    return ["stages", stage, setting]


def _matching_path(key: str, paths: Sequence[str], stages: Sequence[str]) -> str:
    """The setting that a key means.

    Raises:
        InputError: none, or several.
    """
    matches = [path for path in paths if path == key] or [
        path for path in paths if path.split(".")[-1] == key
    ]
    matches = [
        path for path in matches if path.startswith("config.")
    ] or matches  # the method's own comes first
    if not matches:
        names = {path.split(".")[-1] for path in paths} | set(stages)
        before, _, word = key.rpartition(".")
        if before and before in {path.split(".")[0] for path in paths}:
            names = {path.split(".")[-1] for path in paths if path.startswith(f"{before}.")}
        elif before:  # not a part of a recipe, so a stage was meant
            word, names = before, set(stages) or names
        other = difflib.get_close_matches(word, _OTHER_NAMES, n=1, cutoff=0.8)
        word = _OTHER_NAMES[other[0]] if other else word
        raise InputError(f"unknown setting '{key}'", did_you_mean(word, names))
    if len(matches) > 1:
        raise InputError(f"setting '{key}' is ambiguous", f"use one of {', '.join(matches)}")
    return matches[0]


def setting_path(
    key: str, method_config: type[BaseModel], task_options: type[BaseModel], stages: Sequence[str] = ()
) -> list[str]:
    """Where the setting that a key means stands in a recipe: ``lr`` is ``["training", "lr"]``. Arguments as
    :func:`overridden`'s.

    Raises:
        InputError: it means none, or several.
    """
    of_stage = _stage_path(key, None, stages)
    return of_stage or _matching_path(key, _setting_paths(method_config, task_options), stages).split(".")


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["lr=1e-3", "classes=[0,1]"]`` to a mapping; values are read as YAML."""
    settings = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {assignment!r} is not KEY=VALUE", "write for instance --set lr=1e-3")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {assignment!r}: the value is not valid YAML", "quote it") from error
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            with suppress(ValueError):
                value = float(value)
        settings[key.strip()] = value
    return settings


def _setting_paths(method_config: type[BaseModel], task_options: type[BaseModel]) -> list[str]:
    paths = []
    for name, field in Recipe.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            paths += [f"{name}.{inner}" for inner in part.model_fields]
        elif name == "config":
            paths += [f"config.{inner}" for inner in method_config.model_fields]
        elif name == "options":
            paths += [f"options.{inner}" for inner in task_options.model_fields]
        else:
            paths.append(name)
    return paths
