"""Boxes and points that move with their image, through the same chain of geometric steps.

They are measured in pixels from the image's outer edge: an image of width w reaches from 0 to w, and its first pixel
from 0 to 1. Steps count from pixel centres (see :mod:`modicum.transforms.geometry`), half a pixel less.

What a step cuts away stays cut away for the steps after it, as it does in the image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from modicum.transforms.geometry import Size, Stage

# In pixels. Less than this is rounding: a corner on the border is inside, and a box that is not wider is not visible.
_ROUNDING = 1e-6


def apply_stages_to_boxes(
    boxes: Float[Tensor, "batch boxes 4"], stages: Sequence[Stage]
) -> Float[Tensor, "batch boxes 4"]:
    """The smallest upright boxes around the visible part of each box.

    A box that is cut at the border of one step continues as its visible part, so that no later step brings back more of
    it than the image shows. Rotated boxes grow, as upright boxes around them must.

    Args:
        boxes: left, top, right, bottom; NaN for missing boxes.
        stages: geometric steps of these images.

    Returns:
        Boxes within the last step's output; NaN for those of which nothing is visible, and for missing ones.
    """
    if not stages or boxes.shape[1] == 0:
        return boxes
    left, top, right, bottom = _precise(boxes).unbind(2)
    x, y = torch.stack((left, right, right, left), 2), torch.stack((top, top, bottom, bottom), 2)
    corners = torch.stack((x, y), 3)
    inside = torch.isfinite(corners).flatten(2).all(2, keepdim=True).expand(x.shape)
    corners, inside = _cut(corners.nan_to_num(), inside, stages[0].source)
    for stage in stages:
        corners = _moved(corners, stage)
        if stage.edge != "exact":
            corners, inside = _cut(corners, inside, stage.target)
    height, width = stages[-1].target
    limit = torch.tensor([width, height], device=corners.device, dtype=corners.dtype)
    low = corners.masked_fill(~inside.unsqueeze(3), torch.inf).amin(2).clamp_min(0)
    high = torch.minimum(corners.masked_fill(~inside.unsqueeze(3), -torch.inf).amax(2), limit)
    gone = ~((high - low) > _ROUNDING).all(2, keepdim=True)
    return torch.cat((low, high), 2).masked_fill(gone, torch.nan).to(boxes)


def apply_stages_to_points(
    points: Float[Tensor, "batch points 2"], stages: Sequence[Stage]
) -> Float[Tensor, "batch points 2"]:
    """The positions of points after a chain of geometric steps.

    Args:
        points: x and y; NaN for missing points.
        stages: geometric steps of these images.

    Returns:
        Points within the last step's output; NaN for those that a step cut away, and for missing ones.
    """
    if not stages:
        return points
    moved = _precise(points)
    seen = _within(moved, stages[0].source)
    for stage in stages:
        moved = _moved(moved.unsqueeze(2), stage).squeeze(2)
        seen &= _within(moved, stage.target)
    return moved.masked_fill(~seen.unsqueeze(2), torch.nan).to(points)


def classes_of_seen(
    classes: Integer[Tensor, "batch boxes"], boxes: Float[Tensor, "batch boxes 4"]
) -> Integer[Tensor, "batch boxes"]:
    """The classes of boxes, -1 for missing boxes."""
    return classes.masked_fill(boxes.isnan().any(2), -1)


def _precise(values: Tensor) -> Tensor:
    return (values.cpu() if values.device.type == "mps" else values).double()  # Apple's GPUs have no float64


def _moved(coordinates: Float[Tensor, "batch items corners 2"], stage: Stage) -> Tensor:
    """Maps coordinates in a step's input to its output (the step's matrix maps outputs to inputs)."""
    matrix = torch.linalg.inv(stage.matrix).to(coordinates.device, coordinates.dtype)
    centred = coordinates - 0.5
    linear = torch.einsum("bij,bmcj->bmci", matrix[:, :2, :2], centred)
    return linear + matrix[:, None, None, :2, 2] + 0.5


def _within(points: Float[Tensor, "batch points 2"], size: Size) -> Bool[Tensor, "batch points"]:
    height, width = size
    x, y = points.unbind(2)
    least, right, bottom = -_ROUNDING, width + _ROUNDING, height + _ROUNDING
    return (x >= least) & (x <= right) & (y >= least) & (y <= bottom)


def _cut(
    corners: Float[Tensor, "batch items corners 2"], valid: Bool[Tensor, "batch items corners"], size: Size
) -> tuple[Float[Tensor, "batch items more 2"], Bool[Tensor, "batch items more"]]:
    """Clips convex outlines to an image: Sutherland and Hodgman (CACM 1974, 17, 32), one border at a time.

    Args:
        corners: in order around each outline.
        valid: which of them count: the first ones of each outline; an outline without any has been cut away.
        size: height and width of the image.
    """
    height, width = size
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        corners, valid = _cut_at(corners, valid, sign * (corners[..., axis] - limit))
    return corners, valid


def _cut_at(
    corners: Float[Tensor, "batch items corners 2"],
    valid: Bool[Tensor, "batch items corners"],
    depth: Float[Tensor, "batch items corners"],
) -> tuple[Float[Tensor, "batch items more 2"], Bool[Tensor, "batch items more"]]:
    """Clips outlines to where the depth is not negative; adds at most one corner."""
    last = valid.sum(2, keepdim=True) - 1
    follower = torch.arange(1, corners.shape[2] + 1, device=corners.device).expand(valid.shape)
    follower = torch.where(follower > last, 0, follower)  # the last corner is followed by the first
    next_corner = corners.gather(2, follower.unsqueeze(3).expand(corners.shape))
    next_depth = depth.gather(2, follower)
    inside, next_inside = depth >= -_ROUNDING, next_depth >= -_ROUNDING
    kept, crossed = valid & inside, valid & (inside != next_inside)
    share = (depth / (depth - next_depth)).masked_fill(~crossed, 0).unsqueeze(3)
    crossing = torch.lerp(corners, next_corner, share)
    # Each corner, then the point where the line from it to the next one meets the border.
    candidates = torch.stack((corners, crossing), 3).flatten(2, 3)
    counts = torch.stack((kept, crossed), 3).flatten(2, 3)
    order = counts.int().argsort(dim=2, descending=True, stable=True)[:, :, : corners.shape[2] + 1]
    return candidates.gather(2, order.unsqueeze(3).expand(*order.shape, 2)), counts.gather(2, order)
