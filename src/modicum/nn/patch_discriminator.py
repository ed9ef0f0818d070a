"""The patch discriminator of Pix2Pix and CycleGAN (Isola et al., CVPR 2017, arXiv 1611.07004), as RegGAN uses it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.first_convolution import FirstConvolution
from modicum.nn.instance_norm import InstanceNorm

SMALLEST_SIDE = 24
"""Below this size the last convolution has no input."""


class PatchDiscriminator(nn.Module):
    """Scores how real an image looks, in overlapping patches of 70x70 pixels.

    With one channel and width 64 it has 2,762,689 parameters.

    Args:
        in_channels: of the images; for a conditional discriminator, of source and image together.
        width: channels after the first convolution; doubled three times.
    """

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            FirstConvolution(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *_normalised(width, stride=2),
            *_normalised(2 * width, stride=2),
            *_normalised(4 * width, stride=1),
            nn.Conv2d(8 * width, 1, 4, padding=1),
        )

    def patches(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 rows columns"]:
        """A score for each patch: 30x30 of them for 256x256 pixels.

        Raises:
            InputError: images of less than 24 pixels.
        """
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST_SIDE:
            raise InputError(
                f"images of {height}x{width} pixels are too small for the patch discriminator",
                f"use at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels",
            )
        return self.body(images)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        """The mean of each image's patch scores, in at least float32."""
        scores = self.patches(images)
        return scores.mean((2, 3), dtype=torch.promote_types(scores.dtype, torch.float32))


def _normalised(width: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1),
        InstanceNorm(2 * width),
        nn.LeakyReLU(0.2, inplace=True),
    )
