"""Random scale, then a random crop: the augmentation that segmentation is usually trained with."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from modicum.transforms import geometry
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.operation import Drawn, GeometricOperation, PositiveLimits, Probability, Shape
from modicum.transforms.random_geometry import OutputSize, as_size
from modicum.transforms.windows import uniform


class RandomScaleCrop(GeometricOperation):
    """Scales width and height by two random factors, and crops a window of a fixed size at a random position.

    Where the scaled image is smaller than the window, it is put at a random position in it, and the rest is black (in
    masks 0).

    Attributes:
        p: probability that an image is scaled; all images are cropped.
        factor: limits of both uniform factors; 2 is twice as large.
        size: the window's height and width in pixels, or one number for a square; None for the augmentation's output
            size (and, used alone, the input's).
    """

    cuts: ClassVar[bool] = True
    name: Literal["random_scale_crop"] = "random_scale_crop"
    p: Probability = 0.8
    factor: PositiveLimits = (0.5, 2.0)
    size: OutputSize | None = None

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """``factor`` [count, 2] of width and height, and ``place`` [count, 2] from 0 (left, top) to 1."""
        return {
            "factor": uniform(count, self.factor, generator, columns=2),
            "place": uniform(count, (0.0, 1.0), generator, columns=2),
        }

    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        target = (output or size) if self.size is None else as_size(self.size)
        factor = torch.where(applied.unsqueeze(1), drawn["factor"], 1.0)
        extent = torch.tensor([target[1], target[0]], dtype=torch.float64) / factor
        free = torch.tensor([size[1], size[0]], dtype=torch.float64) - extent
        # Whole pixels of the scaled image, so that a crop alone blurs nothing.
        corner = (drawn["place"] * free * factor).round() / factor
        window = torch.cat((corner, extent), 1)
        return replace(geometry.crop_stage(window, size, target), edge="fill", window=None)
