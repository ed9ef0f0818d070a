"""Pairs that do not lie on each other: the "noise" of RegGAN's experiments, reproducible.

Kong et al., "Breaking the Dilemma of Medical Image-to-image Translation", NeurIPS 2021, arXiv 2110.06465. Training
pairs are moved, both images of a pair independently; validation and test pairs stay as they are. Whatever is random
comes from a generator on the CPU, so the same generator state moves the same images the same way on every device.

>>> pair = {"image": torch.rand(2, 1, 32, 32), "target": torch.rand(2, 1, 32, 32)}
>>> AffineMisalignment(level=5)(pair, torch.Generator().manual_seed(0))["target"].shape
torch.Size([2, 1, 32, 32])
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from modicum.errors import InputError
from modicum.transforms import geometry
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.windows import uniform

Batch = dict[str, Any]
Interpolation = Literal["bilinear", "nearest"]
PAIR = ("image", "target")
REFERENCE_SIDE = 256
"""Pixels along the side of the images that displacements in pixels are stated for."""


class _Misalignment(BaseModel):
    """What both kinds share: how images are read, and what comes in from outside.

    Attributes:
        background: the value outside the images, exactly.
        interpolation: ``bilinear``, or ``nearest`` as the release reads, which makes edges jagged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: float = -1.0
    interpolation: Interpolation = "bilinear"


class AffineMisalignment(_Misalignment):
    """Turns, shifts and zooms both images of each pair, each by its own random amounts.

    At level L an image is turned about its centre by up to L degrees either way, shifted by up to 2 L % of its width
    and of its height, and magnified by a factor between 1 - 0.02 L and 1 + 0.02 L, all uniform. The error between the
    two of a pair is thus up to twice that. Level 0 moves nothing.

    Attributes:
        level: the noise level, 0 to 5 in the paper.
    """

    level: float = Field(5.0, ge=0, lt=50)

    def draw(self, count: int, size: Size, generator: torch.Generator) -> Stage:
        """One random motion for each of ``count`` images of a height and width."""
        share = 0.02 * self.level
        degrees = uniform(count, (-self.level, self.level), generator)
        shift = uniform(count, (-share, share), generator, columns=2)
        factor = uniform(count, (1 - share, 1 + share), generator)
        return _affine_stage(degrees, shift[:, 0] * size[1], shift[:, 1] * size[0], factor, size)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with ``image`` and ``target`` ``[b, c, h, w]`` moved; the rest passes through.

        Raises:
            InputError: one of the two is missing.
        """
        moved = dict(batch)
        for name in PAIR:
            images = pair_member(batch, name)
            stage = self.draw(len(images), (images.shape[2], images.shape[3]), generator)
            if self.level > 0:
                moved[name] = self.move(images, stage)
        return moved

    def move(self, images: Float[Tensor, "b c h w"], stage: Stage) -> Float[Tensor, "b c h w"]:
        """Images moved by what :meth:`draw` drew."""
        apply = geometry.apply_stages if self.interpolation == "bilinear" else geometry.apply_stages_to_mask
        # Geometric steps fill with 0.
        return apply(images - self.background, [stage]) + self.background


class ElasticMisalignment(_Misalignment):
    """Bends both images of each pair, each by its own random smooth field (the paper's non-affine noise).

    The paper does not say how; here displacements drawn on a coarse grid are interpolated bicubically.

    Attributes:
        sigma: standard deviation of the displacements at the grid's points, in pixels of a 256-pixel image; larger
            and smaller images are bent in proportion.
        control_points: points of the grid along each side, the outermost ones on the image's border.
    """

    sigma: float = Field(3.0, ge=0)
    control_points: int = Field(8, ge=2)

    def draw(
        self, count: int, size: Size, generator: torch.Generator
    ) -> Float[Tensor, "count 2 height width"]:
        """One random field for each of ``count`` images: rows and columns at which the moved image reads, less its own.

        In pixels, rows (down) first, then columns (right), as :func:`modicum.nn.warp` takes them.
        """
        shape = (count, 2, self.control_points, self.control_points)
        coarse = torch.randn(shape, generator=generator, dtype=torch.float64) * (self.sigma / REFERENCE_SIDE)
        scale = torch.tensor(size, dtype=torch.float64).view(1, 2, 1, 1)
        field = functional.interpolate(coarse * scale, size, mode="bicubic", align_corners=True)
        return field.float()

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with ``image`` and ``target`` ``[b, c, h, w]`` bent; the rest passes through.

        Raises:
            InputError: one of the two is missing.
        """
        moved = dict(batch)
        for name in PAIR:
            images = pair_member(batch, name)
            field = self.draw(len(images), (images.shape[2], images.shape[3]), generator)
            if self.sigma > 0:
                moved[name] = self.move(images, field)
        return moved

    def move(
        self, images: Float[Tensor, "b c h w"], field: Float[Tensor, "b 2 h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Images read at the places that a field names."""
        height, width = images.shape[2:]
        field = field.to(images.device)
        rows = torch.arange(height, device=images.device).view(-1, 1) + field[:, 0]
        columns = torch.arange(width, device=images.device).view(1, -1) + field[:, 1]
        # grid_sample counts from -1 to 1 between the outer borders, x before y, and fills with 0.
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
        return (
            functional.grid_sample(
                images - self.background,
                grid.to(images.dtype),
                mode=self.interpolation,
                padding_mode="zeros",
                align_corners=False,
            )
            + self.background
        )


def _affine_stage(
    degrees: Float64[Tensor, "count"],
    right: Float64[Tensor, "count"],
    down: Float64[Tensor, "count"],
    factor: Float64[Tensor, "count"],
    size: Size,
) -> Stage:
    # One step, not three: what a turn moves out of the picture, a shift may bring back.
    steps = (
        geometry.zoom_stage(factor, size),
        geometry.rotation_stage(degrees, size),
        geometry.translation_stage(right, down, size),
    )
    matrix = steps[0].matrix @ steps[1].matrix @ steps[2].matrix
    return Stage(matrix, size, size, "fill")


def pair_member(batch: Batch, name: str) -> Tensor:
    """One of the two images of a pair. Raises :class:`~modicum.errors.InputError` where the batch has none."""
    if name not in batch:
        raise InputError(f"the batch has no '{name}'", f"its keys are: {', '.join(sorted(batch))}")
    return batch[name]
