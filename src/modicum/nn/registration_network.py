"""RegGAN's registration network: a residual U-Net that maps two images to a displacement field.

Kong et al., "Breaking the Dilemma of Medical Image-to-image Translation", NeurIPS 2021, arXiv 2110.06465; the
design is NeMAR's (Arar et al., CVPR 2020, arXiv 2003.08073).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from modicum.errors import InputError
from modicum.nn.first_convolution import FirstConvolution
from modicum.nn.resnet_generator import ResidualBlock
from modicum.nn.spatial_transformer import without_autocast

PUBLISHED_DEPTH = 7
_SLOPE = 0.2


def registration_depth(image_size: tuple[int, int], most: int = PUBLISHED_DEPTH) -> int:
    """The network's depth for an image size: how often it can be halved with 2x2 pixels left.

    Args:
        image_size: height and width in pixels.
        most: the depth of large images (7 as published, reached at 256 pixels).

    Raises:
        InputError: images of less than 4 pixels.

    >>> print(*(registration_depth((side, 320)) for side in (320, 256, 255, 64, 4)))
    7 7 6 5 1
    """
    depth = min(most, min(image_size).bit_length() - 2)  # floor(log2(n)) - 1
    if depth < 1:
        raise InputError(
            f"images of {image_size[0]}x{image_size[1]} pixels are too small to be registered",
            "use at least 4x4 pixels",
        )
    return depth


class RegistrationNetwork(nn.Module):
    """Predicts the displacement that brings a moving image onto a fixed one.

    With one channel, depth 7 and width 32 it has 2,058,018 parameters. At the start the field is almost zero.

    Args:
        channels: of each of the two images.
        depth: how often the images are halved, see :func:`registration_depth`.
        width: channels at full size; twice as many below, four times as many at the bottom.
    """

    def __init__(self, channels: int = 1, depth: int = PUBLISHED_DEPTH, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.depth = depth
        widths = [width, *[2 * width] * (depth - 1)]
        inputs = [2 * channels, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(
                *_convolution(before, after, 3, FirstConvolution if level == 0 else nn.Conv2d),
                ResidualBlock(after),
            )
            for level, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )
        self.bottom = nn.Sequential(
            *_convolution(widths[-1], 4 * width, 1),
            *(ResidualBlock(4 * width) for _ in range(3)),
            *_convolution(4 * width, widths[-1], 1),
        )
        below = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            nn.Sequential(*_convolution(under + skip, skip, 3))
            for under, skip in zip(below, widths, strict=True)
        )
        self.refine = nn.Sequential(ResidualBlock(width), *_convolution(width, width, 1))
        self.displacement = nn.Conv2d(width, 2, 3, padding=1)
        self._initialise()

    def forward(
        self, moving: Float[Tensor, "b channels h w"], fixed: Float[Tensor, "b channels h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """Displacements in pixels, rows (down) first, then columns (right), as :func:`~modicum.nn.warp` takes them;
        in at least float32, also under autocast.

        Raises:
            InputError: images too small for the network's depth.
        """
        self._check_size(moving.shape[2], moving.shape[3])
        features = torch.cat([moving, fixed], 1)
        skips = []
        for down in self.down:
            skips.append(down(features))
            features = functional.max_pool2d(skips[-1], 2)
        features = self.bottom(features)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            features = functional.interpolate(features, skip.shape[2:], mode="bilinear")
            features = up(torch.cat([features, skip], 1))
        features = self.refine(features)
        # bfloat16 would round a displacement of 5 pixels to a thirty-second of one.
        with without_autocast(features.device):
            weight = self.displacement.weight
            return self.displacement(features.to(torch.promote_types(features.dtype, weight.dtype)))

    def _check_size(self, height: int, width: int) -> None:
        smallest = 2 ** (self.depth + 1)
        if min(height, width) < smallest:
            raise InputError(
                f"images of {height}x{width} pixels are too small for a registration network of depth {self.depth}",
                f"use at least {smallest}x{smallest} pixels, or depth {registration_depth((height, width))}",
            )

    def _initialise(self) -> None:
        """He's initialisation for the activation that follows: a leaky one, or in residual blocks a plain one."""
        plain = {
            part for block in self.modules() if isinstance(block, ResidualBlock) for part in block.modules()
        }
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.0 if module in plain else _SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.displacement.weight, std=1e-5)


def _convolution(
    before: int, after: int, kernel: int, kind: type[nn.Conv2d] = nn.Conv2d
) -> tuple[nn.Module, nn.Module]:
    return (
        kind(before, after, kernel, padding=kernel // 2),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )
