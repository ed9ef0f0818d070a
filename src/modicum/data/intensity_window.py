"""Intensity windows: the values of a file that map to 0 and 1, and the inverse to the file's units."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped

from modicum.data.image import MedicalImage
from modicum.errors import InputError

IntensityRule = Literal["range", "percentile"]
INTENSITY_RULES: tuple[str, ...] = get_args(IntensityRule)
# The background value of the percentile rule.
BACKGROUND = 0.0


@dataclass(frozen=True)
class IntensityWindow:
    """The linear map from ``low`` to 0 and ``high`` to 1, with clipping.

    Args:
        low: the value mapped to 0, in the file's units (grey levels, Hounsfield units, ...). The larger
            of the two if large values are dark (MONOCHROME1).
        high: the value mapped to 1. Equal to ``low`` for a constant image: everything is mapped to 0, and 0
            back to ``low``.
        background: a value mapped to exactly 0, and to which 0 is mapped back; None for no background.

    Raises:
        InputError: an end is not a finite number.
    """

    low: float | int
    high: float | int
    background: float | int | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high)):
            raise InputError(
                f"an intensity window from {self.low} to {self.high} is not finite",
                "use for instance IntensityWindow(0, 400)",
            )

    @classmethod
    def centred(cls, centre: float | int, width: float | int) -> "IntensityWindow":
        """A window by centre and width, as in radiology: ``centred(40, 400)`` for soft tissue.

        Raises:
            InputError: the width is not above zero.
        """
        if not width > 0:
            raise InputError(
                f"window width {width} is not above zero", "pass (centre, width), for instance (40, 400)"
            )
        return cls(centre - width / 2, centre + width / 2)

    @classmethod
    def of(cls, image: MedicalImage, rule: str | None = None) -> "IntensityWindow":
        """The window that an image was read with, for the inverse.

        Args:
            image: from ``read_image``.
            rule: the ``intensity`` that it was read with, if that was a rule's name.
        """
        low, high = image.value_range
        apart = rule == "percentile" and low <= high  # in an inverted image 0 is the largest value
        return cls(low, high, BACKGROUND if apart else None)

    def unit(self, values: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Maps values in the file's units to [0, 1]; float64 for float64, otherwise float32. NaN becomes 0."""
        kind = np.float64 if values.dtype == np.float64 else np.float32
        if self.low == self.high:
            return np.zeros(values.shape, kind)
        unit = (values.astype(np.float64) - self.low) / (self.high - self.low)
        unit = np.clip(np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
        if self.background is not None:
            unit[values == self.background] = 0
        return unit.astype(kind)

    def values(self, unit: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Maps [0, 1] back to the file's units, in the same dtype: within 1e-6 of the width inside the window.

        Values are clipped to [0, 1] first. With a background, 0 (and so the low end itself) becomes that.
        """
        inside = np.clip(unit.astype(np.float64), 0, 1)
        values = self.low + inside * (self.high - self.low)
        if self.background is not None:
            values[inside == 0] = self.background
        return values.astype(unit.dtype)
