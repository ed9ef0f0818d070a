"""From feature maps to maps of images, and from a map to one number."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Reduce = Literal["mean", "max", "top"]
"""How a map becomes a score: its mean, its largest value, or the mean of its largest percent."""
TOP_SHARE = 0.01


def reduce_map(anomaly: Float[Tensor, "b h w"], how: Reduce) -> Float[Tensor, "b"]:
    """The score of each map: ``mean``, ``max``, or ``top``, the mean of the largest percent of its values."""
    flat = anomaly.flatten(1)
    if how == "mean":
        return flat.mean(1)
    if how == "max":
        return flat.amax(1)
    return flat.topk(max(1, round(TOP_SHARE * flat.shape[1])), dim=1).values.mean(1)


def blurred(maps: Float[Tensor, "b h w"], sigma: float) -> Float[Tensor, "b h w"]:
    """A Gaussian blur, cut off after four standard deviations, with reflected borders (edges of small maps repeated).

    Agrees with ``scipy.ndimage.gaussian_filter(mode="mirror")`` where the image is larger than the kernel.
    """
    if sigma <= 0:
        return maps
    radius = int(4 * sigma + 0.5)
    reach = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (reach / sigma) ** 2)
    kernel = kernel / kernel.sum()
    out = maps[:, None]
    for axis in (2, 3):
        pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        mode = "reflect" if out.shape[axis] > radius else "replicate"
        out = functional.conv2d(functional.pad(out, pad, mode=mode), kernel.view(shape))
    return out[:, 0]


def upsampled(maps: Float[Tensor, "b h w"], size: tuple[int, int]) -> Float[Tensor, "b rows columns"]:
    """Bilinear, corners aligned, as the released code of reverse distillation does it."""
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=True)[:, 0]


def joined(
    maps: Sequence[Float[Tensor, "b _ _ _"]], size: tuple[int, int]
) -> Float[Tensor, "b channels rows columns"]:
    """Maps brought to one grid and laid on one another, channel after channel."""
    return torch.cat(
        [
            one
            if one.shape[-2:] == size
            else functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for one in maps
        ],
        1,
    )
