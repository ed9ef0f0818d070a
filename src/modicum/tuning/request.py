"""The request of a search, and ``tune.yaml``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.comparison.arguments import plain_values, same_setting
from modicum.comparison.stored_request import check_unchanged, known_now, read_request, write_request
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import DataSettings, Recipe
from modicum.errors import InputError
from modicum.tasks import task_class
from modicum.tuning.space import Dimension, parse_space

SCHEMA = 1
_NOT_SEARCHED = {
    "seed": "the best of several seeds is chance; repeat the best recipe with other seeds instead",
    "monitor": "trials are compared by one metric: pass --metric NAME",
    "required_scores": "pass --prune, which sets it for each trial",
    "select": "weights are chosen on validation in every trial",
    "evaluate_test": "no trial looks at the test split",
    "resamples": "it changes intervals alone",
    "device": "it changes where trials run, not what they learn",
    "memory": "search batch_size itself",
    "method": "compare methods with modicum compare, then search the settings of one",
    "task": "search the settings of one task",
}


@dataclass(frozen=True)
class Request:
    """A search.

    Attributes:
        data: what :func:`modicum.load` reads.
        method: its name.
        space: what is searched.
        settings: of all trials, by their names in a recipe.
        seed: of the search's own proposals; that of the trainings is a setting.
        metric: validation metric that trials are compared by; None for the task's own.
        recipe: that all trials start from; None for the method's own settings.
        prune: whether trials end early that fall behind the others.
    """

    data: str
    method: str
    space: tuple[Dimension, ...]
    settings: dict[str, Any]
    seed: int = 0
    metric: str | None = None
    recipe: str | None = None
    prune: bool = False

    @classmethod
    def of(
        cls,
        data: str | Path,
        method: str | None,
        search: Sequence[str] | Mapping[str, Any],
        settings: Mapping[str, Any],
        seed: int,
        metric: str | None,
        recipe: str | Path | None,
        prune: bool = False,
    ) -> "Request":
        """Resolves the user's arguments, and tries both ends of each range and every choice on the recipe.

        Raises:
            InputError: an unknown setting (with a suggestion), a value out of range, a setting that cannot be searched,
                or a method that has no validation metric.
        """
        space, plain = parse_space(search), plain_values(settings)
        for dimension in space:
            _check_searched(dimension, plain)
        path = None if recipe is None else str(recipe)
        method = make_recipe(data, method, known_now(plain), given_recipe(path)).method
        request = cls(str(data), method, space, plain, seed, metric, path, prune)
        _check_values(request)
        resolved = request.recipe_of(request.first)
        if not task_class(resolved.task).evaluated:
            raise InputError(
                f"method '{method}' learns task '{resolved.task}', which has no validation metric to search by",
                "search a method that predicts (`modicum methods` lists them)",
            )
        if resolved.chooses_by_test():
            raise InputError("select is 'oracle', which chooses by the test images", "use best or last")
        return request

    @property
    def first(self) -> dict[str, Any]:
        """The first value of each searched setting, by key."""
        return {one.key: one.ends[0] for one in self.space}

    def settings_of(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a trial, as :func:`modicum.fit` takes them.

        Args:
            found: values of searched settings by key.
        """
        monitor = {} if self.metric is None else {"monitor": self.metric}
        return {**self.settings, **monitor, **found, "evaluate_test": False}

    def recipe_of(self, found: Mapping[str, Any]) -> Recipe:
        """The recipe of a trial, without what is resolved only when it starts."""
        return make_recipe(
            self.data, self.method, known_now(self.settings_of(found)), given_recipe(self.recipe)
        )

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of what the study proposes."""
        return {one.key: one.value(params[one.key]) for one in self.space}

    def save(self, path: Path) -> None:
        """Writes ``tune.yaml``."""
        write_request(path, self._values())

    def check_unchanged(self, path: Path) -> None:
        """Raises InputError where a search is resumed with other settings: its trials would not compare."""
        if path.is_file():
            free = ("settings.device", "schema")
            check_unchanged(f"search '{path.parent.name}'", read_request(path), self._values(), free)

    def _values(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "data": self.data,
            "method": self.method,
            "search": {one.key: one.as_dict() for one in self.space},
            "seed": self.seed,
            "metric": self.metric,
            "settings": self.settings,
            "recipe": self.recipe,
            **({"prune": True} if self.prune else {}),
        }


def _check_searched(dimension: Dimension, settings: Mapping[str, Any]) -> None:
    """Raises InputError for a setting that changes what is compared, or that is fixed as well."""
    key = dimension.key
    last = key.rpartition(".")[2]
    if last in DataSettings.model_fields or key.startswith("data."):
        raise InputError(
            f"--search {key}: trials with other data do not compare", f"fix it with --set {last}=VALUE"
        )
    if remedy := _NOT_SEARCHED.get(last):
        raise InputError(f"--search {key}: it cannot be searched", remedy)
    if any(same_setting(key, other) for other in settings):
        raise InputError(f"'{last}' is both searched and set", "leave one of them out")


def _check_values(request: Request) -> None:
    """Tries both ends of each range, and every choice, on the recipe. Raises InputError for the first that it refuses."""
    known: dict[str, Any] = {}
    for dimension in sorted(
        request.space, key=lambda one: one.choices is None
    ):  # a choice may be of needed weights
        for value in dimension.ends:
            try:
                request.recipe_of({**known, dimension.key: value})
            except InputError as error:
                raise InputError(f"--search {dimension.text}: {error.problem}", error.remedy) from error
        known[dimension.key] = dimension.ends[0]
