"""Which values of a file become 0 and 1, and the way back from [0, 1] to the file's own units."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped

from modicum.data.image import MedicalImage
from modicum.errors import InputError

IntensityRule = Literal["range", "percentile"]
INTENSITY_RULES: tuple[str, ...] = get_args(IntensityRule)
# The value that the percentile rule takes for background.
BACKGROUND = 0.0


@dataclass(frozen=True)
class IntensityWindow:
    """The line that maps ``low`` to 0 and ``high`` to 1, and what lies beyond to the nearer of the two.

    Args:
        low: the value that becomes 0, in the file's own units (grey levels, Hounsfield units, ...). The larger
            of the two where large values are shown dark (MONOCHROME1).
        high: the value that becomes 1. Equal to ``low`` for a constant image: everything becomes 0, and 0
            comes back as ``low``.
        background: a value that becomes exactly 0 wherever it lies, and that 0 comes back as; None where no
            value is set apart.

    Raises:
        InputError: an end is not a finite number.
    """

    low: float | int
    high: float | int
    background: float | int | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high)):
            raise InputError(
                f"an intensity window from {self.low} to {self.high} has no two ends", "give finite numbers"
            )

    @classmethod
    def centred(cls, centre: float | int, width: float | int) -> "IntensityWindow":
        """From a window's centre and width, as radiologists name them: ``centred(40, 400)`` for soft tissue.

        Raises:
            InputError: the width is not above zero.
        """
        if not width > 0:
            raise InputError(f"window width {width} is not above zero", "give (centre, width): (40, 400)")
        return cls(centre - width / 2, centre + width / 2)

    @classmethod
    def of(cls, image: MedicalImage, rule: str | None = None) -> "IntensityWindow":
        """The window that an image was read with, for the way back.

        Args:
            image: from ``read_image``.
            rule: the ``intensity`` that it was read with, where that was a rule's name.
        """
        low, high = image.value_range
        apart = rule == "percentile" and low <= high  # in an inverted image 0 stands for the largest value
        return cls(low, high, BACKGROUND if apart else None)

    def unit(self, values: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Values in the file's units as [0, 1]; float64 for float64, otherwise float32. NaN becomes 0."""
        kind = np.float64 if values.dtype == np.float64 else np.float32
        if self.low == self.high:
            return np.zeros(values.shape, kind)
        unit = (values.astype(np.float64) - self.low) / (self.high - self.low)
        unit = np.clip(np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
        if self.background is not None:
            unit[values == self.background] = 0
        return unit.astype(kind)

    def values(self, unit: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """The way back, in the dtype given: within 1e-6 of the width for what lay inside the window.

        What leaves [0, 1] is cut off first. With a background, 0 (and so the low end itself) becomes that.
        """
        inside = np.clip(unit.astype(np.float64), 0, 1)
        values = self.low + inside * (self.high - self.low)
        if self.background is not None:
            values[inside == 0] = self.background
        return values.astype(unit.dtype)
