"""Normalisation of images with statistics that are saved with the learned weights."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Normalisation(nn.Module):
    """Subtracts a mean and divides by a standard deviation, each of the three channels; grey is repeated.

    The statistics are saved with the weights of what was trained on images normalised with them.

    Args:
        mean: of each channel in ``[0, 1]``; one number for grey.
        std: of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_three(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_three(std)).view(1, 3, 1, 1))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
        """Normalised images."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return (images - self.mean) / self.std

    def as_dict(self) -> dict[str, Any]:
        """The statistics, for the settings of a store."""
        return {
            name: [round(value, 6) for value in getattr(self, name).flatten().tolist()]
            for name in ("mean", "std")
        }


def _three(values: Sequence[float]) -> list[float]:
    return list(values) * 3 if len(values) == 1 else list(values)
