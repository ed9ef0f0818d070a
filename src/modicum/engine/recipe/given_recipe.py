"""The recipe that a new run starts from: one of modicum's recipes, or a file such as an earlier run's.

Of a file, every setting is taken but those that are about one data set or one machine: of ``data`` only
:data:`KEPT_OF_DATA`, and no ``device``. What a file leaves out is the method's own.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modicum.data.published_weights import is_on_hub
from modicum.engine.recipe.settings import OF_RUN, Recipe, Settings, with_present_names
from modicum.errors import InputError, did_you_mean
from modicum.recipes import shipped_recipe

KEPT_OF_DATA = (
    "label_fraction",
    "fractions",
    "split_seed",
    "leaks",
    "layout_options",
    "slices",
    "align_geometry",
)
PARTS = ("options", "image", "backbone", "features", "training", "stages", "config")
"""Tables of a recipe whose settings are taken one by one."""


@dataclass(frozen=True)
class GivenRecipe:
    """Settings below the user's own.

    Attributes:
        name: the name that the user gave.
        values: settings in the structure of ``recipe.yaml``.
        title: first part of the names of its runs; empty for the method's name.
        weights: required pre-training of the backbone; None if the recipe names weights or works with any.
    """

    name: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    weights: str | None = None

    def method(self, asked: str | None) -> str:
        """The method: the recipe's, or the one that was asked for where it has none.

        Raises:
            InputError: they differ.
        """
        given = self.values.get("method")
        if given is not None and asked is not None and given != asked:
            raise InputError(
                f"recipe '{self.name}' is for method '{given}', and --method is '{asked}'",
                "leave --method out, or choose another recipe",
            )
        return str(given or asked or "full")

    def part(self, name: str, backbone: str | None, weights: str | None) -> dict[str, Any]:
        """The settings of one table.

        Args:
            name: name of the table.
            backbone: the user's backbone, if any.
            weights: that the user named, if any. Those of the hub or of a run bring their own normalisation, and so
                does a run that is named as the backbone.
        """
        settings = copy.deepcopy(dict(self.values.get(name) or {}))
        of_run = (backbone or "").startswith(OF_RUN)
        asked = weights or ""
        if name == "backbone" and (of_run or asked == "hub" or is_on_hub(asked) or asked.startswith(OF_RUN)):
            for key in ("mean", "std", *(("weights",) if of_run else ())):
                settings.pop(key, None)
        return settings

    def check_weights(self, backbone: Mapping[str, Any]) -> None:
        """Raises :class:`InputError` if the recipe requires certain weights and none were named."""
        if self.weights and "weights" not in backbone:
            raise InputError(
                f"recipe '{self.name}' starts from {self.weights}",
                "pass --weights FILE, --backbone run:FOLDER, or --weights hub or random to start from others",
            )


def given_recipe(recipe: str | Path | GivenRecipe | None) -> GivenRecipe:
    """The recipe that a user named; an empty one for None.

    Args:
        recipe: a name that ``modicum recipes`` lists, or a YAML file.

    Raises:
        InputError: there is no such recipe or file, or the file is not a table of settings.
    """
    if recipe is None or isinstance(recipe, GivenRecipe):
        return recipe or GivenRecipe()
    path = Path(recipe)
    if path.suffix.lower() not in {".yaml", ".yml"} and not path.is_file():
        shipped = shipped_recipe(str(recipe))
        return GivenRecipe(shipped.name, shipped.values, shipped.name.rpartition("/")[2], shipped.weights)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"recipe '{path}' cannot be read ({type(error).__name__})", "name a YAML file of settings"
        ) from error
    if isinstance(values, dict):
        values = with_present_names(values)
    check_tables(f"recipe '{path}'", values)
    values.pop("device", None)
    data = values.get("data") or {}
    values["data"] = {key: data[key] for key in KEPT_OF_DATA if key in data}
    return GivenRecipe(str(recipe), values)


def check_tables(where: str, values: Any) -> None:
    """Checks that a file's settings are a table of known settings, each in its place.

    Args:
        where: what errors begin with, such as ``recipe 'mine.yaml'``.
        values: in the structure of ``recipe.yaml``.

    Raises:
        InputError: there is no table, or an unknown or misplaced setting.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} is not a table of settings", "write KEY: VALUE lines")
    _check_keys(where, "", values, Recipe)
    for name in (*PARTS, "data"):
        if not isinstance(table := values.get(name) or {}, dict):
            raise InputError(f"{where}: '{name}' is {table!r}", "make it a table of settings")
        model = Recipe.model_fields[name].annotation
        if isinstance(model, type) and issubclass(
            model, Settings
        ):  # else the stages', the method's or the task's own
            _check_keys(where, f"{name}.", table, model)


def _check_keys(where: str, place: str, table: Mapping[str, Any], model: type[Settings]) -> None:
    for key in table:
        if key not in model.model_fields:
            raise InputError(
                f"{where}: unknown setting '{place}{key}'",
                did_you_mean(str(key), model.model_fields),
            )
