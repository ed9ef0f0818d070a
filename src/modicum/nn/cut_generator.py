"""The generator of CUT (Park et al., ECCV 2020, arXiv 2007.15651): CycleGAN's, with antialiased steps between sizes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from modicum.nn.instance_norm import InstanceNorm
from modicum.nn.resnet_generator import ResidualBlock, ResnetGenerator

NCE_LAYERS = (0, 4, 8, 12, 16)
"""Layers of the encoder, by their number in it, whose features CUT compares."""


class BlurredHalving(nn.Module):
    """Halves the size after a blur of 1, 2, 1 (Zhang, ICML 2019)."""

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c rows columns"]:
        count = features.shape[1]
        taps = torch.tensor([1.0, 2.0, 1.0], device=features.device, dtype=features.dtype) / 4
        kernel = (taps[:, None] * taps[None]).expand(count, 1, 3, 3)
        return functional.conv2d(
            functional.pad(features, (1,) * 4, mode="reflect"), kernel, stride=2, groups=count
        )


class BilinearDoubling(nn.Module):
    """Doubles the size. Bilinear: the release's transposed convolution by 1, 3, 3, 1 is the same function."""

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c rows columns"]:
        return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class CutGenerator(nn.Module):
    """Maps images to images in (-1, 1): 11,378,179 parameters with 3 channels, width 64 and 9 blocks.

    Args:
        in_channels: of the images it reads.
        out_channels: of the images it generates.
        width: channels after the first convolution; four times as many in the residual blocks.
        blocks: residual blocks.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(in_channels, width, 7),
            *_normalised(width),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            *_normalised(2 * width),
            BlurredHalving(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            *_normalised(4 * width),
            BlurredHalving(),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        )
        self.decoder = nn.Sequential(
            BilinearDoubling(),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            *_normalised(2 * width),
            BilinearDoubling(),
            nn.Conv2d(2 * width, width, 3, padding=1),
            *_normalised(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, out_channels, 7),
            nn.Tanh(),
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels rows columns"]:
        """Generated images; sides that 4 does not divide grow to the next multiple."""
        return self.decoder(self.encoder(images))


def encoder_features(
    generator: CutGenerator | ResnetGenerator,
    images: Float[Tensor, "b c h w"],
    layers: Sequence[int] = NCE_LAYERS,
) -> list[Float[Tensor, "b features rows columns"]]:
    """Features of an image after some layers of a generator's encoder; layers that it lacks are left out."""
    wanted, found, features = set(layers), [], images
    for number, layer in enumerate(generator.encoder):
        # What follows works in place on what the layer gave.
        features = layer(features)
        if number in wanted:
            found.append(features)
            features = features.clone()
        if number >= max(wanted):
            break
    return found


def feature_widths(generator: CutGenerator | ResnetGenerator, channels: int) -> list[int]:
    """Channels of each of :func:`encoder_features`."""
    widths, current = [], channels
    for number, layer in enumerate(generator.encoder):
        if isinstance(layer, nn.Conv2d):
            current = layer.out_channels
        if number in NCE_LAYERS:
            widths.append(current)
    return widths


def xavier_normal(network: nn.Module, gain: float = 0.02) -> None:
    """Initialises convolutions and linear layers as CUT's release does; biases at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm(width), nn.ReLU(inplace=True)
