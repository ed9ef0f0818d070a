"""Square patches around boxes, placed at random.

"Lesion-based Contrastive Learning for Diabetic Retinopathy Grading from Fundus Images" (Huang et al., MICCAI 2021,
arXiv 2107.08274), section 2.2, and its code.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Placement = Literal["inside", "published"]


def patch_corners(
    boxes: Float[Tensor, "n 4"],
    size: tuple[int, int],
    side: int,
    draws: Float[Tensor, "n 2"],
    placement: Placement = "inside",
) -> Int[Tensor, "n 2"]:
    """Where the patches around boxes begin: left and top, in whole pixels.

    Args:
        boxes: left, top, right, bottom in pixels; no side longer than ``side``.
        size: height and width of the images.
        side: of the patches.
        draws: uniform in ``[0, 1)``, for left and top.
        placement: ``inside``: uniform among all places at which the patch contains the box and lies inside the image
            (where the image is smaller than the patch, from its first pixel on). ``published``: the rule of the release,
            which contains the box, but minds only the left and the top border of the image.
    """
    length = torch.tensor([size[1], size[0]], dtype=boxes.dtype, device=boxes.device)
    begin, end = boxes[:, :2], boxes[:, 2:]
    if placement == "published":
        extent, slack = end - begin, side - (end - begin)
        before = torch.floor(draws * torch.minimum(begin, slack))
        after = torch.floor(draws * torch.minimum(length - extent, slack))
        start = torch.where(begin < length - extent, begin - before, begin - (slack - after))
        return start.floor().long()
    low = torch.ceil(end - side).clamp_min(0)
    high = torch.minimum(begin.floor(), (length - side).clamp_min(0))
    high = torch.maximum(high, low)
    return (low + torch.floor(draws * (high - low + 1))).clamp_max(high).long()


def cut_patches(
    images: Float[Tensor, "b c h w"],
    corners: Int[Tensor, "n 2"],
    side: int,
    rows: Int[Tensor, "n"] | None = None,
) -> Float[Tensor, "n c side side"]:
    """One patch around each corner; what lies outside the image is black.

    Args:
        images: to cut from.
        corners: left and top of each patch; may lie outside the image.
        side: of the patches, in pixels.
        rows: which image each patch is of; by default there is one of each image.
    """
    device, height, width = images.device, images.shape[2], images.shape[3]
    steps, corners = torch.arange(side, device=device), corners.to(device)
    down, across = corners[:, 1, None] + steps, corners[:, 0, None] + steps
    index = torch.arange(len(corners), device=device) if rows is None else rows.to(device)
    found = images.permute(0, 2, 3, 1)[
        index[:, None, None],
        down.clamp(0, height - 1)[:, :, None],
        across.clamp(0, width - 1)[:, None, :],
    ]
    inside = ((down >= 0) & (down < height))[:, :, None] & ((across >= 0) & (across < width))[:, None, :]
    return torch.where(inside[..., None], found, 0).permute(0, 3, 1, 2)
