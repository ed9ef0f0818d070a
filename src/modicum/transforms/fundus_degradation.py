"""Makes fundus photographs worse as cameras and eyes do: uneven light, spots, blur; with parameters that can be replayed.

Shen et al., "Modeling and Enhancing Low-quality Retinal Fundus Images", IEEE TMI 2020 (arXiv 2005.05594), and its code.
Three kinds, always applied in the order illumination, spots, blur, then everything outside the field of view is black.
Lengths of the paper are those of images of 512 x 512 pixels; here they scale with the image.

>>> image = torch.rand(3, 64, 64)
>>> worse = draw_degradation(torch.Generator().manual_seed(0))
>>> same = Degradation.model_validate_json(worse.model_dump_json())
>>> torch.equal(degrade(image, worse), degrade(image, same))
True
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from modicum.errors import InputError
from modicum.transforms import photometric
from modicum.transforms.degradation_parameters import (
    COMBINATIONS,
    Degradation,
    Halo,
    Hole,
    Spot,
    draw_degradation,
    odd_width,
)

__all__ = ["COMBINATIONS", "Degradation", "degrade", "draw_degradation", "visible_field"]

Number = float | int
_DARK_MEAN = 0.25
"""Mean of an image up to which it gets no dark area."""
_LARGEST_SPOT = 0.05
"""Size of the largest spots, as a share of the height."""
_SEEN = 10 / 255
"""Level above which a pixel belongs to the field of view, after the image was stretched to 0..1."""


def degrade(
    image: Float[Tensor, "channels height width"],
    parameters: Degradation,
    mask: Bool[Tensor, "rows columns"] | None = None,
) -> Float[Tensor, "channels height width"]:
    """A degraded image, exactly 0 outside the field of view; the same for the same parameters.

    Args:
        image: in ``[0, 1]``, of 1 or 3 channels.
        parameters: what :func:`draw_degradation` drew, of an image of any size.
        mask: the field of view; found in the image by default.

    Raises:
        InputError: a mask of another size.
    """
    if mask is None:
        mask = visible_field(image[None])[0]
    if mask.shape != image.shape[1:]:
        raise InputError(
            f"the mask has {list(mask.shape)} pixels and the image {list(image.shape[1:])}",
            "give a mask of the image's size",
        )
    if (change := parameters.colour) is not None:
        for adjust, factor in (
            (photometric.adjust_brightness, change.brightness),
            (photometric.adjust_contrast, change.contrast),
            (photometric.adjust_saturation, change.saturation),
        ):
            image = adjust(image[None], torch.tensor([factor]))[0]
    if parameters.halo is not None:
        image = _with_halo(image, parameters.halo)
    if parameters.hole is not None:
        image = _with_hole(image, parameters.hole, mask)
    for spot in parameters.spots:
        image = _with_spot(image, spot, parameters.reference)
    if (blur := parameters.blur) is not None:
        scale = image.shape[1] / parameters.reference
        across, down = (scale * width for width in blur.kernel)
        image = _blurred(image, (across, down), scale * blur.sigma).clamp(0, 1)
    return image * mask


def visible_field(images: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b h w"]:
    """Where images show something: not the dark surround. A quick rule; dark places inside may be holes in it."""
    grey = images.mean(1)
    low, high = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
    seen = (grey - low) > _SEEN * (high - low)
    return seen | (high <= low)  # an even image is all field


def _with_halo(image: Tensor, halo: Halo) -> Tensor:
    height, width = image.shape[1:]
    x, y = halo.centre[0] * width, halo.centre[1] * height
    shorter = min(height, width)
    far = 2 * math.hypot(max(x, height - x), max(y, height - y)) / shorter
    inner = halo.inner * shorter
    outer = shorter * (1 + halo.outer * (far - 1))
    outer += abs(max(x - width / 2, y - height / 2) + max(width, height) / 2)
    ring = _disc(image, (x, y), outer / 2) ^ _disc(image, (x, y), inner / 2)
    kernel = odd_width(abs(2 * max(x, height - x, y, height - y) - inner))
    light = _blurred(ring[None] * image.mean(), (kernel, kernel), 2 / 3 * kernel)
    return (image + light * _as_channels(halo.colour, image)).clamp(0, 1)


def _with_hole(image: Tensor, hole: Hole, mask: Tensor) -> Tensor:
    height, width = image.shape[1:]
    mean = (image * mask).sum() / (mask.sum() * len(image)).clamp_min(1)
    amount = torch.where(mean > _DARK_MEAN, hole.depth - hole.slope * mean, torch.zeros_like(mean))
    diameter = hole.diameter * width
    disc = _disc(image, (hole.centre[0] * width, hole.centre[1] * height), diameter / 2)
    across, down = (odd_width(share * diameter) for share in hole.kernel)
    return (image + _blurred(disc[None] * amount, (across, down), 0.8 * max(across, down))).clamp(0, 1)


def _with_spot(image: Tensor, spot: Spot, reference: int) -> Tensor:
    height, width = image.shape[1:]
    radius = max(1, round(spot.size * _LARGEST_SPOT * height)) // 2
    centre = tuple(
        radius + share * (side - 1 - 2 * radius)
        for share, side in zip(spot.centre, (width, height), strict=True)
    )
    # The release divides by 25, which is the largest size at 512 pixels.
    level = 14 / 25 + 1 - spot.size
    level *= 1 - math.exp(-(0.5 + spot.size) * 0.3 * spot.size)
    sigma = 2 * (5 + 20 * spot.size) * height / reference
    across, down = (odd_width(share * sigma) for share in spot.kernel)
    disc = _disc(image, (round(centre[0]), round(centre[1])), radius)
    return (image + _blurred(disc[None] * level, (across, down), sigma)).clamp(0, 1)


def _disc(like: Tensor, centre: tuple[Number, Number], radius: Number) -> Bool[Tensor, "height width"]:
    """Pixels of an image that lie within a circle."""
    height, width = like.shape[-2:]
    across = torch.arange(width, device=like.device) - centre[0]
    down = torch.arange(height, device=like.device) - centre[1]
    return down[:, None] ** 2 + across[None] ** 2 <= radius**2


def _as_channels(colour: Sequence[float], image: Tensor) -> Tensor:
    values = torch.tensor(colour, device=image.device, dtype=image.dtype)
    return (values if len(image) == 3 else values.mean()[None])[:, None, None]


def _blurred(image: Tensor, widths: tuple[Number, Number], sigma: Number) -> Tensor:
    """Blurs by a Gaussian that is cut to a width across and one down; pixels that the cut halves count as a part."""
    planes = image[:, None]
    for width, shape in ((widths[0], (1, 1, 1, -1)), (widths[1], (1, 1, -1, 1))):
        kernel = _cut_gaussian(width, sigma, planes)
        reach = len(kernel) // 2
        if not reach:
            continue
        sides: tuple[int, int, int, int] = (reach, reach, 0, 0) if shape[3] == -1 else (0, 0, reach, reach)
        limit = planes.shape[3 if shape[3] == -1 else 2]
        mode: Literal["reflect", "replicate"] = "reflect" if reach < limit else "replicate"
        planes = functional.conv2d(functional.pad(planes, sides, mode=mode), kernel.view(shape))
    return planes[:, 0]


def _cut_gaussian(width: Number, sigma: Number, like: Tensor) -> Float[Tensor, "taps"]:
    """Odd whole widths have just so many taps; of others, the outermost count by their share."""
    reach = max(0, math.ceil(width / 2 - 0.5 - 1e-9))
    offset = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    covered = (width / 2 + 0.5 - offset.abs()).clamp(0, 1)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2) * covered
    return kernel / kernel.sum()
