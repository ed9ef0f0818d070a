"""The residual generator of CycleGAN (Zhu et al., ICCV 2017, arXiv 1703.10593), as RegGAN uses it."""

from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.first_convolution import FirstConvolution
from modicum.nn.instance_norm import InstanceNorm

SIDE_FACTOR = 4
"""Images whose height and width are multiples of this keep their size."""


class ResidualBlock(nn.Module):
    """Two reflected 3x3 convolutions with instance normalisation around a skip; nothing follows the sum.

    Args:
        width: channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            InstanceNorm(width),
        )

    def forward(self, features: Float[Tensor, "b width h w"]) -> Float[Tensor, "b width h w"]:
        return features + self.body(features)


class ResnetGenerator(nn.Module):
    """Maps images to images: two downsamplings, residual blocks, two upsamplings.

    Instance normalisation has neither weights nor running statistics, so training and evaluation mode are the same.
    With one channel, width 64 and 9 blocks it has 11,365,633 parameters.

    Args:
        in_channels: of the images it reads.
        out_channels: of the images it generates.
        width: channels after the first convolution; four times as many in the residual blocks.
        blocks: residual blocks.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3),
            FirstConvolution(in_channels, width, 7),
            *_normalised(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            *_normalised(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            *_normalised(4 * width),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1),
            *_normalised(2 * width),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
            *_normalised(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, out_channels, 7),
            nn.Tanh(),
        )

    def encode(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b features rows columns"]:
        """Features at a quarter of the size, after the residual blocks.

        Raises:
            InputError: images of less than 8 pixels, which leave nothing to normalise over.
        """
        height, width = images.shape[2:]
        if min(height, width) < 2 * SIDE_FACTOR:
            raise InputError(
                f"images of {height}x{width} pixels are too small for the generator",
                f"use at least {2 * SIDE_FACTOR}x{2 * SIDE_FACTOR} pixels",
            )
        return self.encoder(images)

    def generate(
        self, code: Float[Tensor, "b features rows columns"]
    ) -> Float[Tensor, "b channels height width"]:
        """Images in (-1, 1) from the features of :meth:`encode`."""
        return self.decoder(code)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels height width"]:
        """Images in (-1, 1). Sides that are not a multiple of 4 grow to the next one: 250 becomes 252."""
        return self.generate(self.encode(images))


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm(width), nn.ReLU(inplace=True)
