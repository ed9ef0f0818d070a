"""From which score on boxes are counted and shown: chosen on validation images, or given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from modicum.tasks.stored_values import count_of_values, number_of, one_of

Source = Literal["none", "given", "validation"]
UNCHOSEN = 0.5
"""Where there is nothing to choose by."""


@dataclass(frozen=True)
class ShownFrom:
    """Attributes:
    value: boxes with this score or more are counted and shown.
    source: ``none`` chosen, ``given`` by the user, or from ``validation`` images.
    boxes: number of true boxes that it was chosen on.
    """

    value: float = UNCHOSEN
    source: Source = "none"
    boxes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``model.json``."""
        return {"value": self.value, "from": self.source, "boxes": self.boxes}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ShownFrom":
        """The inverse of :meth:`as_dict`."""
        return cls(
            number_of(values["value"], "show_above"),
            one_of(values["from"], get_args(Source), "show_above's source"),
            count_of_values(values["boxes"], "show_above's boxes"),
        )


def best_by_f1(scores: Float[np.ndarray, "n"], hit: Bool[np.ndarray, "n"], true: int) -> ShownFrom:
    """The score with the best F1 of boxes, ``2 hits / (found + true)``; of equal ones the highest score.

    It lies in the middle between two scores. Where no box hits, nothing is chosen.

    Args:
        scores: of all boxes found.
        hit: whether each hits.
        true: number of true boxes.
    """
    if not true or not hit.any():
        return ShownFrom()
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(hit[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    best = ends[np.argmax(2 * hits[ends] / (ends + 1 + true))]
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return ShownFrom(float((ranked[best] + below) / 2), "validation", true)
