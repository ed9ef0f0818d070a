"""Base classes of augmentation operations: small frozen configurations that draw their random parameters.

An operation has two halves. :meth:`Operation.draw` takes random parameters for a batch from a CPU generator,
so the same generator state gives the same parameters on every device. The rest is a pure function of image
and parameters.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from modicum.batch import Batch, Kind, Kinds, check_pictures, for_each_relative
from modicum.errors import InputError
from modicum.transforms.batch_geometry import warp_batch
from modicum.transforms.geometry import Size, Stage
from modicum.transforms.windows import uniform

Drawn = dict[str, Tensor]
Shape = tuple[int, int, int]  # channels, height, width


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the lower limit {limits[0]:g} is above the upper limit {limits[1]:g}")
    return limits


def _positive(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] <= 0:
        raise ValueError(f"the lower limit {limits[0]:g} must be above 0")
    return limits


def _not_negative(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < 0:
        raise ValueError(f"the lower limit {limits[0]:g} must not be below 0")
    return limits


Limits = Annotated[tuple[float, float], AfterValidator(_ascending)]
PositiveLimits = Annotated[Limits, AfterValidator(_positive)]
NonNegativeLimits = Annotated[Limits, AfterValidator(_not_negative)]
Probability = Annotated[float, Field(ge=0, le=1)]


def require_image(batch: Batch) -> Tensor:
    """The batch's image tensor, checked: float [batch, channels, height, width].

    Raises:
        InputError: no image, or not such a tensor.
    """
    image = batch.get("image")
    if not isinstance(image, Tensor):
        raise InputError("the batch has no tensor 'image'", f"its keys are: {', '.join(sorted(batch))}")
    if image.ndim != 4 or not image.is_floating_point():
        raise InputError(
            f"batch['image'] is {str(image.dtype).removeprefix('torch.')} {list(image.shape)}",
            "give float images in [0, 1] as [batch, channels, height, width]",
        )
    return image


def happens(count: int, probability: float, generator: torch.Generator) -> Bool[Tensor, "count"]:
    """Draws which of ``count`` images an operation is applied to."""
    return uniform(count, (0.0, 1.0), generator) < probability


class Operation(BaseModel, ABC):
    """One augmentation operation; call it with a batch and a CPU generator.

    Relatives in a batch (``fellow_image``, ``partner_image`` and their masks) have separate draws, after the
    rows themselves.

    Attributes:
        name: the operation's name in recipes.
        p: probability of changing each image, independently.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    p: Probability = 1.0

    @abstractmethod
    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """Random parameters for ``count`` images of ``shape``, on the CPU, for all images, changed or not."""

    @abstractmethod
    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        """Applies the operation to a checked batch of one image per row; used by :meth:`__call__`."""

    def __call__(self, batch: Batch, generator: torch.Generator, kinds: Kinds = None) -> Batch:
        """The batch with its images changed, and other tensors according to their kind; the rest passes through.

        Args:
            batch: ``image`` float [batch, channels, height, width] in [0, 1], and whatever has a kind
                (:class:`~modicum.batch.Kind`).
            generator: on the CPU; the same state gives the same result.
            kinds: of names that have none by convention, such as ``{"heatmap": "saliency"}``.

        Raises:
            InputError: no image; an image tensor without a kind, or of another size than its image.
        """
        check_pictures(batch, kinds)
        return for_each_relative(batch, lambda part, kinds: self.apply(part, generator, kinds), kinds)


class GeometricOperation(Operation):
    """An operation that moves pixels; masks, boxes and points follow.

    Attributes:
        cuts: whether it crops a window of the output size, rather than resizing something to it.
    """

    cuts: ClassVar[bool] = False

    @abstractmethod
    def place(self, drawn: Drawn, applied: Bool[Tensor, "batch"], size: Size, output: Size | None) -> Stage:
        """The drawn parameters as a geometric step; images that are not ``applied`` to are not moved.

        Args:
            drawn: the result of :meth:`draw`.
            applied: which images are changed.
            size: size of the input images.
            output: output size of the whole augmentation, for operations that change the size.
        """

    def stage(self, count: int, shape: Shape, generator: torch.Generator, output: Size | None) -> Stage:
        """Draws for ``count`` images and returns the geometric step."""
        applied = happens(count, self.p, generator)
        return self.place(self.draw(count, shape, generator), applied, shape[1:], output)

    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        channels, height, width = require_image(batch).shape[1:]
        stage = self.stage(len(batch["image"]), (channels, height, width), generator, None)
        return warp_batch(batch, [stage], kinds)


class PhotometricOperation(Operation):
    """An operation that changes intensities of ``image`` and moves nothing; other tensors are unchanged.

    All of them commute with flips, which lets the pipeline move flips past them.
    """

    @abstractmethod
    def change(
        self, image: Float[Tensor, "batch channels height width"], drawn: Drawn
    ) -> Float[Tensor, "batch channels height width"]:
        """The images with the drawn parameters applied."""

    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        image = require_image(batch)
        chosen = happens(len(image), self.p, generator).nonzero().flatten()
        if len(chosen) == 0:
            return batch
        channels, height, width = image.shape[1:]
        drawn = self.draw(len(chosen), (channels, height, width), generator)
        if len(chosen) == len(image):
            return {**batch, "image": self.change(image, drawn)}
        rows = chosen.to(image.device)
        return {**batch, "image": image.index_copy(0, rows, self.change(image[rows], drawn))}
