"""Converts colours to grey, and quantises values."""

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

# Red, green and blue in grey (ITU-R BT.601, as Pillow does).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def grey_levels(pixels: Float[np.ndarray, "channels height width"]) -> Float32[np.ndarray, "height width"]:
    """Brightness in [0, 1]; for a colour image with the weights of ITU-R BT.601."""
    if len(pixels) == 3:
        return np.tensordot(_LUMA, pixels.astype(np.float32, copy=False), 1)
    return pixels.mean(0, dtype=np.float32) if len(pixels) > 1 else pixels[0].astype(np.float32, copy=False)


def quantised(
    pixels: Float[np.ndarray, "*shape"], levels: int = 256
) -> UInt8[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """Quantises values in [0, 1] to the nearest of 256 or 65536 levels; values of such files are restored exactly."""
    dtype = np.uint8 if levels == 256 else np.uint16
    # A float32 has 24 bits: enough for the product, and for the half that is added before rounding down.
    values = pixels * np.float32(levels - 1)
    values += np.float32(0.5)
    return values.astype(dtype)  # rounds down; values are in [0, 1]
