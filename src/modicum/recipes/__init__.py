"""Recipes that come with modicum: published settings, by name. Plain values; what they mean is the engine's."""

from modicum.recipes.catalogue import shipped_recipe, shipped_recipes
from modicum.recipes.shipped import ShippedRecipe

__all__ = ["ShippedRecipe", "shipped_recipe", "shipped_recipes"]
