"""Recipes that come with modicum: published settings, by name. Plain values, interpreted by the engine."""

from modicum.recipes.catalogue import shipped_recipe, shipped_recipes
from modicum.recipes.shipped import ShippedRecipe

__all__ = ["ShippedRecipe", "shipped_recipe", "shipped_recipes"]
