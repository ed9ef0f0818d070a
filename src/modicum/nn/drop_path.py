"""Stochastic depth: drops residual branches of a vision transformer at random in training."""

from typing import Any

from torch import nn


def add_drop_path(body: Any, share: float) -> list[nn.Module]:
    """Adds stochastic depth to the residual branches of a plain vision transformer, in place.

    Block ``i`` of ``n`` drops each of its two branches for an image with probability ``share * i / (n - 1)``, and
    divides what it keeps by the probability of keeping (Huang et al., "Deep Networks with Stochastic Depth", ECCV
    2016; timm's ``drop_path_rate``).

    Args:
        body: the timm network.
        share: drop probability of the last block; 0 changes nothing.

    Returns:
        The new layers, which follow ``train()``.
    """
    from timm.layers import DropPath

    if share == 0:
        return []
    layers: list[nn.Module] = []
    last = max(1, len(body.blocks) - 1)
    for index, block in enumerate(body.blocks):
        if index == 0:
            continue  # its probability is 0
        block.drop_path1, block.drop_path2 = DropPath(share * index / last), DropPath(share * index / last)
        layers += [block.drop_path1, block.drop_path2]
    return layers
