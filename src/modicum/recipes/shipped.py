"""Recipes that come with modicum: published settings under a name."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modicum.errors import InputError


@dataclass(frozen=True)
class ShippedRecipe:
    """The part of a recipe that a publication sets. The rest comes from the method and the user.

    Attributes:
        name: name for ``--recipe``.
        summary: one line.
        source: where it was published.
        weights: description of the backbone's pre-training, if the recipe is for such weights only.
        values: settings in the structure of ``recipe.yaml``.
    """

    name: str
    summary: str
    source: str
    weights: str | None
    values: Mapping[str, Any]


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """All shipped recipes by name."""
    from modicum.recipes.radiographs import RECIPES

    return {recipe.name: recipe for recipe in RECIPES}


def shipped_recipe(name: str) -> ShippedRecipe:
    """A shipped recipe by name. Raises :class:`~modicum.errors.InputError`, with similar names, if there is none."""
    recipes = shipped_recipes()
    if name not in recipes:
        near = " or ".join(
            f"'{close}'" for close in difflib.get_close_matches(name, recipes, n=3, cutoff=0.5)
        )
        raise InputError(
            f"unknown recipe '{name}'",
            (f"did you mean {near}? " if near else "")
            + "`modicum recipes` lists all; a recipe file must end in .yaml",
        )
    return recipes[name]
