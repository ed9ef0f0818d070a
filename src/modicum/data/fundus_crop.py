"""Crops a fundus photograph to the round field of view.

The rule originates in Kaggle's diabetic retinopathy competition and is used in "Identifying the key
components in ResNet-50 for diabetic retinopathy grading" (arXiv 2110.14160). It is meant for landscape
photographs on a dark background: the bounding box of pixels brighter than the strips at the left and right edge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageFilter

from modicum.data.grey_levels import quantised

# A box whose shorter side is less than this share of the image's height is a reflex or a text, not the fundus.
SMALLEST_SHARE = 0.8
_WIDE = 1.2
_LEVELS_ABOVE_GROUND = 10


class Box(NamedTuple):
    """A part of an image in pixels; right and bottom are the first column and row outside."""

    left: int
    top: int
    right: int
    bottom: int


def fundus_box(pixels: Shaped[np.ndarray, "channels height width"]) -> Box:
    """The bounding box of the field of view.

    If the image is not clearly landscape (width over 1.2 heights), or no field of plausible size is found,
    the box is the centre square (one pixel wider than high if width minus height is odd); a portrait image
    stays whole.

    An image that was decoded at a reduced scale gives the same box, scaled, to within about three pixels of
    the reduced image: the rule blurs over 5 x 5 pixels at any scale.

    Args:
        pixels: grey or colour, uint8 or float in [0, 1].
    """
    height, width = pixels.shape[1:]
    box = _lit_box(pixels) if width > _WIDE * height else None
    if box is not None:
        smallest = SMALLEST_SHARE * height
        if box.right - box.left >= smallest and box.bottom - box.top >= smallest:
            return box
    margin = (width - height) // 2
    return Box(max(margin, 0), 0, min(width - margin, width), height)


def crop_fundus(
    pixels: Shaped[np.ndarray, "channels height width"],
) -> Shaped[np.ndarray, "channels cropped_height cropped_width"]:
    """The part of the image inside :func:`fundus_box`, as a view."""
    left, top, right, bottom = fundus_box(pixels)
    return pixels[:, top:bottom, left:right]


def _lit_box(pixels: Shaped[np.ndarray, "channels height width"]) -> Box | None:
    blurred = _blurred(_as_bytes(pixels))
    strip = max(1, blurred.shape[1] // 32)  # the published rule has no strip below 32 columns
    edges = np.concatenate([blurred[:, :strip], blurred[:, -strip:]], axis=1)
    ground = edges.max(axis=(0, 1)).astype(np.int16)
    lit = (blurred > ground + _LEVELS_ABOVE_GROUND).any(axis=2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not rows.size:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _as_bytes(
    pixels: Shaped[np.ndarray, "channels height width"],
) -> UInt8[np.ndarray, "channels height width"]:
    return pixels if pixels.dtype == np.uint8 else quantised(pixels)


def _blurred(
    pixels: UInt8[np.ndarray, "channels height width"],
) -> UInt8[np.ndarray, "height width channels"]:
    # Pillow's BLUR: the mean of the 16 outer pixels of a 5 x 5 square; two rows and columns at each border of
    # the image are unchanged.
    planes = [np.asarray(Image.fromarray(plane).filter(ImageFilter.BLUR)) for plane in pixels]
    return np.stack(planes, axis=2)
