"""Published settings under a name."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modicum.errors import InputError


@dataclass(frozen=True)
class ShippedRecipe:
    """A part of a recipe: what a publication sets. The rest is the method's and the user's.

    Attributes:
        name: as ``--recipe`` takes it.
        summary: one line.
        source: where it was published.
        weights: what the backbone was pre-trained by, in words, where the recipe is for such weights only.
        values: settings in the structure of ``recipe.yaml``.
    """

    name: str
    summary: str
    source: str
    weights: str | None
    values: Mapping[str, Any]


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """All of them by their names."""
    from modicum.recipes.radiographs import RECIPES

    return {recipe.name: recipe for recipe in RECIPES}


def shipped_recipe(name: str) -> ShippedRecipe:
    """One of them. Raises :class:`~modicum.errors.InputError` with near names where there is none of that name."""
    known = shipped_recipes()
    if name not in known:
        near = " or ".join(f"'{close}'" for close in difflib.get_close_matches(name, known, n=3, cutoff=0.5))
        raise InputError(
            f"unknown recipe '{name}'",
            (f"did you mean {near}? " if near else "")
            + "`modicum recipes` lists all; a file's name ends in .yaml",
        )
    return known[name]
