"""The resolved request of a comparison, its checks, and ``compare.yaml``."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from modicum.atomic_files import write_text
from modicum.comparison.protocols import PROTOCOLS, check_protocol
from modicum.comparison.sweeps import Sweeps, Variant, named_sweeps, variants_of
from modicum.engine.recipe.new_recipe import make_recipe, usual_task
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError, did_you_mean
from modicum.methods import method_class, method_entries
from modicum.tasks import DenseTask, task_class

SCHEMA = 1
EPOCHS, BATCH_SIZE, SPLIT_SEED, IMAGE_SIZE = 20, 16, 0, 224
"""The default budget: the same for all methods, whatever their own defaults are.

For methods that predict images, defaults shared by all of them take precedence: image-to-image networks train with
other sizes and batches than classifiers.
"""
_SHORT = {"image_size": "image.size", "backbone": "backbone.name"}
# Settings that may change between two calls for the same comparison: where it runs, and how much of it.
_FREE = ("methods", "seeds", "settings.device", "settings.workers")
_RESERVED = {
    "seed": "pass --seeds N for the seeds 0 to N-1, and --set split_seed=S for another split",
    "devices": "a cell trains on one device; pass --parallel N to use several",
    "nodes": "a cell trains on one machine; pass --executor ray to use several",
    "held_out": "pass --protocol leave-one-domain-out to hold out every domain in turn",
}


@dataclass(frozen=True)
class Request:
    """A comparison with all settings resolved.

    Attributes:
        data: what :func:`modicum.load` reads.
        methods: names, in the order of the table.
        seeds: number of seeds; they are 0, 1, ...
        lrs: peak learning rates; empty for each method's own. With several, the first seed chooses.
        settings: of all methods, by their names in a recipe.
        method_settings: settings of one method each; they override ``settings``.
        sweeps: settings of which every value has a separate row; they override both.
        protocol: one of :data:`~modicum.comparison.protocols.PROTOCOLS`.
        folds: domains that are held out in turn; known once the data have been read.
    """

    data: str
    methods: tuple[str, ...]
    seeds: int
    lrs: tuple[float, ...]
    settings: dict[str, Any]
    method_settings: dict[str, dict[str, Any]]
    sweeps: Sweeps = field(default_factory=dict)
    protocol: str = PROTOCOLS[0]
    folds: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        data: str | Path,
        methods: Sequence[str],
        seeds: int,
        lrs: Sequence[float],
        settings: Mapping[str, Any],
        sweep: Mapping[str, Any] | None = None,
        protocol: str = PROTOCOLS[0],
    ) -> "Request":
        """Resolves the user's arguments. A key ``METHOD.key`` among settings and sweeps is for that method only.

        Raises:
            InputError: unknown methods or settings, nothing to compare, or what would make it unfair.
        """
        check_protocol(protocol)
        if not methods:
            raise InputError(
                "no methods to compare", "pass --methods NAME,NAME; `modicum methods` lists them"
            )
        for name in methods:
            method_class(name)
        twice = [name for name in dict.fromkeys(methods) if methods.count(name) > 1]
        if twice:
            raise InputError(f"method '{twice[0]}' is named twice", "name each method once")
        if seeds < 1:
            raise InputError(f"--seeds {seeds} is less than 1", "pass for instance --seeds 3")
        shared, method_settings = _by_method(_plain(settings), methods)
        lrs = _learning_rates(lrs, shared, method_settings)
        swept = named_sweeps(_plain(sweep or {}))
        _check_sweeps(swept, shared, method_settings, lrs, methods)
        explicit = {_last(key) for key in (*shared, *swept)}
        budget = _budget(methods, shared.get("task"))
        if explicit & {"image_size", "size"}:
            del budget["image_size"]
        shared |= {key: value for key, value in budget.items() if key not in explicit}
        request = cls(str(data), tuple(methods), seeds, lrs, shared, method_settings, swept, protocol)
        request._check_fair()
        return request

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """The rows of the table by name: each method with every combination of the swept settings."""
        return {variant.name: variant for variant in variants_of(self.methods, self.sweeps)}

    def settings_of(self, name: str, seed: int, lr: float | None, fold: str | None = None) -> dict[str, Any]:
        """All settings of one cell of a row, as :func:`modicum.fit` takes them."""
        variant = self.variants[name]
        row_settings = {**self.method_settings.get(variant.method, {}), **variant.settings}
        named = {_last(key) for key in row_settings}
        shared = {key: value for key, value in self.settings.items() if _last(key) not in named}
        rate = {} if lr is None else {"lr": lr}
        held_out = {} if fold is None else {"held_out": fold}
        return {**shared, **row_settings, **rate, **held_out, "seed": seed}

    def recipe_of(self, name: str, seed: int = 0, lr: float | None = None, fold: str | None = None) -> Recipe:
        """The recipe of one cell of a row.

        Settings that are resolved only when it starts (``memory``, ``batch_size="auto"``) are left out.

        Raises:
            InputError: a setting that this method does not have, or a value out of range.
        """
        method = self.variants[name].method
        cell_settings = self.settings_of(name, seed, lr, fold)
        settings = {key: value for key, value in cell_settings.items() if not _when_it_starts(key, value)}
        try:
            return make_recipe(self.data, method, settings)
        except InputError as error:
            if len(self.methods) == 1 or not error.problem.startswith("unknown setting"):
                raise
            raise InputError(
                f"{error.problem} for method {method}",
                f"{error.remedy}; for a setting of one method only, pass --set METHOD.KEY=VALUE",
            ) from error

    @property
    def fitted(self) -> bool:
        """Whether batch sizes are fitted to memory, so that they may differ between methods."""
        every = [self.settings, *self.method_settings.values(), *(v.settings for v in self.variants.values())]
        return any(_when_it_starts(key, value) for part in every for key, value in part.items())

    def _check_fair(self) -> None:
        first, *rest = [(name, self.recipe_of(name)) for name in self.variants]
        for name, recipe in rest:
            for key, first_value, value in (
                ("data", first[1].data, recipe.data),
                ("monitor", first[1].training.monitor, recipe.training.monitor),
                ("task", first[1].task, recipe.task),
                ("resamples", first[1].resamples, recipe.resamples),
            ):
                if first_value != value:
                    raise InputError(
                        f"methods {first[0]} and {name} differ in '{key}': their scores would not be comparable",
                        f"set '{key}' once for all methods, as --set KEY=VALUE without METHOD. in front",
                    )

    def save(self, path: Path) -> None:
        """Writes ``compare.yaml``."""
        write_text(path, yaml.safe_dump(self._values(), sort_keys=False, allow_unicode=True))

    def check_unchanged(self, path: Path) -> None:
        """Raises if a comparison is resumed with other settings, whose runs would not be comparable.

        Methods, seeds and swept values may be added or left out: cells are independent.

        Raises:
            InputError: ``compare.yaml`` names another data set or setting, or cannot be read.
        """
        if not path.is_file():
            return
        try:
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
            common = set(stored["methods"]) & set(self.methods)
            before, now = _flat(stored, common), _flat(self._values(), common)
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"'{path}' cannot be read ({type(error).__name__})", "choose another --name"
            ) from error
        for key in sorted(set(before) | set(now)):
            if key not in _FREE and before.get(key) != now.get(key):
                name = key.removeprefix("settings.").removeprefix("method_settings.")
                raise InputError(
                    f"comparison '{path.parent.name}' was started with {name}={before.get(key)!r}, "
                    f"now it is {now.get(key)!r}",
                    "resume with the same settings, or choose another --name",
                )

    def _values(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "data": self.data,
            "methods": list(self.methods),
            "seeds": self.seeds,
            "lr": list(self.lrs),
            "settings": self.settings,
            "method_settings": self.method_settings,
            **({"sweep": self.sweeps} if self.sweeps else {}),
            **({"protocol": self.protocol, "domains": list(self.folds)} if self.folds else {}),
        }


def _budget(methods: Sequence[str], task: str | None) -> dict[str, Any]:
    """Default image size, epochs, batch size and split seed for all methods."""
    budget: dict[str, Any] = {
        "image_size": IMAGE_SIZE,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "split_seed": SPLIT_SEED,
    }
    classes = [method_class(name) for name in methods]
    if not issubclass(task_class(task or usual_task(classes[0].tasks)), DenseTask):
        return budget
    defaults = [{"image_size": method.image.get("size"), **method.training} for method in classes]
    for key in ("image_size", "epochs", "batch_size"):
        values = [list(one[key]) if isinstance(one.get(key), tuple) else one.get(key) for one in defaults]
        if values[0] is not None and all(value == values[0] for value in values):
            budget[key] = values[0]
    return budget


def _check_sweeps(
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
        last = _last(key)
        if remedy := _RESERVED.get(last):
            raise InputError(f"'{last}' cannot be swept in a comparison", remedy)
        if any(last == _last(setting) for part in (shared, *method_settings.values()) for setting in part):
            raise InputError(
                f"'{last}' is both swept and set", f"pass either --sweep {key}=V1,V2 or --set {key}=VALUE"
            )
        if last == "lr" and lrs:
            raise InputError("the learning rate is given twice", "pass either --lr or --sweep lr=V1,V2")


def _by_method(
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
            if remedy := _RESERVED.get(_last(key)):
                raise InputError(f"'{_last(key)}' cannot be set in a comparison", remedy)
    return shared, by_method


def check_head(key: str, methods: Sequence[str]) -> None:
    """Checks that ``HEAD.key`` begins with a part of a recipe, a stage or a method.

    Raises:
        InputError: it does not: ``liner.lr`` would be taken for the ``lr`` of all methods.
    """
    head, dot, _ = key.partition(".")
    stages = {stage for name in methods for stage in method_class(name).stage_training}
    known = {*Recipe.model_fields, *stages, *method_entries()}
    if dot and head not in known:
        raise InputError(
            f"unknown setting '{key}': '{head}' is no method, stage or part of a recipe",
            did_you_mean(head, [*methods, *stages, *Recipe.model_fields]),
        )


def _learning_rates(
    lrs: Sequence[float], shared: dict[str, Any], method_settings: Mapping[str, Mapping[str, Any]]
) -> tuple[float, ...]:
    """The rates to try, from ``lrs`` or the setting ``lr`` (which is removed from ``shared``)."""
    for key in [key for key in shared if _last(key) == "lr"]:
        value = shared.pop(key)
        if lrs:
            raise InputError("the learning rate is given twice", "pass either --lr or --set lr=VALUE")
        lrs = value if isinstance(value, list) else [value]
    for method, settings in method_settings.items():
        if lrs and any(_last(key) == "lr" for key in settings):
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


def _when_it_starts(key: str, value: Any) -> bool:
    """Whether a setting is resolved only when a run starts, from the available memory."""
    return key == "memory" or (_last(key) == "batch_size" and value == "auto")


def _last(key: str) -> str:
    return _SHORT.get(key, key).rpartition(".")[2]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain values for YAML and other processes, without those that are None."""
    set_values = {key: value for key, value in settings.items() if value is not None}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(set_values, default=os.fspath))
    except TypeError as error:
        raise InputError(
            f"a setting is not a plain value: {error}", "pass numbers, strings and lists"
        ) from error
    return plain


def _flat(values: Mapping[str, Any], methods: set[str], prefix: str = "") -> dict[str, Any]:
    """Values by dotted keys, without settings of methods that are not on both sides."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if (prefix == "method_settings." and key not in methods) or (not prefix and key == "sweep"):
            continue
        if isinstance(value, dict):
            flat |= _flat(value, methods, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
