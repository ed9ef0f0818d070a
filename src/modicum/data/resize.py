"""Resizing of one image to a fixed size, with antialiasing."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32
from PIL import Image

Filter = Literal["area", "bilinear", "lanczos", "nearest"]
Fit = Literal["stretch", "pad", "crop"]
FILTERS: tuple[str, ...] = get_args(Filter)
FITS: tuple[str, ...] = get_args(Fit)

_PILLOW = {
    "area": Image.Resampling.BILINEAR,  # only where a side grows: the mean over less than a pixel is no use
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def resized(
    pixels: Float32[np.ndarray, "channels height width"], height: int, width: int, filter: Filter = "area"
) -> Float32[np.ndarray, "channels {height} {width}"]:
    """Stretches an image to ``height`` x ``width``; the aspect ratio is not kept.

    Args:
        pixels: values in [0, 1].
        height: of the result.
        width: of the result.
        filter: ``area``, the mean over the exact area that a new pixel covers (OpenCV; bilinear where a side
            grows); ``bilinear``, antialiased as torchvision does by default; ``lanczos``, the sharpest, which
            overshoots at edges: what leaves [0, 1] is cut off; ``nearest``, for codes, which must not be mixed.
    """
    old_height, old_width = pixels.shape[1:]
    if (old_height, old_width) == (height, width):
        return pixels
    if filter == "area" and height <= old_height and width <= old_width:
        import cv2

        planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in pixels]
    else:
        kind = _PILLOW[filter]
        planes = [np.asarray(Image.fromarray(plane).resize((width, height), kind)) for plane in pixels]
    result = np.stack(planes).astype(np.float32, copy=False)
    return np.clip(result, 0, 1, out=result) if filter == "lanczos" else result


def fitted(
    pixels: Float32[np.ndarray, "channels height width"],
    height: int,
    width: int,
    fit: Fit = "stretch",
    filter: Filter = "area",
) -> Float32[np.ndarray, "channels {height} {width}"]:
    """Brings an image to ``height`` x ``width``.

    Args:
        pixels: values in [0, 1].
        height: of the result.
        width: of the result.
        fit: ``stretch`` both sides to the new size (the aspect ratio is not kept: what the published methods
            do); ``pad`` with black, centred, after the image was made to fit in; ``crop`` the centre part of
            the wanted aspect ratio, then resize.
        filter: see :func:`resized`.
    """
    old_height, old_width = pixels.shape[1:]
    if fit == "stretch":
        return resized(pixels, height, width, filter)
    if fit == "crop":
        # The part to keep, in whole pixels of the old image: at most half a pixel off the exact ratio.
        keep_height = min(old_height, max(1, round(old_width * height / width)))
        keep_width = min(old_width, max(1, round(old_height * width / height)))
        top, left = (old_height - keep_height) // 2, (old_width - keep_width) // 2
        part = pixels[:, top : top + keep_height, left : left + keep_width]
        return resized(np.ascontiguousarray(part), height, width, filter)
    scale = min(height / old_height, width / old_width)
    inner_height = min(height, max(1, round(old_height * scale)))
    inner_width = min(width, max(1, round(old_width * scale)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    result = np.zeros((pixels.shape[0], height, width), dtype=np.float32)
    inner = resized(pixels, inner_height, inner_width, filter)
    result[:, top : top + inner_height, left : left + inner_width] = inner
    return result
