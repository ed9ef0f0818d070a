"""Where a 2-D image lies in the patient, and whether two images lie at the same place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Vector = Sequence[float] | Float64[np.ndarray, "3"]
SAME_PLACE = 0.1
"""Two planes are the same where no corner is further off than this share of the smaller pixel side, in any direction."""
SAME_SPACING = 0.01
"""Where only spacings are known: the share by which they may differ."""
_GRID = re.compile(r"\d{1,6}x\d{1,6},(nearest|linear|resampled)(,-?[0-9.]+(e[-+]\d+)?){9}")
_SQUARE = 1e-3  # direction cosines are written with six decimals or so


@dataclass(frozen=True)
class Plane:
    """The plane of an image in millimetres to the patient's left, back and head (LPS, as DICOM has it).

    Attributes:
        origin: centre of the first pixel (top left).
        row_step: from a pixel to the one below it.
        column_step: from a pixel to the one right of it.
    """

    origin: tuple[float, float, float]
    row_step: tuple[float, float, float]
    column_step: tuple[float, float, float]

    @classmethod
    def of_dicom(
        cls, position: Sequence[float], directions: Sequence[float], spacing: Sequence[float]
    ) -> "Plane | None":
        """From ImagePositionPatient, ImageOrientationPatient and PixelSpacing (C.7.6.2.1.1).

        None where one is absent, or where the directions are none (all 0, as some software writes them).
        """
        if not position or not directions or not spacing:
            return None
        cosines = np.reshape(np.asarray(directions[:6], np.float64), (2, 3))
        if np.abs(cosines @ cosines.T - np.eye(2)).max() > 10 * _SQUARE or min(spacing[:2]) <= 0:
            return None
        # The first three cosines point along a row, from column to column.
        return cls.of_vectors(position[:3], cosines[1] * spacing[0], cosines[0] * spacing[1])

    @classmethod
    def of_vectors(cls, origin: Vector, row_step: Vector, column_step: Vector) -> "Plane":
        """From three vectors of any kind."""
        first, down, right = (
            (float(vector[0]), float(vector[1]), float(vector[2]))
            for vector in (origin, row_step, column_step)
        )
        return cls(first, down, right)

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> "Plane":
        """From what :meth:`numbers` gave."""
        return cls.of_vectors(numbers[0:3], numbers[3:6], numbers[6:9])

    def numbers(self) -> tuple[float, ...]:
        """Its nine numbers, as files keep them."""
        return (*self.origin, *self.row_step, *self.column_step)

    def corners(self, height: int, width: int) -> Float64[np.ndarray, "4 3"]:
        """Centres of the four corner pixels."""
        ends = [(row, column) for row in (0, height - 1) for column in (0, width - 1)]
        steps = np.array([self.row_step, self.column_step], np.float64)
        return np.array(self.origin, np.float64) + np.array(ends, np.float64) @ steps

    def pixel(self) -> float:
        """The smaller side of a pixel."""
        return min(float(np.linalg.norm(self.row_step)), float(np.linalg.norm(self.column_step)))

    def distance(self, other: "Plane", height: int, width: int) -> float:
        """How far the corners of two images of one size are apart at most."""
        apart = self.corners(height, width) - other.corners(height, width)
        return float(np.linalg.norm(apart, axis=1).max())

    def __str__(self) -> str:
        origin, down, right = (_vector(part) for part in (self.origin, self.row_step, self.column_step))
        return f"first pixel at {origin}, to the next row {down}, to the next column {right} mm"


def _vector(values: Sequence[float]) -> str:
    return f"({', '.join(f'{round(value, 3) + 0.0:g}' for value in values)})"


@dataclass(frozen=True)
class Grid:
    """The pixels of an image in the patient, onto which another can be brought.

    Attributes:
        plane: where the first pixel and the steps are.
        height: rows.
        width: columns.
        labels: whether the values brought onto it stand for something, and are never mixed.
        resampled: whether frames of a DICOM segmentation that lie elsewhere are resampled; else they are refused.
    """

    plane: Plane
    height: int
    width: int
    labels: bool = True
    resampled: bool = False

    def __str__(self) -> str:
        """As text in references: ``512x512,nearest,`` and the plane's nine numbers."""
        numbers = ",".join(f"{value:.10g}" for value in self.plane.numbers())
        how = "resampled" if self.resampled else "nearest" if self.labels else "linear"
        return f"{self.height}x{self.width},{how},{numbers}"

    @classmethod
    def of_text(cls, text: str) -> "Grid":
        """The inverse of ``str()``."""
        size, how, *numbers = text.split(",")
        height, width = size.split("x")
        return cls(
            Plane.of_numbers([float(one) for one in numbers]),
            int(height),
            int(width),
            how != "linear",
            how == "resampled",
        )

    @staticmethod
    def is_text(text: str) -> bool:
        """Whether :meth:`of_text` can read a text."""
        return _GRID.fullmatch(text) is not None


def misplaced(
    image: tuple[Plane | None, tuple[float, float] | None],
    beside: tuple[Plane | None, tuple[float, float] | None],
    size: tuple[int, int],
) -> str | None:
    """How an image and one beside it disagree about where they lie; None where they do not, or do not say.

    Args:
        image: its plane, and its spacing.
        beside: the same of the other.
        size: rows and columns of both.
    """
    (plane, spacing), (other, other_spacing) = image, beside
    if plane is not None and other is not None:
        off = plane.distance(other, *size)
        allowed = SAME_PLACE * min(plane.pixel(), other.pixel())
        if off <= allowed:
            return None
        return (
            f"lies up to {off:.3g} mm from the image ({allowed:.2g} mm are allowed); "
            f"the image: {plane}; beside it: {other}"
        )
    if spacing is None or other_spacing is None:
        return None
    if np.allclose(spacing, other_spacing, rtol=SAME_SPACING, atol=0):
        return None
    image_spacing, its = (f"{rows:g} x {columns:g} mm" for rows, columns in (spacing, other_spacing))
    return f"has pixels of {its}, the image of {image_spacing}"
