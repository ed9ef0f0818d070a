"""CutPaste: a rectangle of an image pasted elsewhere in it, as an anomaly that looks like nothing in particular.

Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization" (CVPR 2021), section 2.2 and
appendix A; sizes of scars are those of images of 256 pixels.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from modicum.transforms.photometric import color_jitter
from modicum.transforms.windows import log_uniform, uniform

AREA, ASPECT = (0.02, 0.15), (0.3, 1 / 0.3)
SCAR_WIDTH, SCAR_LENGTH, SIDE = (2.0, 16.0), (10.0, 25.0), 256
JITTER = 0.1


def cut_paste(
    images: Float[Tensor, "b c h w"], generator: torch.Generator, scar: bool = False
) -> Float[Tensor, "b c h w"]:
    """Each image with a part of itself, recoloured, at a random place.

    Args:
        images: in ``[0, 1]``.
        generator: on the CPU.
        scar: a thin turned rectangle, rather than a patch of 2 to 15 % of the area.
    """
    count, _, height, width = images.shape
    if scar:
        unit = min(height, width) / SIDE
        extent = torch.stack(
            [uniform(count, SCAR_WIDTH, generator), uniform(count, SCAR_LENGTH, generator)], 1
        )
        extent = extent * unit
        angle = uniform(count, (-45.0, 45.0), generator)
    else:
        root = (uniform(count, AREA, generator) * height * width).sqrt()
        stretch = log_uniform(count, ASPECT, generator).sqrt()
        extent = torch.stack([root * stretch, root / stretch], 1)
        angle = torch.zeros(count, dtype=torch.float64)
    limit = torch.tensor([width, height])
    # A scar of one pixel would vanish when it is turned.
    extent = torch.minimum(extent.round().long().clamp_min(2), limit)
    corner, place = (
        torch.floor(uniform(count, (0.0, 1.0), generator, 2) * (limit - extent + 1)).long() for _ in range(2)
    )
    factors = 1 + uniform(count, (-JITTER, JITTER), generator, 4)
    factors[:, 3] -= 1  # a shift of the hue
    order = torch.arange(4 if images.shape[1] == 3 else 2).repeat(count, 1)
    made = images.clone()
    for index in range(count):
        (wide, high), (left, top) = extent[index].tolist(), corner[index].tolist()
        patch = images[index : index + 1, :, top : top + high, left : left + wide]
        patch = color_jitter(patch, factors[index : index + 1], order[index : index + 1])
        _put(made[index], patch[0], place[index].tolist(), float(angle[index]))
    return made


def _put(image: Tensor, patch: Tensor, place: list[int], degrees: float) -> None:
    """Puts a patch into an image, in place, turned about its middle; what lies beyond the image is cut off."""
    alpha = torch.ones_like(patch[:1])
    left, top = place
    if degrees:
        patch, alpha = _turned(patch, degrees)
    high, wide = patch.shape[1:]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(image.shape[2], left + wide), min(image.shape[1], top + high)
    if x1 <= x0 or y1 <= y0:
        return
    part = (slice(None), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    where = (slice(None), slice(y0, y1), slice(x0, x1))
    image[where] = torch.where(alpha[part] > 0.5, patch[part], image[where])


def _turned(patch: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """A patch turned on a canvas that holds it, and where on the canvas it is."""
    _, high, wide = patch.shape
    side = math.ceil(math.hypot(high, wide))
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = torch.tensor(
        [
            [cosine * side / wide, sine * side / wide, 0.0],
            [-sine * side / high, cosine * side / high, 0.0],
        ],
        dtype=patch.dtype,
        device=patch.device,
    )
    grid = F.affine_grid(turn[None], [1, 1, side, side], align_corners=False)
    framed = torch.cat([patch, torch.ones_like(patch[:1])])[None]
    turned = F.grid_sample(framed, grid, align_corners=False)[0]
    return turned[:-1] / turned[-1:].clamp_min(1e-6), turned[-1:]
