"""Losses of registration: similarity of the warped image, and smoothness of the field.

Kong et al., "Breaking the Dilemma of Medical Image-to-image Translation", NeurIPS 2021, arXiv 2110.06465,
section 3. The displacement field is that of :func:`modicum.nn.warp`.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def correction_loss(
    moved: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
    weight: Float[Tensor, "batch channels height width"] | None = None,
) -> Float[Tensor, ""]:
    """Mean absolute difference between a warped image and the misaligned target.

    Args:
        moved: the translated image, warped by the predicted field.
        target: the image it should match.
        weight: weight of each pixel, not all 0; None for equal weights.
    """
    difference = (moved - target).abs()
    dtype = torch.promote_types(difference.dtype, torch.float32)
    if weight is None:
        return difference.mean(dtype=dtype)
    return (weight * difference).sum(dtype=dtype) / weight.sum(dtype=dtype)


def foreground_weight(
    target: Float[Tensor, "batch channels height width"], background: float, outside: float
) -> Float[Tensor, "batch channels height width"]:
    """Pixel weights: 1 in the foreground of images, ``outside`` in the background.

    Args:
        target: images whose background has one exact value in every channel.
        background: that value.
        outside: the weight of background pixels.
    """
    around = (target == background).all(1, keepdim=True).expand_as(target)
    return torch.where(around, outside, 1.0).to(target.dtype)


def smoothness_loss(field: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, ""]:
    """Mean squared difference of a displacement field between rows, plus that between columns.

    Each mean is over its own differences and both components. Translations cost nothing; a rotation by an angle
    ``a`` costs ``2 (1 - cos a)`` and a scaling by ``1 + s`` costs ``s^2``, whatever the image's size.

    Args:
        field: displacements in pixels, at least 2 rows and 2 columns.

    >>> rows = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 1, 5, 4)
    >>> columns = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 5, 4)
    >>> round(smoothness_loss(0.06 * torch.cat([rows, columns], 1)).item(), 6)
    0.0036
    """
    field = field.to(torch.promote_types(field.dtype, torch.float32))  # squares of bfloat16 would be rounded
    return field.diff(dim=2).square().mean() + field.diff(dim=3).square().mean()
