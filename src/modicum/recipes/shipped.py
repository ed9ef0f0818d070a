"""Published settings under a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
