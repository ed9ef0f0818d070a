"""The arguments of a comparison: sorted by method, checked, as plain values."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from modicum.comparison.protocols import PROTOCOLS
from modicum.comparison.sweeps import VARY, Sweeps
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError, did_you_mean
from modicum.methods import method_class, method_entries

_SHORT = {"image_size": "image.size", "backbone": "backbone.name"}
_RESERVED = {
    "seed": "pass --seeds N for the seeds 0 to N-1, and --set split_seed=S for another split",
    "devices": "a cell trains on one device; pass --parallel N to use several",
    "nodes": "a cell trains on one machine; pass --executor ray to use several",
    "held_out": "pass --protocol leave-one-domain-out to hold out every domain in turn",
}


def check_vary(vary: str, swept: Sweeps, lrs: Sequence[float], protocol: str) -> None:
    """Raises InputError where settings cannot be varied so."""
    if vary not in VARY:
        raise InputError(f"--vary is '{vary}'", did_you_mean(vary, VARY))
    if vary == "every":
        return
    if not swept:
        raise InputError(f"--vary {vary} without anything to vary", "pass --sweep KEY=V1,V2 for each setting")
    if vary == "stack" and (len(lrs) > 1 or protocol != PROTOCOLS[0]):
        raise InputError(
            "--vary stack with several learning rates or a protocol: what wins would be chosen twice",
            "pass one --lr, or --sweep lr=V1,V2, on the data's own split",
        )


def check_sweeps(
    swept: Sweeps,
    shared: Mapping[str, Any],
    method_settings: Mapping[str, Mapping[str, Any]],
    lrs: Sequence[float],
    methods: Sequence[str],
) -> None:
    """Checks that swept settings are not also set.

    Raises:
        InputError: one is also set, or is controlled by the comparison itself.
    """
    for key in swept:
        check_head(key, methods)
        last = last_part(key)
        if remedy := _RESERVED.get(last):
            raise InputError(f"'{last}' cannot be swept in a comparison", remedy)
        if any(
            same_setting(key, setting) for part in (shared, *method_settings.values()) for setting in part
        ):
            raise InputError(
                f"'{last}' is both swept and set", f"pass either --sweep {key}=V1,V2 or --set {key}=VALUE"
            )
        if same_setting(key, "lr") and lrs:
            raise InputError("the learning rate is given twice", "pass either --lr or --sweep lr=V1,V2")


def by_method(
    settings: Mapping[str, Any], methods: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Separates settings of all methods from those of one method each."""
    shared: dict[str, Any] = {}
    by_method: dict[str, dict[str, Any]] = {}
    method_names = set(method_entries())
    for key, value in settings.items():
        head, dot, rest = key.partition(".")
        if not dot or head not in method_names:
            check_head(key, methods)
            shared[key] = value
        elif head in methods:
            by_method.setdefault(head, {})[rest] = value
        else:
            raise InputError(
                f"setting '{key}' is for method '{head}', which is not compared",
                f"add it to --methods (now {', '.join(methods)})",
            )
    for part in (shared, *by_method.values()):
        for key in part:
            if remedy := _RESERVED.get(last_part(key)):
                raise InputError(f"'{last_part(key)}' cannot be set in a comparison", remedy)
    return shared, by_method


def check_head(key: str, methods: Sequence[str]) -> None:
    """Checks that ``HEAD.key`` begins with a part of a recipe, a stage or a method.

    Raises:
        InputError: it does not: ``liner.lr`` would be taken for the ``lr`` of all methods.
    """
    head, dot, _ = key.partition(".")
    stages = {stage for name in methods for stage in method_class(name).stage_training}
    setting_names = {*Recipe.model_fields, *stages, *method_entries()}
    if dot and head not in setting_names:
        raise InputError(
            f"unknown setting '{key}': '{head}' is no method, stage or part of a recipe",
            did_you_mean(head, [*methods, *stages, *Recipe.model_fields]),
        )


def learning_rates(
    lrs: Sequence[float], shared: dict[str, Any], method_settings: Mapping[str, Mapping[str, Any]]
) -> tuple[float, ...]:
    """The rates to try, from ``lrs`` or the setting ``lr`` (which is removed from ``shared``).

    The rate of one stage (``STAGE.lr``) is a setting like any other.
    """
    for key in [key for key in shared if last_part(key) == "lr" and stage_of(key) is None]:
        value = shared.pop(key)
        if lrs:
            raise InputError("the learning rate is given twice", "pass either --lr or --set lr=VALUE")
        lrs = value if isinstance(value, list) else [value]
    for method, settings in method_settings.items():
        if lrs and any(last_part(key) == "lr" and stage_of(key) is None for key in settings):
            raise InputError(
                f"the learning rate of '{method}' is given twice",
                f"pass either --lr or --set {method}.lr=VALUE",
            )
    try:
        rates = tuple(float(rate) for rate in lrs)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--lr {lrs!r} is not a list of numbers", "pass for instance --lr 1e-4,1e-3"
        ) from error
    if any(rate <= 0 for rate in rates) or len(set(rates)) < len(rates):
        raise InputError(
            f"--lr {','.join(f'{rate:g}' for rate in rates)} is not a list of different numbers above 0",
            "pass for instance --lr 1e-4,1e-3",
        )
    return rates


def resolved_when_it_starts(key: str, value: Any) -> bool:
    """Whether a setting is resolved only when a run starts, from the available memory."""
    return key == "memory" or (last_part(key) == "batch_size" and value == "auto")


def last_part(key: str) -> str:
    return _SHORT.get(key, key).rpartition(".")[2]


def stage_of(key: str) -> str | None:
    """The stage that a key ``STAGE.key`` is for, None for all stages. A key of one method stands without its name."""
    head, dot, _ = key.partition(".")
    return head if dot and head not in Recipe.model_fields else None


def same_setting(key: str, other: str) -> bool:
    """Whether two keys set the same of some stage; those of two different stages do not."""
    stages = {stage_of(key), stage_of(other)} - {None}
    return last_part(key) == last_part(other) and len(stages) < 2


def overrides(key: str, other: str) -> bool:
    """Whether a value of ``key`` takes the place of all that ``other`` sets."""
    return last_part(key) == last_part(other) and stage_of(key) in (None, stage_of(other))


def plain_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain values for YAML and other processes, without those that are None."""
    set_values = {key: value for key, value in settings.items() if value is not None}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(set_values, default=os.fspath))
    except TypeError as error:
        raise InputError(
            f"a setting is not a plain value: {error}", "pass numbers, strings and lists"
        ) from error
    return plain
