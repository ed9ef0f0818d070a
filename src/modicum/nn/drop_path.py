"""Stochastic depth: residual branches of a vision transformer that are left out at random in training."""

from typing import Any

from torch import nn


def add_drop_path(body: Any, share: float) -> list[nn.Module]:
    """Leaves out branches of a plain vision transformer in training, in place.

    Block ``i`` of ``n`` leaves each of its two branches out of an image with probability ``share * i / (n - 1)``, and
    divides what it keeps by the probability of keeping (Huang et al., "Deep Networks with Stochastic Depth", ECCV
    2016; timm's ``drop_path_rate``).

    Args:
        body: the timm network.
        share: of the last block; 0 changes nothing.

    Returns:
        The new layers, which follow ``train()``.
    """
    from timm.layers import DropPath

    if share == 0:
        return []
    made: list[nn.Module] = []
    last = max(1, len(body.blocks) - 1)
    for place, block in enumerate(body.blocks):
        if place == 0:
            continue  # leaves out nothing
        block.drop_path1, block.drop_path2 = DropPath(share * place / last), DropPath(share * place / last)
        made += [block.drop_path1, block.drop_path2]
    return made
