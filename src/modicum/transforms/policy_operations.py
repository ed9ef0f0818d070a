"""The ten operations of AADG's search space on batches of 8-bit images, level for level as Pillow computes them.

Pillow works on one image at a time; here each function takes a batch, each image with its own parameter, on any
device. A policy found with one implementation means the same with the other: the results are equal, not close.

Levels are ``uint8`` [batch, channels, height, width], of 1 (grey) or 3 (RGB) channels; parameters are one number an
image.
"""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modicum.errors import InputError

Levels = UInt8[Tensor, "batch channels height width"]
PerImage = Float[Tensor, "batch"]

# What Cutout fills with.
GREY = 127


def to_levels(image: Float[Tensor, "batch channels height width"]) -> Levels:
    """Images in [0, 1] at the nearest of 256 levels.

    Raises:
        InputError: neither 1 nor 3 channels.
    """
    if image.shape[1] not in (1, 3):
        raise InputError(
            f"a policy is for images of 1 or 3 channels, these have {image.shape[1]}",
            "leave it out of the augmentation",
        )
    return (image * 255).round_().clamp_(0, 255).to(torch.uint8)


def autocontrast(levels: Levels) -> Levels:
    """Stretches each channel's range to 0..255; a flat channel stays."""
    lowest, highest = (find(levels.flatten(2), 2).double() for find in (torch.amin, torch.amax))
    flat = highest <= lowest
    span = (highest - lowest).clamp_min(1)
    # A tensor over a tensor: of a number over a tensor, PyTorch takes the reciprocal first, which rounds once more.
    scale = torch.where(flat, 1.0, torch.full_like(span, 255) / span).unsqueeze(2)
    shift = torch.where(flat, 0.0, -lowest).unsqueeze(2) * scale
    table = torch.arange(256, device=levels.device, dtype=torch.float64) * scale + shift
    return _look_up(table.trunc().clamp_(0, 255).to(torch.uint8), levels)


def invert(levels: Levels) -> Levels:
    """Inverts each level: ``255 - level``."""
    return 255 - levels


def equalize(levels: Levels) -> Levels:
    """Spreads each channel's histogram evenly; a channel whose histogram is too small for that stays."""
    counts = histograms(levels)
    # The share of the highest level that occurs is left out, so that this level comes to 255.
    last = counts.gather(2, levels.flatten(2).amax(2, keepdim=True).long())
    step = (counts.sum(2, keepdim=True) - last).div(255, rounding_mode="floor")
    below = counts.cumsum(2) - counts
    spread = (below + step // 2).div(step.clamp_min(1), rounding_mode="floor").clamp_(max=255)
    stays = torch.arange(256, device=levels.device)
    return _look_up(torch.where(step > 0, spread, stays).to(torch.uint8), levels)


def solarize(levels: Levels, threshold: PerImage) -> Levels:
    """Inverts the levels from ``threshold`` (0..256) on."""
    first = threshold.ceil()
    # No level is as high as 256, and uint8 cannot hold it.
    flipped = _per_image(((first <= 255) * 255).to(torch.uint8), levels)
    reached = levels >= _per_image(first.clamp_max(255).to(torch.uint8), levels)
    return levels ^ (reached * flipped)


def posterize(levels: Levels, bits: PerImage) -> Levels:
    """Keeps the highest ``bits`` (cut to a whole number, 0..8) of each level."""
    kept = 256 - 2 ** (8 - bits.to(torch.int64))
    return levels & _per_image(kept.to(torch.uint8), levels)


def contrast(levels: Levels, factor: PerImage) -> Levels:
    """Scales the distance from the image's mean grey level, rounded to a whole one."""
    grey = grey_levels(levels).flatten(1)
    pixels = grey.shape[1]
    mean = (2 * grey.sum(1) + pixels).div(2 * pixels, rounding_mode="floor")
    return _blend(_per_image(mean, levels), levels, factor)


def color(levels: Levels, factor: PerImage) -> Levels:
    """Scales each pixel's distance from its own grey level. Grey images stay."""
    return levels if levels.shape[1] == 1 else _blend(grey_levels(levels), levels, factor)


def brightness(levels: Levels, factor: PerImage) -> Levels:
    """Multiplies each level."""
    return _blend(torch.zeros((), device=levels.device), levels, factor)


def sharpness(levels: Levels, factor: PerImage) -> Levels:
    """Scales the distance from the image smoothed by ``[1 1 1; 1 5 1; 1 1 1] / 13``; the border stays."""
    smooth = levels.clone()
    if min(levels.shape[2:]) >= 3:
        wide = levels.to(torch.int16)
        rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
        around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        sums = around.add_(wide[:, :, 1:-1, 1:-1], alpha=4)
        # A whole number over 13 is never near a half: float32 rounds as Pillow does.
        smooth[:, :, 1:-1, 1:-1] = (sums.float() / 13).add_(0.5).to(torch.uint8)
    return _blend(smooth, levels, factor)


def cutout_boxes(
    centre: Float[Tensor, "batch 2"], share: PerImage, size: tuple[int, int]
) -> Int64[Tensor, "batch 4"]:
    """The pixels that Cutout covers: left, top, and right and bottom, which are inside.

    A square over the left or upper border is shifted into the image, one over the others is cut, and since Pillow
    draws its end too, the side is one pixel longer than the share. All -1 where the share is 0.

    Args:
        centre: x and y in [0, 1) of width and height; on the CPU.
        share: side of the square as a share of the width; on the CPU.
        size: height and width of the images.
    """
    height, width = size
    limits = torch.tensor([width, height], dtype=torch.float64)
    side = (share.double() * width).unsqueeze(1)
    start = (centre.double() * limits - side / 2).clamp_min(0).floor()
    end = torch.minimum(start + side, limits).floor()
    return torch.cat((start, end), 1).masked_fill(side <= 0, -1).long()


def inside_boxes(boxes: Int64[Tensor, "batch 4"], size: tuple[int, int], device: torch.device) -> Tensor:
    """Which pixels boxes (see :func:`cutout_boxes`) cover: bool [batch, 1, height, width]."""
    left, top, right, bottom = boxes.to(device).view(-1, 4, 1, 1, 1).unbind(1)
    x = torch.arange(size[1], device=device)
    y = torch.arange(size[0], device=device).unsqueeze(1)
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def cutout(levels: Levels, boxes: Int64[Tensor, "batch 4"]) -> Levels:
    """Fills each image's box with middle grey."""
    height, width = levels.shape[2:]
    return levels.masked_fill(inside_boxes(boxes, (height, width), levels.device), GREY)


def grey_levels(levels: Levels) -> Int64[Tensor, "batch 1 height width"] | Tensor:
    """ITU-R BT.601 luma in Pillow's fixed-point arithmetic, as int32."""
    wide = levels.to(torch.int32)
    if levels.shape[1] == 1:
        return wide
    red, green, blue = wide.split(1, 1)
    return (red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(0x8000) >> 16


def histograms(levels: Levels) -> Int64[Tensor, "batch channels 256"]:
    """Number of pixels of each level in each channel."""
    batch, channels = levels.shape[:2]
    planes = torch.arange(batch * channels, device=levels.device).view(batch, channels, 1)
    cells = (levels.flatten(2) + 256 * planes).flatten()
    # Its size does not depend on values, so that a memory prediction can follow it; and quicker than a bincount.
    counts = torch.zeros(256 * batch * channels, dtype=torch.int64, device=levels.device)
    ones = torch.ones((), dtype=torch.int64, device=levels.device).expand_as(cells)
    return counts.scatter_add_(0, cells, ones).view(batch, channels, 256)


def _per_image(values: Tensor, levels: Tensor) -> Tensor:
    return values.to(levels.device).view(-1, 1, 1, 1)


def _look_up(table: UInt8[Tensor, "batch channels 256"], levels: Levels) -> Levels:
    return table.gather(2, levels.flatten(2).long()).view(levels.shape)


def _blend(origin: Tensor, levels: Levels, factor: PerImage) -> Levels:
    """``origin + factor * (levels - origin)`` in float32, cut to 0..255, fractions dropped."""
    # A product, then a sum: a fused multiply-add would round once instead of twice, and differ from Pillow.
    moved = (levels.float() - origin) * _per_image(factor.float(), levels)
    return moved.add_(origin).clamp_(0, 255).to(torch.uint8)
