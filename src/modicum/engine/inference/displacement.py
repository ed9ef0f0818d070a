"""Displacement between an example's translation and its target, for networks with registration: grid and numbers."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from modicum.data.image import ImageRef
from modicum.data.prepared import expand, read_prepared
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.pictures import PICTURE_SIDE
from modicum.errors import InputError
from modicum.nn import folded_share
from modicum.tasks.image_to_image.pictures import displacement_grid


@dataclass(frozen=True)
class Displacement:
    """A displacement field in numbers.

    Attributes:
        mean: mean length of the displacements, in pixels of the network's input.
        max: largest length.
        folded: share of pixels where the field folds (the determinant of its Jacobian is not positive).
    """

    mean: float
    max: float
    folded: float

    @classmethod
    def of(cls, field: Float[Tensor, "1 2 h w"]) -> "Displacement":
        """The numbers of one field, in pixels."""
        length = field[0].norm(dim=0)
        return cls(float(length.mean()), float(length.max()), float(folded_share(field)))

    def as_dict(self) -> dict[str, float]:
        """As values for ``examples.json``."""
        return asdict(self)


def example_displacement(
    predictor: DensePredictor, image: ImageRef, target: ImageRef
) -> tuple[Displacement, UInt8[np.ndarray, "height width 3"]] | None:
    """The field between an image's translation and its target: its numbers, and a grid over the target.

    Returns:
        None where the network estimates no displacement.
    """
    if not registers(predictor):
        return None
    try:
        field, wanted = estimated(predictor, image, target)
    except InputError:  # one mode of a method learns it, another does not
        return None
    return Displacement.of(field), _drawn(field[0].numpy(), wanted[0].numpy())


def registers(predictor: DensePredictor) -> bool:
    """Whether the network may have registration between a translation and its target."""
    return hasattr(predictor.network, "displacement")


@torch.no_grad()
def estimated(
    predictor: DensePredictor, image: ImageRef, target: ImageRef
) -> tuple[Float32[Tensor, "1 2 h w"], Float32[Tensor, "1 c h w"]]:
    """The field between an image's translation and its target, in the network's pixels, and the target as it was seen.

    Raises:
        BrokenImageError: one of them cannot be read.
    """
    estimate: Any = predictor.network
    wanted = _target_input(predictor, target)
    source = predictor.network_input(image)
    field = estimate.displacement(source.to(predictor.device), wanted.to(predictor.device))
    return field.float().cpu(), wanted


def _target_input(predictor: DensePredictor, ref: ImageRef) -> Float32[Tensor, "1 c h w"]:
    column = next(one for one in predictor.task.auxiliary_images if one.column == predictor.task.target_image)
    settings = replace(column.store_settings(predictor.settings), channels=column.channels)
    _, record = read_prepared(ref, settings)
    pixels = np.empty((1, settings.height, settings.width, settings.channels), dtype=record.dtype)
    expand(record, pixels[0])
    return to_unit_range(torch.from_numpy(pixels))


def _drawn(
    field: Float[np.ndarray, "2 h w"], target: Float[np.ndarray, "c h w"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The grid at the size of an example's picture: thin lines would not survive being enlarged."""
    scale = PICTURE_SIDE / max(field.shape[1:])
    size = max(2, round(field.shape[2] * scale)), max(2, round(field.shape[1] * scale))
    large, under = (
        np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes])
        for planes in (field, target)
    )
    return displacement_grid(large * scale, under)
