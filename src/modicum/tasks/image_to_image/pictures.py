"""Pictures of a translation: source, output, target, and where output and target differ."""

import numpy as np
from jaxtyping import Float, UInt8

ERROR_AT_WHITE = 0.5
"""Absolute error, as a share of the scale, that an error map shows brightest."""


def comparison_pictures(
    image: Float[np.ndarray, "image_channels height width"],
    made: Float[np.ndarray, "channels height width"],
    target: Float[np.ndarray, "channels height width"] | None,
) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """Pictures by name, in the order of showing; without a target source and output alone."""
    found = {"source": _shown(image), "output": _shown(made)}
    if target is not None:
        found |= {"target": _shown(target), "error": error_map(made, target)}
    return found


def error_map(
    made: Float[np.ndarray, "channels height width"], target: Float[np.ndarray, "channels height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Absolute differences, the mean over channels, in colours from black (none) to white (half of the scale)."""
    import cv2

    error = np.abs(made.astype(np.float32) - target).mean(0) / ERROR_AT_WHITE
    grey = (255 * np.clip(error, 0, 1)).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1])


def _shown(pixels: Float[np.ndarray, "channels height width"]) -> UInt8[np.ndarray, "height width 3"]:
    levels = (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels)
