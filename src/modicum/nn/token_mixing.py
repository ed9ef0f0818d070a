"""Mixing the features of two images inside a network, at one of its layers: tokens of a transformer, a map of a CNN.

A network is called with the foregrounds and after them the backgrounds, ``[2 n, c, h, w]``; at its mixing layer the two
halves become one, and all that follows runs once on ``n`` mixtures. Class token and position embeddings are added
afterwards, as for an image. No network has to be changed for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.nn.backbones import Backbone

Ratio = Callable[[tuple[int, int]], Float[Tensor, "n patches"]]
"""From rows and columns of patches to the foregrounds' shares, row by row."""
STRIDE = 16


def has_tokens(backbone: Backbone) -> bool:
    """Whether a backbone embeds patches as tokens: a vision transformer, plain, hybrid or hierarchical."""
    return getattr(getattr(backbone.body, "patch_embed", None), "grid_size", None) is not None


def mixing_layer(backbone: Backbone, where: str) -> nn.Module:
    """The layer whose output is mixed.

    Args:
        backbone: any timm network.
        where: ``tokens``, the patch embedding of a transformer, or ``features``, the last layer of a stride of 16.

    Raises:
        InputError: the network has no such layer.
    """
    if where == "tokens":
        if not has_tokens(backbone):
            raise InputError(
                f"backbone '{backbone.name}' has no patch tokens to mix",
                "pass --set mix=pixels or mix=features, or a vision transformer",
            )
        embedding: nn.Module = backbone.body.patch_embed
        return embedding
    stages = [stage for stage in getattr(backbone.body, "feature_info", []) if stage["reduction"] == STRIDE]
    if has_tokens(backbone) or not stages:
        raise InputError(
            f"backbone '{backbone.name}' has no feature map of stride {STRIDE} to mix",
            f"pass --set mix={'tokens' if has_tokens(backbone) else 'pixels'}",
        )
    layer: nn.Module = backbone.body.get_submodule(stages[-1]["module"])
    return layer


@contextmanager
def mixed_at(layer: nn.Module, ratio: Ratio) -> Iterator[None]:
    """Inside ``with``, the layer's output of foregrounds and backgrounds becomes that of their mixtures."""

    def mix(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        foreground, background = output.chunk(2)
        rows, columns, layout = _grid(module, output)
        share = ratio((rows, columns)).to(output.dtype)
        if layout == "sequence":
            share = share.unsqueeze(2)
        else:
            share = share.view(len(share), 1, rows, columns)
            share = share if layout == "channels first" else share.permute(0, 2, 3, 1)
        return share * foreground + (1 - share) * background

    handle = layer.register_forward_hook(mix)
    try:
        yield
    finally:
        handle.remove()


def mixed_features(
    backbone: Backbone,
    where: str,
    foreground: Float[Tensor, "n c h w"],
    background: Float[Tensor, "n c h w"],
    ratio: Ratio,
) -> Float[Tensor, "n d"]:
    """Features of mixtures: both halves go through the layers before the mixing in one batch.

    Args:
        backbone: any timm network.
        where: see :func:`mixing_layer`.
        foreground: images in ``[0, 1]`` whose label is kept.
        background: as many others.
        ratio: the foregrounds' shares for a grid.

    Raises:
        InputError: the network has no such layer.
    """
    with mixed_at(mixing_layer(backbone, where), ratio):
        return backbone.body(backbone.normalise(torch.cat([foreground, background])))


def mixed_pixels(
    foreground: Float[Tensor, "n c h w"], background: Float[Tensor, "n c h w"], ratio: Ratio, patch: int
) -> Float[Tensor, "n c h w"]:
    """Mixes images patch by patch; the shares are spread over the pixels of their patches.

    Args:
        foreground: images whose label is kept.
        background: as many others.
        ratio: the shares for a grid.
        patch: side of a patch in pixels.
    """
    height, width = foreground.shape[2:]
    grid = max(1, height // patch), max(1, width // patch)
    share = ratio(grid).to(foreground.dtype).view(-1, 1, *grid)
    share = F.interpolate(share, (height, width), mode="nearest")
    return share * foreground + (1 - share) * background


def _grid(layer: nn.Module, output: Tensor) -> tuple[int, int, str]:
    """Rows and columns of a layer's output, and where its channels are."""
    if output.ndim == 3:
        grid: Any = layer.grid_size
        return int(grid[0]), int(grid[1]), "sequence"
    if str(getattr(layer, "output_fmt", "NCHW")).endswith("NHWC"):
        return output.shape[1], output.shape[2], "channels last"
    return output.shape[2], output.shape[3], "channels first"
