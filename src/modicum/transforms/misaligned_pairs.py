"""Misalignment of training pairs as operations of a recipe: the noise levels of RegGAN's experiments.

>>> from modicum.transforms import Augmentation
>>> augment = Augmentation([{"name": "misalign", "level": 5}])
>>> pair = {"image": torch.rand(2, 1, 32, 32), "target": torch.rand(2, 1, 32, 32)}
>>> augment(pair, torch.Generator().manual_seed(0))["target"].shape
torch.Size([2, 1, 32, 32])
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from modicum.batch import Batch, Kind
from modicum.transforms.geometry import Stage
from modicum.transforms.misalignment import AffineMisalignment, ElasticMisalignment, Interpolation
from modicum.transforms.operation import Drawn, Operation, Shape, happens

BLACK = 0.0


class Misalign(Operation):
    """Rotates, shifts and zooms image and target, each by separate amounts; see :class:`AffineMisalignment`.

    What belongs to the image (a mask, saliency, boxes) moves with it.

    Attributes:
        level: turns by up to so many degrees, shifts by up to twice as many percent, zooms likewise; 0 to 5 in the paper.
        interpolation: ``bilinear``, or ``nearest`` as the release of RegGAN reads.
    """

    name: Literal["misalign"] = "misalign"
    level: float = Field(5.0, ge=0, lt=50)
    interpolation: Interpolation = "bilinear"

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"matrix": self._moves.draw(count, (shape[1], shape[2]), generator).matrix}

    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        def drawn(images: Tensor) -> Stage:
            applied = happens(len(images), self.p, generator)
            matrix = self.draw(len(images), _shape(images), generator)["matrix"]
            matrix = torch.where(applied.view(-1, 1, 1), matrix, torch.eye(3, dtype=matrix.dtype))
            size = images.shape[2], images.shape[3]
            return Stage(matrix, size, size, "fill")

        return self._moves.misaligned(batch, drawn, kinds)

    @property
    def _moves(self) -> AffineMisalignment:
        return AffineMisalignment(level=self.level, background=BLACK, interpolation=self.interpolation)


class MisalignElastic(Operation):
    """Deforms image and target, each by a separate smooth field; see :class:`ElasticMisalignment`.

    Label maps and saliency bend with the image; boxes and points cannot.

    Attributes:
        sigma: standard deviation of the displacements at the grid's points, in pixels of a 256-pixel image.
        control_points: points of the grid along each side.
        interpolation: ``bilinear`` or ``nearest``.
    """

    name: Literal["misalign_elastic"] = "misalign_elastic"
    sigma: float = Field(3.0, ge=0)
    control_points: int = Field(8, ge=2)
    interpolation: Interpolation = "bilinear"

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"field": self._bends.draw(count, (shape[1], shape[2]), generator)}

    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        def drawn(images: Tensor) -> Tensor:
            applied = happens(len(images), self.p, generator)
            return self.draw(len(images), _shape(images), generator)["field"] * applied.view(-1, 1, 1, 1)

        return self._bends.misaligned(batch, drawn, kinds)

    @property
    def _bends(self) -> ElasticMisalignment:
        return ElasticMisalignment(
            sigma=self.sigma,
            control_points=self.control_points,
            background=BLACK,
            interpolation=self.interpolation,
        )


def _shape(images: Tensor) -> Shape:
    return images.shape[1], images.shape[2], images.shape[3]
