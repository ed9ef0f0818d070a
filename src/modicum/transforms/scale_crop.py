"""Random scale, then a random crop: the augmentation that segmentation is usually trained with."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from modicum.transforms import geometry
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.operation import Drawn, GeometricOperation, PositiveLimits, Probability, Shape
from modicum.transforms.random_geometry import OutputSize, as_size
from modicum.transforms.windows import uniform

_LEEWAY = 5
"""Pixels that AADG's release may move a small image away from the centre."""


class RandomScaleCrop(GeometricOperation):
    """Scales width and height by two random factors, and crops a window of a fixed size at a random position.

    Where the scaled image is smaller than the window, the rest is black (in masks 0). By default it is put anywhere in
    the window. AADG's release (Lyu et al., IEEE TMI 2022) puts it within 5 pixels of the centre: all four sides get
    ``(window - image) // 2 + 5`` pixels of black (of width or height, whichever is larger), and the window is cut from
    that, so that along the other side it may reach beyond the image too.

    Attributes:
        p: probability that an image is scaled; all images are cropped.
        factor: limits of both uniform factors; 2 is twice as large.
        size: the window's height and width in pixels, or one number for a square; None for the augmentation's output
            size (and, used alone, the input's).
        placement: where images smaller than the window are put: ``anywhere``, or as AADG's ``release`` does.
    """

    cuts: ClassVar[bool] = True
    name: Literal["random_scale_crop"] = "random_scale_crop"
    p: Probability = 0.8
    factor: PositiveLimits = (0.5, 2.0)
    size: OutputSize | None = None
    placement: Literal["anywhere", "release"] = "anywhere"

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
        border = self._border(size, target, factor) if self.placement == "release" else 0.0
        # Whole pixels of the scaled image, so that a crop alone blurs nothing.
        corner = ((drawn["place"] * (free * factor + 2 * border)).round() - border) / factor
        window = torch.cat((corner, extent), 1)
        return replace(geometry.crop_stage(window, size, target), edge="fill", window=None)

    def _border(
        self, size: Size, target: Size, factor: Float64[Tensor, "batch 2"]
    ) -> Float64[Tensor, "batch 1"]:
        """Black pixels that the release puts on all sides of images that are scaled to less than the window."""
        scaled = (torch.tensor([size[1], size[0]], dtype=torch.float64) * factor).floor()
        lacking = torch.tensor([target[1], target[0]], dtype=torch.float64) - scaled
        border = (lacking.div(2, rounding_mode="floor") + _LEEWAY).amax(1, keepdim=True)
        return torch.where((lacking > 0).any(1, keepdim=True), border, 0.0)
