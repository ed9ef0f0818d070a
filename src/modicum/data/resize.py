"""Resizes an image to a fixed size, with antialiasing."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32
from PIL import Image

Filter = Literal["area", "bilinear", "bicubic", "lanczos", "nearest"]
Fit = Literal["stretch", "pad", "crop"]
FILTERS: tuple[str, ...] = get_args(Filter)
FITS: tuple[str, ...] = get_args(Fit)

_PILLOW = {
    "area": Image.Resampling.BILINEAR,  # only if a side grows: there is no mean over less than a pixel
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
_OVERSHOOTING = ("bicubic", "lanczos")


def resized(
    pixels: Float32[np.ndarray, "channels height width"], height: int, width: int, filter: Filter = "area"
) -> Float32[np.ndarray, "channels {height} {width}"]:
    """Stretches an image to ``height`` x ``width``; the aspect ratio is not kept.

    Args:
        pixels: values in [0, 1].
        height: height of the result.
        width: width of the result.
        filter: ``area``, the mean over the exact area of a new pixel (OpenCV; bilinear if a side
            grows); ``bilinear`` and ``bicubic``, antialiased as in Pillow and torchvision; ``lanczos``, the
            sharpest; ``nearest``, for label values, which must not be mixed. ``bicubic`` and ``lanczos``
            overshoot at edges and are clipped to [0, 1].
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
    return np.clip(result, 0, 1, out=result) if filter in _OVERSHOOTING else result


def fitted(
    pixels: Float32[np.ndarray, "channels height width"],
    height: int,
    width: int,
    fit: Fit = "stretch",
    filter: Filter = "area",
) -> Float32[np.ndarray, "channels {height} {width}"]:
    """Resizes an image to ``height`` x ``width`` by stretching, padding or cropping.

    Args:
        pixels: values in [0, 1].
        height: height of the result.
        width: width of the result.
        fit: ``stretch`` both sides to the new size (the aspect ratio is not kept, as in the published methods);
            ``pad`` with black, centred, after resizing to fit inside; ``crop`` the centre with the
            target aspect ratio, then resize.
        filter: see :func:`resized`.
    """
    old_height, old_width = pixels.shape[1:]
    if fit == "stretch":
        return resized(pixels, height, width, filter)
    if fit == "crop":
        # The region to keep, in whole pixels of the old image: at most half a pixel off the exact ratio.
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
