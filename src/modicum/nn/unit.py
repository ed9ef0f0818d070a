"""Encoder, decoder and discriminator of UNIT (Liu et al., NeurIPS 2017, arXiv 1703.00848), as its release has them.

MUNIT shares them: its content encoder is this encoder, its discriminator this one.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.instance_norm import InstanceNorm
from modicum.nn.resnet_generator import ResidualBlock

PUBLISHED_SCALES = 3
_SMALLEST_SCALE = 16  # four convolutions of stride 2, each padded by reflection, which needs two pixels


class SampleNorm(nn.Module):
    """Normalises each image over all of its features, then scales and shifts each channel.

    The release's layer norm: the standard deviation is that of a sample, and scales begin random in (0, 1).

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, features: Float[Tensor, "b width h w"]) -> Float[Tensor, "b width h w"]:
        deviation, mean = torch.std_mean(features, (1, 2, 3), keepdim=True)
        scale = self.scale.view(1, -1, 1, 1) / (deviation + 1e-5)
        shift = self.shift.view(1, -1, 1, 1) - mean * scale
        return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype))


class UnitEncoder(nn.Sequential):
    """Encodes images to features at a quarter of their size, ``[b, 4 width, h / 4, w / 4]``.

    With one channel, width 64 and 4 blocks it has 5,379,584 parameters.

    Args:
        in_channels: of the images.
        width: channels after the first convolution.
        blocks: residual blocks.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, blocks: int = 4) -> None:
        super().__init__(
            *padded_convolution(in_channels, width, 7),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            *padded_convolution(width, 2 * width, 4, stride=2),
            InstanceNorm(2 * width),
            nn.ReLU(inplace=True),
            *padded_convolution(2 * width, 4 * width, 4, stride=2),
            InstanceNorm(4 * width),
            nn.ReLU(inplace=True),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        )


class UnitDecoder(nn.Sequential):
    """Decodes features of :class:`UnitEncoder` to images in (-1, 1).

    With one channel, width 64 and 4 blocks it has 5,748,353 parameters.

    Args:
        out_channels: of the images.
        width: channels before the last convolution.
        blocks: residual blocks.
    """

    def __init__(self, out_channels: int = 1, width: int = 64, blocks: int = 4) -> None:
        super().__init__(
            *(ResidualBlock(4 * width) for _ in range(blocks)), *upsampling_layers(out_channels, width)
        )


def upsampling_layers(out_channels: int, width: int) -> list[nn.Module]:
    """The last layers of the decoders of UNIT and MUNIT: ``4 width`` channels to images of four times the size."""
    return [
        nn.Upsample(scale_factor=2),
        *padded_convolution(4 * width, 2 * width, 5),
        SampleNorm(2 * width),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2),
        *padded_convolution(2 * width, width, 5),
        SampleNorm(width),
        nn.ReLU(inplace=True),
        *padded_convolution(width, out_channels, 7),
        nn.Tanh(),
    ]


def padded_convolution(before: int, after: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution with reflection padding that keeps the size, or with stride 2 halves it."""
    return nn.ReflectionPad2d((kernel - 1) // 2), nn.Conv2d(before, after, kernel, stride)


def discriminator_scales(image_size: tuple[int, int]) -> int:
    """The number of scales of the discriminator for an image size: 3, as published, from 61 pixels on.

    Raises:
        InputError: images of less than 16 pixels.

    >>> [discriminator_scales((side, 320)) for side in (256, 61, 60, 31, 30, 16)]
    [3, 3, 2, 2, 1, 1]
    """
    scales, side = 0, min(image_size)
    while scales < PUBLISHED_SCALES and side >= _SMALLEST_SCALE:
        scales, side = scales + 1, -(-side // 2)
    if scales == 0:
        raise InputError(
            f"images of {image_size[0]}x{image_size[1]} pixels are too small for the multi-scale discriminator",
            f"use at least {_SMALLEST_SCALE}x{_SMALLEST_SCALE} pixels",
        )
    return scales


class MultiScaleDiscriminator(nn.Module):
    """Scores how real an image looks at several scales, each half of the one before.

    With one channel, width 64 and 3 scales it has 8,265,027 parameters.

    Args:
        in_channels: of the images.
        width: channels after the first convolution of a scale; doubled three times.
        scales: see :func:`discriminator_scales`.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, scales: int = PUBLISHED_SCALES) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_scale(in_channels, width) for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """A map of scores ``[b, 1, rows, columns]`` for each scale, the finest first: 16x16, 8x8, 4x4 for 256x256.

        Raises:
            InputError: images too small for the scales.
        """
        possible = discriminator_scales((images.shape[2], images.shape[3]))
        if possible < len(self.scales):
            raise InputError(
                f"images of {images.shape[2]}x{images.shape[3]} pixels are too small for {len(self.scales)} scales",
                f"use {possible}",
            )
        scores = []
        for number, scale in enumerate(self.scales):
            if number:
                images = self.halve(images)
            scores.append(scale(images))
        return scores


def _scale(in_channels: int, width: int) -> nn.Sequential:
    widths = [in_channels, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [*padded_convolution(before, after, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 1))
