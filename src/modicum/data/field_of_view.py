"""Finds the field of view of a photograph on a dark surround, as of a fundus camera: what is not surround.

The surround is dark, even, and reaches the corners of the image; an image without one has no field of view to be found.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Shaped

from modicum.data.grey_levels import quantised

DARK = 48
"""Levels (of 255) above which corners are no surround."""
ABOVE = 12
"""Levels above the surround from which on a pixel is inside."""
SHARES = (0.3, 0.97)
"""Shares of the image that a field of view has; less is a reflex, more is an image without a surround."""


def field_of_view(
    pixels: Shaped[np.ndarray, "channels height width"],
) -> Bool[np.ndarray, "height width"] | None:
    """Where the field of view is, without holes; None where the image shows no dark surround.

    Args:
        pixels: grey or colour, uint8 or float in ``[0, 1]``.
    """
    brightest = (pixels if pixels.dtype == np.uint8 else quantised(pixels)).max(axis=0)
    height, width = brightest.shape
    if min(height, width) < 16:
        return None
    smooth = cv2.medianBlur(np.ascontiguousarray(brightest), 5)
    side = max(2, min(height, width) // 32)
    corners = [
        smooth[rows, columns]
        for rows in (np.s_[:side], np.s_[-side:])
        for columns in (np.s_[:side], np.s_[-side:])
    ]
    levels = [float(np.median(corner)) for corner in corners]
    # Three of four: a label or a light may stand in a corner.
    ground = sorted(levels)[2]
    if ground > DARK:
        return None
    dark = (smooth <= ground + ABOVE).astype(np.uint8)
    framed = np.pad(dark, 1, constant_values=1)
    _, parts = cv2.connectedComponents(framed, connectivity=4)
    inside = np.asarray(parts != parts[0, 0])[1:-1, 1:-1].astype(np.uint8)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    if len(facts) < 2:
        return None
    largest = np.asarray(labels == 1 + facts[1:, cv2.CC_STAT_AREA].argmax())
    return largest if SHARES[0] <= largest.mean() <= SHARES[1] else None
