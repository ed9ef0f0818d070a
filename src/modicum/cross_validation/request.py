"""The request of a cross-validation, and ``cross-validation.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.comparison.arguments import plain_values
from modicum.comparison.stored_request import check_unchanged, damaged, known_now, read_request, write_request
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.tasks import DenseTask, ImageLevelTask, task_class
from modicum.tasks.box_lists import BoxListTask

SCHEMA = 1
_FREE = ("settings.device", "settings.resamples")
"""Settings that may change between two calls for the same cross-validation."""
_OWN = {
    "fold": "leave it out: every fold is trained; one alone is `modicum fit DATA --folds N --set fold=1`",
    "held_out": "leave it out, or hold out every domain with modicum compare --protocol leave-one-domain-out",
}


@dataclass(frozen=True)
class Request:
    """A cross-validation.

    Attributes:
        data: what :func:`modicum.load` reads.
        method: its name.
        folds: how many, from 2.
        settings: of the recipe, by their names.
        recipe: that all folds start from, as for ``modicum fit``; None for the method's own settings.
    """

    data: str
    method: str
    folds: int
    settings: dict[str, Any]
    recipe: str | None = None

    @classmethod
    def of(
        cls,
        data: str | Path,
        method: str | None,
        folds: int,
        settings: Mapping[str, Any],
        recipe: str | Path | None,
    ) -> "Request":
        """Resolves the user's arguments.

        Raises:
            InputError: an unknown method or setting, fewer than two folds, or a task whose predictions cannot be pooled.
        """
        if folds < 2:
            raise InputError(f"--folds {folds} is less than 2", "pass for instance --folds 5")
        plain = plain_values(settings)
        for key in plain:
            if remedy := _OWN.get(key.rpartition(".")[2]):
                raise InputError(f"setting '{key}' in a cross-validation", remedy)
        path = None if recipe is None else str(recipe)
        resolved = make_recipe(data, method, known_now(plain), given_recipe(path))
        task = task_class(resolved.task)
        if not task.evaluated or not issubclass(task, (ImageLevelTask, DenseTask, BoxListTask)):
            raise InputError(
                f"method '{resolved.method}' learns task '{resolved.task}', which predicts nothing of an image: "
                "there is nothing to pool over folds",
                "train it on one split, without --folds",
            )
        if resolved.chooses_by_test():
            raise InputError(
                "select is 'oracle', which chooses weights by the images that a fold tests",
                "use best or last",
            )
        return cls(str(data), resolved.method, folds, plain, path)

    def settings_of(self, fold: int | None) -> dict[str, Any]:
        """All settings of one fold, from 1, as :func:`modicum.fit` takes them; None for those of all folds together."""
        return {**self.settings, "folds": self.folds, **({} if fold is None else {"fold": fold})}

    def recipe_of(self, fold: int | None) -> Recipe:
        """The recipe of one fold; what is resolved only when it starts is left out."""
        return make_recipe(
            self.data, self.method, known_now(self.settings_of(fold)), given_recipe(self.recipe)
        )

    def save(self, path: Path) -> None:
        """Writes ``cross-validation.yaml``."""
        write_request(path, self._values())

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Reads ``cross-validation.yaml``. Raises :class:`InputError` where it is damaged."""
        stored = read_request(path)
        try:
            return cls(
                str(stored["data"]), str(stored["method"]), int(stored["folds"]), dict(stored["settings"]),
                stored.get("recipe"),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error

    def check_unchanged(self, path: Path) -> None:
        """Raises InputError where a cross-validation is resumed with other settings."""
        what, before = f"cross-validation '{path.parent.name}'", Request.read(path)
        check_unchanged(what, before._values(), self._values(), _FREE)

    def _values(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "data": self.data,
            "method": self.method,
            "folds": self.folds,
            "settings": self.settings,
            **({"recipe": self.recipe} if self.recipe else {}),
        }
