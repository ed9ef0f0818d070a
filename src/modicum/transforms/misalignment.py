"""Misalignment of image pairs: the "noise" of RegGAN's experiments, reproducible.

Kong et al., "Breaking the Dilemma of Medical Image-to-image Translation", NeurIPS 2021, arXiv 2110.06465. Training
pairs are moved, both images of a pair independently; validation and test pairs stay as they are. What else lies on
``image`` (label maps, saliency, boxes) moves as that does. Whatever is random comes from a generator on the CPU, so the
same generator state moves the same images the same way on every device.

>>> pair = {"image": torch.rand(2, 1, 32, 32), "target": torch.rand(2, 1, 32, 32)}
>>> AffineMisalignment(level=5)(pair, torch.Generator().manual_seed(0))["target"].shape
torch.Size([2, 1, 32, 32])
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from modicum.batch import IMAGE, Batch, Kind, Kinds, check_pictures, for_each_relative, kind_of, names_of
from modicum.errors import InputError
from modicum.transforms import geometry
from modicum.transforms.batch_geometry import warp_batch
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.windows import uniform

Interpolation = Literal["bilinear", "nearest"]
PAIR = ("image", "target")
REFERENCE_SIDE = 256
"""Pixels along the side of the images that displacements in pixels are stated for."""


class _Misalignment(BaseModel, ABC):
    """Base of both misalignments: interpolation, background, and which tensors move together.

    Attributes:
        background: the value outside the images, exactly.
        interpolation: ``bilinear``, or ``nearest`` as the release reads, which makes edges jagged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: float = -1.0
    interpolation: Interpolation = "bilinear"

    @property
    @abstractmethod
    def still(self) -> bool:
        """Whether nothing moves."""

    @abstractmethod
    def draw(self, count: int, size: Size, generator: torch.Generator) -> Any:
        """One random motion for each of ``count`` images of a height and width."""

    @abstractmethod
    def move(self, images: Float[Tensor, "b c h w"], motion: Any) -> Float[Tensor, "b c h w"]:
        """Images moved by the result of :meth:`draw`."""

    @abstractmethod
    def follow(self, batch: Batch, motion: Any, kinds: Kinds = None) -> Batch:
        """The tensors that belong to ``image`` (label maps, saliency, boxes, points), moved like it."""

    def __call__(self, batch: Batch, generator: torch.Generator, kinds: Kinds = None) -> Batch:
        """The batch with ``image`` and ``target`` ``[b, c, h, w]`` moved; masks, boxes and so on follow ``image``.

        Further images that ``kinds`` declares are moved too, each by a separate motion.

        Raises:
            InputError: one of the two is missing, or an image has no kind.
        """

        def drawn(images: Tensor) -> Any:
            return self.draw(len(images), (images.shape[2], images.shape[3]), generator)

        check_pictures(batch, kinds)
        return for_each_relative(batch, lambda part, kinds: self.misaligned(part, drawn, kinds), kinds)

    def misaligned(self, batch: Batch, drawn: Callable[[Tensor], Any], kinds: Mapping[str, Kind]) -> Batch:
        """Moves each image of a batch of one image per row by the motion ``drawn`` for it."""
        moved, images = dict(batch), names_of(batch, Kind.IMAGE, kinds=kinds)
        for name in (*PAIR, *(name for name in images if name not in PAIR)):
            motion = drawn(pair_member(batch, name))
            if self.still:
                continue
            moved[name] = self.move(batch[name], motion)
            if name == IMAGE:
                attached = {key: value for key, value in batch.items() if key not in images}
                moved |= self.follow(attached, motion, kinds)
        return moved


class AffineMisalignment(_Misalignment):
    """Rotates, shifts and zooms both images of each pair, each by separate random amounts.

    At level L an image is turned about its centre by up to L degrees either way, shifted by up to 2 L % of its width
    and of its height, and magnified by a factor between 1 - 0.02 L and 1 + 0.02 L, all uniform. The error between the
    two of a pair is thus up to twice that. Level 0 moves nothing.

    Attributes:
        level: the noise level, 0 to 5 in the paper.
    """

    level: float = Field(5.0, ge=0, lt=50)

    @property
    def still(self) -> bool:
        return self.level == 0

    def draw(self, count: int, size: Size, generator: torch.Generator) -> Stage:
        """One random motion for each of ``count`` images of a height and width."""
        share = 0.02 * self.level
        degrees = uniform(count, (-self.level, self.level), generator)
        shift = uniform(count, (-share, share), generator, columns=2)
        factor = uniform(count, (1 - share, 1 + share), generator)
        return _affine_stage(degrees, shift[:, 0] * size[1], shift[:, 1] * size[0], factor, size)

    def move(self, images: Float[Tensor, "b c h w"], motion: Stage) -> Float[Tensor, "b c h w"]:
        """Images moved by what :meth:`draw` drew."""
        apply = geometry.apply_stages if self.interpolation == "bilinear" else geometry.apply_stages_to_mask
        # Geometric steps fill with 0.
        return apply(images - self.background, [motion]) + self.background

    def follow(self, batch: Batch, motion: Stage, kinds: Kinds = None) -> Batch:
        return warp_batch(batch, [motion], kinds)


class ElasticMisalignment(_Misalignment):
    """Deforms both images of each pair, each by a separate random smooth field (the paper's non-affine noise).

    The paper does not say how; here displacements drawn on a coarse grid are interpolated bicubically.

    Attributes:
        sigma: standard deviation of the displacements at the grid's points, in pixels of a 256-pixel image; larger
            and smaller images are deformed in proportion.
        control_points: points of the grid along each side, the outermost ones on the image's border.
    """

    sigma: float = Field(3.0, ge=0)
    control_points: int = Field(8, ge=2)

    @property
    def still(self) -> bool:
        return self.sigma == 0

    def draw(
        self, count: int, size: Size, generator: torch.Generator
    ) -> Float[Tensor, "count 2 height width"]:
        """One random displacement field for each of ``count`` images.

        In pixels, rows (down) first, then columns (right), as :func:`modicum.nn.warp` takes them.
        """
        shape = (count, 2, self.control_points, self.control_points)
        coarse = torch.randn(shape, generator=generator, dtype=torch.float64) * (self.sigma / REFERENCE_SIDE)
        scale = torch.tensor(size, dtype=torch.float64).view(1, 2, 1, 1)
        field = functional.interpolate(coarse * scale, size, mode="bicubic", align_corners=True)
        return field.float()

    def move(
        self, images: Float[Tensor, "b c h w"], motion: Float[Tensor, "b 2 h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Images sampled at the positions given by a displacement field."""
        moved = _read_at(images - self.background, motion, self.interpolation)
        return moved + self.background

    def follow(self, batch: Batch, motion: Float[Tensor, "b 2 h w"], kinds: Kinds = None) -> Batch:
        """Label maps and saliency, deformed like the image.

        Raises:
            InputError: boxes or points, which cannot be deformed.
        """
        if coordinates := names_of(batch, Kind.BOXES, Kind.POINTS, kinds=kinds):
            raise InputError(
                f"'{coordinates[0]}' cannot be deformed with the image",
                f"leave misalign_elastic out, or leave '{coordinates[0]}' out of the batch",
            )
        deformed = dict(batch)
        for name in names_of(batch, Kind.LABEL_MAP, Kind.SALIENCY, kinds=kinds):
            planes = batch[name].unsqueeze(1) if batch[name].ndim == 3 else batch[name]
            if kind_of(name, kinds) == Kind.LABEL_MAP:
                planes = _read_at(planes.float(), motion, "nearest").to(planes.dtype)
            else:
                planes = _read_at(planes, motion, "bilinear")
            deformed[name] = planes.view(batch[name].shape)
        return deformed


def _read_at(
    planes: Float[Tensor, "b c h w"], field: Float[Tensor, "b 2 h w"], interpolation: Interpolation
) -> Float[Tensor, "b c h w"]:
    """Planes sampled at the positions given by a displacement field; 0 outside."""
    height, width = planes.shape[2:]
    field = field.to(planes.device)
    rows = torch.arange(height, device=planes.device).view(-1, 1) + field[:, 0]
    columns = torch.arange(width, device=planes.device).view(1, -1) + field[:, 1]
    # grid_sample counts from -1 to 1 between the outer borders, x before y, and fills with 0.
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    return functional.grid_sample(
        planes, grid.to(planes.dtype), mode=interpolation, padding_mode="zeros", align_corners=False
    )


def _affine_stage(
    degrees: Float64[Tensor, "count"],
    right: Float64[Tensor, "count"],
    down: Float64[Tensor, "count"],
    factor: Float64[Tensor, "count"],
    size: Size,
) -> Stage:
    # One step, not three: what a rotation moves out of the image, a shift may bring back.
    steps = (
        geometry.zoom_stage(factor, size),
        geometry.rotation_stage(degrees, size),
        geometry.translation_stage(right, down, size),
    )
    matrix = steps[0].matrix @ steps[1].matrix @ steps[2].matrix
    return Stage(matrix, size, size, "fill")


def pair_member(batch: Batch, name: str) -> Tensor:
    """One of the two images of a pair. Raises :class:`~modicum.errors.InputError` if the batch does not have it."""
    if name not in batch:
        raise InputError(f"the batch has no '{name}'", f"its keys are: {', '.join(sorted(batch))}")
    return batch[name]
