"""Encoder, discriminator and generator of NICE-GAN (Chen et al., CVPR 2020, arXiv 2003.00273), as its release has them.

The discriminator of an image domain begins with an encoder, and the generator from that domain to the other reads the
encoder's features instead of images.
"""

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from modicum.errors import InputError

PUBLISHED_DEPTH = 2
_SMALLEST_SIDE = 24

Edges = Literal["reflect", "replicate"]
"""How convolutions see beyond the border: mirrored, or the outermost pixels repeated."""
_PADDING = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d}


class InstanceLayerNorm(nn.Module):
    """A learned mixture of normalising each channel and normalising the whole image (U-GAT-IT, arXiv 1907.10830).

    Args:
        width: channels.
        towards: at the start, logits of the channel's and of the image's share.
        affine: whether scale and shift of each channel are learned here; otherwise they are passed to ``forward``.
    """

    def __init__(
        self, width: int, towards: tuple[float, float] = (1.0, 3.2), affine: bool = True, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.eps = eps
        self.share = nn.Parameter(torch.tensor(towards).view(2, 1).repeat(1, width))
        self.scale = nn.Parameter(torch.ones(width)) if affine else None
        self.shift = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(
        self,
        features: Float[Tensor, "b width h w"],
        scale: Float[Tensor, "b width"] | None = None,
        shift: Float[Tensor, "b width"] | None = None,
    ) -> Float[Tensor, "b width h w"]:
        """Normalised features; both statistics in one pass, and one map stored for the backward pass."""
        pixels = features.shape[2] * features.shape[3]
        at_least_single = torch.promote_types(features.dtype, torch.float32)
        # Of the features as they are: in another type they would be stored twice.
        variance, mean = (value.to(at_least_single) for value in torch.var_mean(features, (2, 3)))
        # The image's statistics are those of its channels' together.
        whole_mean = mean.mean(1, keepdim=True)
        squares = (pixels - 1) * variance + pixels * (mean - whole_mean).square()
        whole_variance = squares.sum(1, keepdim=True) / (pixels * mean.shape[1] - 1)
        of_channel, of_image = self.share.softmax(0)
        by_channel = of_channel * (variance + self.eps).rsqrt()
        by_image = of_image * (whole_variance + self.eps).rsqrt()
        factor, offset = by_channel + by_image, -(by_channel * mean + by_image * whole_mean)
        scale, shift = (self.scale, self.shift) if scale is None else (scale, shift)
        assert scale is not None
        assert shift is not None
        factor, offset = factor * scale, offset * scale + shift
        dtype = features.dtype
        return torch.addcmul(offset.to(dtype)[..., None, None], features, factor.to(dtype)[..., None, None])


class NiceEncoder(nn.Module):
    """Encodes images to features at a quarter of their size, with attention to evidence of real images.

    Args:
        in_channels: of the images.
        width: channels after the first convolution; twice as many come out.
        edges: of its convolutions.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, edges: Edges = "reflect") -> None:
        super().__init__()
        self.body = nn.Sequential(*_halving(in_channels, width, edges), *_halving(width, 2 * width, edges))
        self.evidence = spectral_norm(nn.Linear(4 * width, 1, bias=False))
        self.mix = nn.Conv2d(4 * width, 2 * width, 1)
        self.attention = nn.Parameter(torch.zeros(1))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b features rows columns"]:
        """The features only."""
        return self._attended(self.body(images))

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Tensor, Float[Tensor, "b 1"]]:
        """Features, and the evidence for real images: a score of their means and maxima."""
        features = self.body(images)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return self._attended(features), self.evidence(pooled)

    def _attended(self, features: Tensor) -> Tensor:
        """Features plus a mixture of them, weighted by each one's evidence.

        The published network doubles the features, weights both halves by the evidence layer's weights (before their
        spectral normalisation) and mixes them by a 1x1 convolution. As all of that is linear, it is one convolution.
        """
        weights = self.evidence.get_parameter("parametrizations.weight.original")
        kernel = self.mix.weight * weights.view(1, -1, 1, 1)
        kernel = kernel.unflatten(1, (2, -1)).sum(1)
        mixed = functional.conv2d(features, kernel, self.mix.bias)
        return functional.leaky_relu(torch.addcmul(features, self.attention.to(mixed.dtype), mixed), 0.2)


def global_depth(image_size: tuple[int, int]) -> int:
    """How often the global head halves the local one's input: twice, as published, from 96 pixels on.

    Raises:
        InputError: images of less than 24 pixels.

    >>> [global_depth((side, 320)) for side in (256, 96, 95, 48, 47, 24)]
    [2, 2, 1, 1, 0, 0]
    """
    side = min(image_size)
    if side < _SMALLEST_SIDE:
        raise InputError(
            f"images of {image_size[0]}x{image_size[1]} pixels are too small for NICE-GAN's discriminator",
            f"use at least {_SMALLEST_SIDE}x{_SMALLEST_SIDE} pixels",
        )
    return min(PUBLISHED_DEPTH, (side // _SMALLEST_SIDE).bit_length() - 1)


class NiceDiscriminator(nn.Module):
    """How real an image looks: in patches, in large parts, and by the evidence of its features.

    With one channel, width 64 and depth 2 it has 46,872,385 parameters; RegGAN's release has another in modes without a
    cycle: width 32, ``last_kernel=3``, ``edges="replicate"``, 11,722,657 parameters.

    Args:
        in_channels: of the images.
        width: channels after the first convolution; doubled three times for patches, five times for large parts.
        depth: see :func:`global_depth`.
        edges: of all convolutions.
        last_kernel: side of the last convolution over large parts.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        depth: int = PUBLISHED_DEPTH,
        *,
        edges: Edges = "reflect",
        last_kernel: int = 4,
    ) -> None:
        super().__init__()
        self.encoder = NiceEncoder(in_channels, width, edges)
        self.shared = nn.Sequential(*_halving(2 * width, 4 * width, edges))
        self.patches = nn.Sequential(*_scoring(4 * width, edges))
        deep = 4 * width * 2**depth
        widths = [4 * width * 2**number for number in range(depth + 1)]
        halvings = [layer for before, after in pairwise(widths) for layer in _halving(before, after, edges)]
        self.parts = nn.Sequential(*halvings, *_scoring(deep, edges, last_kernel))

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Scores of patches ``[b, 1, rows, columns]`` (30x30 for 256x256), of large parts (6x6), and of evidence."""
        return self.look(images)[1]

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Tensor, list[Tensor]]:
        """The encoder's features, and the scores."""
        features, evidence = self.encoder.look(images)
        shared = self.shared(features)
        return features, [self.patches(shared), self.parts(shared), evidence]


class NiceGenerator(nn.Module):
    """Decodes the features of :class:`NiceEncoder` to images in (-1, 1).

    With one channel, width 64 and 6 blocks it has 8,098,368 parameters ("light").

    Args:
        out_channels: of the images.
        width: channels before the last convolution.
        blocks: residual blocks.
        image_size: if set, scales and shifts of the blocks come from every pixel of the features and not from their
            means: the published full generator, for this one image size, with 268 million parameters more at 256x256.
        encoder_width: width of the encoder whose features are read; ``width`` where None.
        edges: of the first and the last convolution; those between mirror.
    """

    def __init__(
        self,
        out_channels: int = 1,
        width: int = 64,
        blocks: int = 6,
        image_size: tuple[int, int] | None = None,
        encoder_width: int | None = None,
        edges: Edges = "reflect",
    ) -> None:
        super().__init__()
        inner = 4 * width
        self.pooled = image_size is None
        pixels = 1 if image_size is None else (image_size[0] // 4) * (image_size[1] // 4)
        self.head = nn.Sequential(
            _PADDING[edges](1),
            nn.Conv2d(2 * (encoder_width or width), inner, 3),
            InstanceLayerNorm(inner),
            nn.ReLU(inplace=True),
        )
        self.mapping = nn.Sequential(
            nn.Linear(inner * pixels, inner, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(inner, inner, bias=False),
            nn.ReLU(inplace=True),
        )
        self.scale = nn.Linear(inner, inner, bias=False)
        self.shift = nn.Linear(inner, inner, bias=False)
        self.blocks = nn.ModuleList(_ModulatedBlock(inner) for _ in range(blocks))
        self.tail = nn.Sequential(
            *_doubling(inner),
            *_doubling(inner // 2),
            _PADDING[edges](3),
            nn.Conv2d(width, out_channels, 7, bias=False),
            nn.Tanh(),
        )

    def forward(self, features: Float[Tensor, "b features rows columns"]) -> Float[Tensor, "b channels h w"]:
        features = self.head(features)
        mapped = self.mapping(features.mean((2, 3)) if self.pooled else features.flatten(1))
        scale, shift = self.scale(mapped), self.shift(mapped)
        for block in self.blocks:
            features = block(features, scale, shift)
        return self.tail(features)


class _ModulatedBlock(nn.Module):
    """A residual block whose normalisations are scaled and shifted from outside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=False)) for _ in range(2)
        )
        self.first_norm, self.second_norm = (
            InstanceLayerNorm(width, towards=(3.2, 1.0), affine=False) for _ in range(2)
        )

    def forward(self, features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        inner = self.first_norm(self.first(features), scale, shift).relu_()
        return features + self.second_norm(self.second(inner), scale, shift)


def _halving(before: int, after: int, edges: Edges) -> list[nn.Module]:
    convolution = spectral_norm(nn.Conv2d(before, after, 4, stride=2))
    return [_PADDING[edges](1), convolution, nn.LeakyReLU(0.2, inplace=True)]


def _scoring(width: int, edges: Edges, last_kernel: int = 4) -> list[nn.Module]:
    return [
        _PADDING[edges](1),
        spectral_norm(nn.Conv2d(width, 2 * width, 4)),
        nn.LeakyReLU(0.2, inplace=True),
        _PADDING[edges](1),
        spectral_norm(nn.Conv2d(2 * width, 1, last_kernel, bias=False)),
    ]


def _doubling(width: int) -> list[nn.Module]:
    half = width // 2
    return [
        nn.ReflectionPad2d(1),
        nn.Conv2d(width, half, 3, bias=False),
        InstanceLayerNorm(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, 4 * half, 1),
        nn.PixelShuffle(2),
        InstanceLayerNorm(half),
        nn.ReLU(inplace=True),
    ]
