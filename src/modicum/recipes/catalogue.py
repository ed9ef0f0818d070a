"""All recipes that come with modicum, by name."""

import difflib

from modicum.errors import InputError
from modicum.recipes import benchx, grading, image_text, radiographs, skin
from modicum.recipes.shipped import ShippedRecipe


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """All of them by their names."""
    every = (*radiographs.RECIPES, *benchx.RECIPES, *grading.RECIPES, *image_text.RECIPES, *skin.RECIPES)
    return {recipe.name: recipe for recipe in every}


def shipped_recipe(name: str) -> ShippedRecipe:
    """One of them. Raises :class:`~modicum.errors.InputError` with near names where there is none of that name."""
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
