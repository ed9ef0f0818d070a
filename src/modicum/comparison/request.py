"""The resolved request of a comparison, its checks, and ``compare.yaml``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modicum.comparison.arguments import (
    by_method,
    check_sweeps,
    check_vary,
    last_part,
    learning_rates,
    overrides,
    plain_values,
    resolved_when_it_starts,
)
from modicum.comparison.budget import usual_budget
from modicum.comparison.protocols import PROTOCOLS, check_protocol
from modicum.comparison.stored_request import check_unchanged, damaged, known_now, read_request, write_request
from modicum.comparison.sweeps import VARY, Sweeps, Variant, named_sweeps, variants_of
from modicum.engine.recipe.given_recipe import GivenRecipe, given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import method_class

SCHEMA = 1
# Settings that may change between two calls for the same comparison: where it runs, and how much of it.
_FREE = ("methods", "seeds", "settings.device", "settings.workers")


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
        recipe: the recipe that all cells start from, as for ``modicum fit``; None for the methods' own settings.
        vary: one of :data:`~modicum.comparison.sweeps.VARY`.
        stacks: rows in which winners are stacked; known once the others have been trained.
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
    recipe: str | None = None
    vary: str = VARY[0]
    stacks: tuple[Variant, ...] = ()

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
        recipe: str | Path | None = None,
        vary: str = VARY[0],
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
        shared, method_settings = by_method(plain_values(settings), methods)
        lrs = learning_rates(lrs, shared, method_settings)
        swept = named_sweeps(plain_values(sweep or {}))
        check_sweeps(swept, shared, method_settings, lrs, methods)
        explicit = {last_part(key) for key in (*shared, *swept)}
        check_vary(vary, swept, lrs, protocol)
        given = given_recipe(recipe)
        budget = usual_budget(methods, shared.get("task") or given.values.get("task"), given)
        if explicit & {"image_size", "size"}:
            budget.pop("image_size", None)
        shared |= {key: value for key, value in budget.items() if key not in explicit}
        request = cls(
            str(data),
            tuple(methods),
            seeds,
            lrs,
            shared,
            method_settings,
            swept,
            protocol,
            recipe=None if recipe is None else str(recipe),
            vary=vary,
        )
        request._check_fair()
        return request

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """The rows of the table by name: each method with every combination of the swept settings."""
        rows = (*variants_of(self.methods, self.sweeps, self.vary), *self.stacks)
        return {variant.name: variant for variant in rows}

    @cached_property
    def _given(self) -> GivenRecipe:
        return given_recipe(self.recipe)

    def settings_of(self, name: str, seed: int, lr: float | None, fold: str | None = None) -> dict[str, Any]:
        """All settings of one cell of a row, as :func:`modicum.fit` takes them."""
        variant = self.variants[name]
        row_settings = {**self.method_settings.get(variant.method, {}), **variant.settings}
        named = list(row_settings)
        if not method_class(variant.method).augments:
            named.append("augment")  # it would change nothing: the table names the rows that have none
        shared = {
            key: value
            for key, value in self.settings.items()
            if not any(overrides(one, key) for one in named)
        }
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
        try:
            return make_recipe(self.data, method, known_now(cell_settings), self._given)
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
        return any(resolved_when_it_starts(key, value) for part in every for key, value in part.items())

    def _check_fair(self) -> None:
        first, *rest = [(name, self.recipe_of(name)) for name in self.variants]
        for name, recipe in rest:
            for key, first_value, value in (
                ("data", _tested(first[1]), _tested(recipe)),
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
        write_request(path, self._values())

    def check_unchanged(self, path: Path) -> None:
        """Raises if a comparison is resumed with other settings, whose runs would not be comparable.

        Methods, seeds and swept values may be added or left out: cells are independent.

        Raises:
            InputError: ``compare.yaml`` names another data set or setting, or cannot be read.
        """
        if not path.is_file():
            return
        stored, now = read_request(path), self._values()
        try:
            common = set(stored["methods"]) & set(self.methods)
            before, now = _comparable(stored, common), _comparable(now, common)
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(path, error) from error
        check_unchanged(f"comparison '{path.parent.name}'", before, now, _FREE)

    def _values(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "data": self.data,
            "methods": list(self.methods),
            "seeds": self.seeds,
            "lr": list(self.lrs),
            "settings": self.settings,
            "method_settings": self.method_settings,
            **({"recipe": self.recipe} if self.recipe else {}),
            **({"sweep": self.sweeps} if self.sweeps else {}),
            **({"vary": self.vary} if self.vary != VARY[0] else {}),
            **({"protocol": self.protocol, "domains": list(self.folds)} if self.folds else {}),
        }


def _tested(recipe: Recipe) -> dict[str, Any]:
    """What decides about the images that are tested on: not the share of the training labels."""
    return recipe.data.model_dump(exclude={"label_fraction"})


def _comparable(values: Mapping[str, Any], methods: set[str]) -> dict[str, Any]:
    """Values without what is swept, and without settings of methods that are not on both sides."""
    of_methods = {key: value for key, value in values.get("method_settings", {}).items() if key in methods}
    return {**{key: value for key, value in values.items() if key != "sweep"}, "method_settings": of_methods}
