"""Operations that move pixels: flips, rotations, shifts, zooms, crops, each with its probability and ranges."""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from pydantic import AfterValidator, Field, field_validator
from torch import Tensor

from modicum.transforms import geometry
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.operation import (
    Drawn,
    GeometricOperation,
    Limits,
    PositiveLimits,
    Probability,
    Shape,
)
from modicum.transforms.windows import largest_window, log_uniform, random_windows, uniform


def as_size(size: int | tuple[int, int]) -> Size:
    """Height and width of a size given as one number (square) or two.

    Raises:
        ValueError: a side is not positive.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"the size {height} x {width} must be at least 1 x 1")
    return height, width


def _valid_size(size: int | tuple[int, int]) -> int | tuple[int, int]:
    as_size(size)
    return size


OutputSize = Annotated[int | tuple[int, int], AfterValidator(_valid_size)]


class HorizontalFlip(GeometricOperation):
    """Mirrors left and right. Exact. Changes laterality: not for chest radiographs."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Probability = 0.5

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        return geometry.flip_stage(applied, torch.zeros_like(applied), size)


class VerticalFlip(GeometricOperation):
    """Mirrors top and bottom. Exact."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: Probability = 0.5

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        return geometry.flip_stage(torch.zeros_like(applied), applied, size)


class Rotate(GeometricOperation):
    """Rotates about the centre; uncovered corners are black.

    Attributes:
        degrees: limits of the uniform angle in degrees; positive is counter-clockwise.
    """

    name: Literal["rotate"] = "rotate"
    degrees: Limits = (-180.0, 180.0)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"degrees": uniform(count, self.degrees, generator)}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        return geometry.rotation_stage(drawn["degrees"] * applied, size)


class Translate(GeometricOperation):
    """Shifts by whole pixels; the uncovered margin is black.

    Attributes:
        fraction: largest shift either way, as a share of the width and of the height.
    """

    name: Literal["translate"] = "translate"
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.1

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        # Whole pixels, so that a shift alone blurs nothing; rounded within the limit.
        shift = uniform(count, (-1.0, 1.0), generator, columns=2)
        limit = torch.tensor([math.floor(self.fraction * side) for side in (shape[2], shape[1])])
        return {"right": (shift[:, 0] * limit[0]).round(), "down": (shift[:, 1] * limit[1]).round()}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        return geometry.translation_stage(drawn["right"] * applied, drawn["down"] * applied, size)


class Zoom(GeometricOperation):
    """Zooms in or out about the centre and keeps the size; the uncovered margin is black.

    Attributes:
        factor: limits of the magnification (1.1 = 10 % larger), drawn log-uniformly.
    """

    name: Literal["zoom"] = "zoom"
    factor: PositiveLimits = (0.9, 1.1)

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"factor": log_uniform(count, self.factor, generator)}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        factor = torch.where(applied, drawn["factor"], 1.0)
        return geometry.zoom_stage(factor, size)


class Resize(GeometricOperation):
    """Resizes the whole image; always applied, since a batch has one size.

    Attributes:
        size: height and width in pixels, or one number for a square; None for the augmentation's output size.
    """

    name: Literal["resize"] = "resize"
    p: Annotated[float, Field(ge=1, le=1)] = 1.0
    size: OutputSize | None = None

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        target = (output or size) if self.size is None else as_size(self.size)
        return geometry.resize_stage(len(applied), size, target)


class RandomResizedCrop(GeometricOperation):
    """Crops a random window and resizes it to the output size, as torchvision's RandomResizedCrop.

    Of ten random windows the first that fits into the image is taken, at a random position; if none fits, the
    largest centred window of an allowed aspect. So with areas around 1 the ranges are mostly nominal: for
    ``area=(0.87, 1.15), aspect=(0.7, 1.3)`` a third of all square images are kept whole.

    Attributes:
        area: limits of the uniform share of the image's area.
        aspect: limits of width/height, drawn log-uniformly.
        size: height and width in pixels, or one number for a square; None for the augmentation's output size
            (and, used alone, the input's).
    """

    name: Literal["random_resized_crop"] = "random_resized_crop"
    area: PositiveLimits = (0.08, 1.0)
    aspect: PositiveLimits = (3 / 4, 4 / 3)
    size: OutputSize | None = None

    @field_validator("area")
    @classmethod
    def _some_window_fits(cls, area: tuple[float, float]) -> tuple[float, float]:
        if area[0] > 1:
            raise ValueError(f"no window of at least {area[0]:g} times the image fits into it")
        return area

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """``window`` [count, 4]: left, top, width, height in pixels; ``fell_back``: no trial fits."""
        window, fits = random_windows(count, shape[1:], self.area, self.aspect, generator)
        whole = largest_window(shape[1:], self.aspect)
        return {"window": torch.where(fits.unsqueeze(1), window, whole), "fell_back": ~fits}

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        target = (output or size) if self.size is None else as_size(self.size)
        whole = torch.tensor([0.0, 0.0, size[1], size[0]], dtype=torch.float64)
        return geometry.crop_stage(torch.where(applied.unsqueeze(1), drawn["window"], whole), size, target)
