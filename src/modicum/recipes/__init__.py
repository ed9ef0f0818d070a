"""Recipes that come with modicum: published settings, by name. Plain values, interpreted by the engine."""

from modicum.recipes.shipped import ShippedRecipe, shipped_recipe, shipped_recipes

__all__ = ["ShippedRecipe", "shipped_recipe", "shipped_recipes"]
