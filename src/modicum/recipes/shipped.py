"""A published setting under a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
