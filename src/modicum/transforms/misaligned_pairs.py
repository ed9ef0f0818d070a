"""Misalignment of training pairs as operations of a recipe: the noise levels of RegGAN's experiments.

>>> from modicum.transforms import Augmentation
>>> augment = Augmentation([{"name": "misalign", "level": 5}])
>>> pair = {"image": torch.rand(2, 1, 32, 32), "target": torch.rand(2, 1, 32, 32)}
>>> augment(pair, torch.Generator().manual_seed(0))["target"].shape
torch.Size([2, 1, 32, 32])
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from modicum.transforms.geometry import Stage
from modicum.transforms.misalignment import (
    PAIR,
    AffineMisalignment,
    ElasticMisalignment,
    Interpolation,
    pair_member,
)
from modicum.transforms.operation import Batch, Drawn, Operation, Shape, happens

BLACK = 0.0


class Misalign(Operation):
    """Turns, shifts and zooms image and target, each by its own amounts; see :class:`AffineMisalignment`.

    Attributes:
        level: turns by up to so many degrees, shifts by up to twice as many percent, zooms likewise; 0 to 5 in the paper.
        interpolation: ``bilinear``, or ``nearest`` as the release of RegGAN reads.
    """

    name: Literal["misalign"] = "misalign"
    level: float = Field(5.0, ge=0, lt=50)
    interpolation: Interpolation = "bilinear"

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        return {"matrix": self._moves.draw(count, (shape[1], shape[2]), generator).matrix}

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        moved = dict(batch)
        for name in PAIR:
            images = pair_member(batch, name)
            applied = happens(len(images), self.p, generator)
            matrix = self.draw(len(images), _shape(images), generator)["matrix"]
            if self.level > 0:
                matrix = torch.where(applied.view(-1, 1, 1), matrix, torch.eye(3, dtype=matrix.dtype))
                size = images.shape[2], images.shape[3]
                moved[name] = self._moves.move(images, Stage(matrix, size, size, "fill"))
        return moved

    @property
    def _moves(self) -> AffineMisalignment:
        return AffineMisalignment(level=self.level, background=BLACK, interpolation=self.interpolation)


class MisalignElastic(Operation):
    """Bends image and target, each by its own smooth field; see :class:`ElasticMisalignment`.

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

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        moved = dict(batch)
        for name in PAIR:
            images = pair_member(batch, name)
            applied = happens(len(images), self.p, generator)
            field = self.draw(len(images), _shape(images), generator)["field"]
            if self.sigma > 0:
                moved[name] = self._bends.move(images, field * applied.view(-1, 1, 1, 1))
        return moved

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
