"""Style encoder and decoder of MUNIT (Huang et al., ECCV 2018, arXiv 1804.04732), as its release has them.

An image is encoded as content (where things are; by :class:`~modicum.nn.UnitEncoder`) and style (a few numbers for
what they look like). A decoder combines content with any style.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.nn.instance_norm import InstanceNorm
from modicum.nn.unit import padded_convolution, upsampling_layers

STYLE = 8
"""Numbers in a style, as published."""


class MunitStyleEncoder(nn.Sequential):
    """Encodes images to their styles ``[b, style]``.

    With one channel and width 64 it has 2,758,664 parameters. There is no normalisation: it would take away what
    style is.

    Args:
        in_channels: of the images.
        width: channels after the first convolution.
        style: numbers in a style.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, style: int = STYLE) -> None:
        widths = [width, 2 * width, 4 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = [*padded_convolution(in_channels, width, 7), nn.ReLU(inplace=True)]
        for before, after in pairwise(widths):
            layers += [*padded_convolution(before, after, 4, stride=2), nn.ReLU(inplace=True)]
        super().__init__(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * width, style, 1), nn.Flatten(start_dim=1)
        )


class StyledBlock(nn.Module):
    """A residual block whose two normalisations are scaled and shifted by a style.

    Args:
        width: channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*padded_convolution(width, width, 3), InstanceNorm(width))
        self.second = nn.Sequential(*padded_convolution(width, width, 3), InstanceNorm(width))

    def forward(
        self, features: Float[Tensor, "b width h w"], style: Float[Tensor, "b 2 2 width"]
    ) -> Float[Tensor, "b width h w"]:
        """The block's output features.

        Args:
            features: the block's input.
            style: shift and scale for each of the two normalisations.
        """
        shifts, scales = style[..., None, None].unbind(2)
        inner = torch.addcmul(shifts[:, 0], self.first(features), scales[:, 0]).relu_()
        return features + torch.addcmul(shifts[:, 1], self.second(inner), scales[:, 1])


class MunitDecoder(nn.Module):
    """Decodes content and style to images in (-1, 1).

    With one channel, width 64, 4 blocks and styles of 8 it has 6,869,121 parameters.

    Args:
        out_channels: of the images.
        width: channels before the last convolution; the style network has 4 times as many.
        blocks: residual blocks, all styled.
        style: numbers in a style.
    """

    def __init__(self, out_channels: int = 1, width: int = 64, blocks: int = 4, style: int = STYLE) -> None:
        super().__init__()
        inner = 4 * width
        self.style = style
        self.mapping = nn.Sequential(
            nn.Linear(style, inner),
            nn.ReLU(inplace=True),
            nn.Linear(inner, inner),
            nn.ReLU(inplace=True),
            nn.Linear(inner, 4 * inner * blocks),
        )
        self.blocks = nn.ModuleList(StyledBlock(inner) for _ in range(blocks))
        self.tail = nn.Sequential(*upsampling_layers(out_channels, width))

    def forward(
        self, content: Float[Tensor, "b features rows columns"], style: Float[Tensor, "b style"] | None = None
    ) -> Float[Tensor, "b channels h w"]:
        """Images with the given content and style.

        Args:
            content: of a :class:`~modicum.nn.UnitEncoder`.
            style: None for the mean of the styles that training draws, which is 0.
        """
        if style is None:
            style = content.new_zeros(content.shape[0], self.style)
        styles = self.mapping(style).to(content.dtype).unflatten(1, (len(self.blocks), 2, 2, -1))
        for number, block in enumerate(self.blocks):
            content = block(content, styles[:, number])
        return self.tail(content)
