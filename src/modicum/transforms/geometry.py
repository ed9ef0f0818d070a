"""Geometry of a batch: any chain of flips, crops, turns and shifts, read from the image in one interpolation.

Each step of a chain is a :class:`Stage`: for every image an affine map from the step's output pixels back to
its input pixels. The maps are composed (float64, on the CPU), so an image is interpolated once however long
the chain is, and what a step cuts away stays cut away for the steps after it, as if they had been run one by
one.

Coordinates are pixel indices (x to the right, y down), with pixel centres at whole numbers: an image of width
w covers x from -0.5 to w - 0.5. Sizes are (height, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]


@dataclass(frozen=True)
class Stage:
    """One geometric step for a batch of images.

    Attributes:
        matrix: maps output pixels (x, y, 1) to input pixels; on the CPU.
        source: size of the step's input.
        target: size of the step's output.
        edge: the values outside the input: ``fill`` black (0), ``clamp`` the window's border pixels repeated,
            or ``exact`` if no output pixel is outside and none needs interpolation (flips).
        window: for ``clamp``, the part of the input that may be read: left, top, width, height.
    """

    matrix: Float64[Tensor, "batch 3 3"]
    source: Size
    target: Size
    edge: Literal["exact", "fill", "clamp"]
    window: Float64[Tensor, "batch 4"] | None = None

    def take(self, chosen: Int64[Tensor, "chosen"]) -> "Stage":
        """The same step for some of the images."""
        window = None if self.window is None else self.window[chosen]
        return Stage(self.matrix[chosen], self.source, self.target, self.edge, window)


def _scale_and_shift(
    scale_x: Float64[Tensor, "batch"],
    shift_x: Float64[Tensor, "batch"],
    scale_y: Float64[Tensor, "batch"],
    shift_y: Float64[Tensor, "batch"],
) -> Float64[Tensor, "batch 3 3"]:
    matrix = torch.zeros(len(scale_x), 3, 3, dtype=torch.float64)
    matrix[:, 0, 0], matrix[:, 0, 2] = scale_x, shift_x
    matrix[:, 1, 1], matrix[:, 1, 2] = scale_y, shift_y
    matrix[:, 2, 2] = 1
    return matrix


def flip_stage(horizontal: Bool[Tensor, "batch"], vertical: Bool[Tensor, "batch"], size: Size) -> Stage:
    """Mirrors the chosen images left to right, top to bottom, or both."""
    height, width = size
    mirrored_x, mirrored_y = horizontal.double(), vertical.double()
    matrix = _scale_and_shift(
        1 - 2 * mirrored_x, (width - 1) * mirrored_x, 1 - 2 * mirrored_y, (height - 1) * mirrored_y
    )
    return Stage(matrix, size, size, "exact")


def rotation_stage(degrees: Float64[Tensor, "batch"], size: Size) -> Stage:
    """Rotates each image about its centre, positive degrees counter-clockwise; uncovered corners are black."""
    height, width = size
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    matrix = _scale_and_shift(cos, centre_x - cos * centre_x + sin * centre_y, cos, torch.zeros_like(cos))
    matrix[:, 0, 1], matrix[:, 1, 0] = -sin, sin
    matrix[:, 1, 2] = centre_y - sin * centre_x - cos * centre_y
    return Stage(matrix, size, size, "fill")


def translation_stage(right: Float64[Tensor, "batch"], down: Float64[Tensor, "batch"], size: Size) -> Stage:
    """Shifts each image by pixels to the right and down; the uncovered margin is black."""
    one = torch.ones_like(right)
    return Stage(_scale_and_shift(one, -right, one, -down), size, size, "fill")


def zoom_stage(factor: Float64[Tensor, "batch"], size: Size) -> Stage:
    """Zooms each image about its centre (2 = twice as large); below 1 the uncovered margin is black."""
    height, width = size
    step = 1 / factor
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    matrix = _scale_and_shift(step, centre_x - centre_x * step, step, centre_y - centre_y * step)
    return Stage(matrix, size, size, "fill")


def crop_stage(window: Float64[Tensor, "batch 4"], source: Size, target: Size) -> Stage:
    """Crops each image's window (left, top, width, height, in pixels) and resizes it to the target size."""
    left, top, width, height = window.unbind(1)
    step_x, step_y = width / target[1], height / target[0]
    matrix = _scale_and_shift(step_x, left + step_x / 2 - 0.5, step_y, top + step_y / 2 - 0.5)
    return Stage(matrix, source, target, "clamp", window)


def resize_stage(count: int, source: Size, target: Size) -> Stage:
    """Resizes ``count`` whole images to the target size."""
    whole = torch.tensor([[0.0, 0.0, source[1], source[0]]], dtype=torch.float64).expand(count, 4)
    return crop_stage(whole, source, target)


def apply_stages(
    image: Float[Tensor, "batch channels height width"], stages: Sequence[Stage]
) -> Float[Tensor, "batch channels new_height new_width"]:
    """Runs a chain of geometric steps, with one interpolation in all.

    Flips alone are exact. A change of the whole image's size alone is an antialiased bilinear resize.
    Everything else is read bilinearly; an image that the chain shrinks by 2 or more is first averaged over
    blocks of 2, 4, ... pixels, so that less than a factor of 2 is left to the interpolation (small lesions
    fade and do not flicker). An image that no step moves is returned as it was, bit for bit.
    """
    if not stages:
        return image
    if not all(stage.edge == "exact" or _is_plain_resize(stage) for stage in stages):
        return _warp(image, stages, nearest=False)
    for stage in stages:
        image = _flip(image, [stage]) if stage.edge == "exact" else resize(image, stage.target)
    return image


def apply_stages_to_mask(mask: Shaped[Tensor, "batch *shape"], stages: Sequence[Stage]) -> Tensor:
    """The same steps for masks, [batch, height, width] or [batch, channels, height, width] of any dtype.

    Masks are read at the nearest pixel, so that no new values appear; outside is 0.
    Values must be exact in float32 (class numbers below 2**24).
    """
    if not stages:
        return mask
    planes = mask.unsqueeze(1) if mask.ndim == 3 else mask
    if all(stage.edge == "exact" for stage in stages):
        moved = _flip(planes, stages)
    else:
        moved = _warp(planes.float(), stages, nearest=True).to(mask.dtype)
    return moved.squeeze(1) if mask.ndim == 3 else moved


def resize(
    image: Float[Tensor, "batch channels height width"], size: Size
) -> Float[Tensor, "batch channels new_height new_width"]:
    """Bilinear resize to (height, width), antialiased where it shrinks: what evaluation uses."""
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)


def _is_plain_resize(stage: Stage) -> bool:
    if stage.window is None:
        return False
    whole = torch.tensor([0.0, 0.0, stage.source[1], stage.source[0]], dtype=torch.float64)
    return bool((stage.window == whole).all())


def _flip(planes: Shaped[Tensor, "batch channels height width"], stages: Sequence[Stage]) -> Tensor:
    matrix = _compose(stages)
    flipped = planes
    for axis, diagonal in ((-1, matrix[:, 0, 0]), (-2, matrix[:, 1, 1])):
        chosen = (diagonal < 0).nonzero().flatten().to(planes.device)
        if len(chosen):
            flipped = flipped.index_copy(0, chosen, flipped[chosen].flip(axis))
    return flipped


def _compose(stages: Sequence[Stage]) -> Float64[Tensor, "batch 3 3"]:
    composed = stages[-1].matrix
    for stage in reversed(stages[:-1]):
        composed = stage.matrix @ composed
    return composed


def _warp(
    image: Float[Tensor, "batch channels height width"], stages: Sequence[Stage], nearest: bool
) -> Float[Tensor, "batch channels new_height new_width"]:
    same_size = tuple(image.shape[-2:]) == stages[-1].target
    still = torch.full((len(image),), same_size)
    for stage in stages:
        still &= (stage.matrix == torch.eye(3, dtype=torch.float64)).flatten(1).all(1)
    composed = _compose(stages)
    shrink = torch.linalg.det(composed[:, :2, :2]).abs().sqrt()
    # The small excess keeps a shrink of exactly 2, 4, ... at its level in spite of rounding.
    level = torch.zeros_like(shrink) if nearest else (shrink.log2() + 1e-6).floor().clamp_min(0)
    level[still] = -1

    warped = image.new_empty(image.shape[:2] + stages[-1].target)
    for value in level.unique().tolist():
        chosen = (level == value).nonzero().flatten()
        part = image if len(chosen) == len(image) else image[chosen.to(image.device)]
        if value >= 0:
            part = _sample(part, [stage.take(chosen) for stage in stages], 2 ** int(value), nearest)
        if len(chosen) == len(image):
            return part
        warped[chosen.to(image.device)] = part
    return warped


def _sample(
    image: Float[Tensor, "batch channels height width"], stages: Sequence[Stage], block: int, nearest: bool
) -> Float[Tensor, "batch channels new_height new_width"]:
    x, y, weight = _reading_points(stages, image.device, nearest)
    if block > 1:
        image = functional.avg_pool2d(image, block, ceil_mode=True, count_include_pad=False)
    grid = torch.empty((len(image), *stages[-1].target, 2), device=image.device)
    for axis, (position, extent) in enumerate(((x, image.shape[-1]), (y, image.shape[-2]))):
        # Pixel j of the averaged image is centred on block * j + (block - 1) / 2, and grid_sample counts from
        # -1 to 1 between the outer borders: (2 j + 1) / extent - 1.
        shift = torch.full((), 1 / (block * extent) - 1, device=image.device)
        torch.add(shift, position.expand(grid.shape[:3]), alpha=2 / (block * extent), out=grid[..., axis])
    mode = "nearest" if nearest else "bilinear"
    read = functional.grid_sample(
        image, grid.to(image.dtype), mode=mode, padding_mode="border", align_corners=False
    )
    return read if weight is None else read.mul_(weight.to(image.dtype).unsqueeze(1))


def _reading_points(
    stages: Sequence[Stage], device: torch.device, nearest: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Where each output pixel is read, as x and y in the first input, and how much of it was always inside.

    All three are float32 and broadcast to [batch, new_height, new_width]; no third one means all inside.
    """
    height, width = stages[-1].target
    start_x = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, width)
    start_y = torch.arange(height, device=device, dtype=torch.float32).view(1, height, 1)
    x, y = start_x, start_y
    matrix: Tensor | None = None
    weight: Tensor | None = None
    for stage in reversed(stages):
        matrix = stage.matrix if matrix is None else stage.matrix @ matrix
        if stage.edge == "exact":
            continue
        x, y = _map_points(matrix, start_x, start_y)
        if stage.edge == "fill":
            inside = _inside(x, stage.source[1], nearest) * _inside(y, stage.source[0], nearest)
            weight = inside if weight is None else inside * weight
        elif stage.window is not None:
            left, top, wide, high = stage.window.float().to(device).view(-1, 4, 1, 1).unbind(1)
            start_x, start_y = x.clamp_(left, left + wide - 1), y.clamp_(top, top + high - 1)
            matrix = None
    if matrix is not None:
        x, y = _map_points(matrix, start_x, start_y)
    return x, y, weight


def _map_points(matrix: Float64[Tensor, "batch 3 3"], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    a, b, c, d, e, f = matrix[:, :2].reshape(-1, 6).float().to(x.device).view(-1, 6, 1, 1).unbind(1)
    # Without a turn, rows and columns stay apart and the points need not be spread out over the plane.
    turned = bool(matrix[:, 0, 1].any()) or bool(matrix[:, 1, 0].any())
    if not turned:
        return a * x + c, e * y + f
    return a * x + (b * y + c), d * x + (e * y + f)


def _inside(position: Tensor, extent: int, nearest: bool) -> Tensor:
    """The share of a pixel inside 0..extent-1, as in bilinear interpolation with a black margin."""
    distance = (position - (extent - 1) / 2).abs_()
    if nearest:
        return (distance <= extent / 2).float()
    return distance.neg_().add_((extent + 1) / 2).clamp_(0, 1)
