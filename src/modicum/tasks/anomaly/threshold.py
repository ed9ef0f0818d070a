"""The score from which on an image is called abnormal: chosen on held-out normal images, never on test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from modicum.tasks.stored_values import count_of_values, number_of, one_of

Source = Literal["none", "given", "validation"]

FEWEST = 20
"""Held-out normal images below which a caution is said: at 95 % specificity one of 20 lies above."""


@dataclass(frozen=True)
class Threshold:
    """Attributes:
    value: images with this score or more are abnormal; None where nothing has been chosen.
    source: ``none``, ``given`` by the user, or from ``validation`` images.
    images: number of normal images that it was chosen on.
    """

    value: float | None = None
    source: Source = "none"
    images: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``model.json``."""
        return {"value": self.value, "from": self.source, "images": self.images}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Threshold":
        """The inverse of :meth:`as_dict`."""
        value = values["value"]
        return cls(
            None if value is None else number_of(value, "threshold"),
            one_of(values["from"], get_args(Source), "threshold's source"),
            count_of_values(values["images"], "threshold's images"),
        )


def threshold_of_normals(scores: Float[np.ndarray, "n"], specificity: float) -> Threshold:
    """The lowest threshold that leaves at least so large a share of normal images below it.

    It lies in the middle between two images' scores, or just above the highest one.

    Args:
        scores: of held-out normal images; those that are not finite are left out. None gives no threshold.
        specificity: the share.
    """
    scores = scores[np.isfinite(scores)].astype(np.float64)
    if not len(scores):
        return Threshold()
    levels, counts = np.unique(scores, return_counts=True)
    enough = np.flatnonzero(np.cumsum(counts) / len(scores) >= specificity - 1e-12)
    last = int(enough[0])
    above = float(np.nextafter(levels[last], np.inf))
    value = max(above, float(levels[last] + levels[last + 1]) / 2) if last + 1 < len(levels) else above
    return Threshold(value, "validation", len(scores))
