"""Pictures of a segmentation: image, prediction and truth in colours over it, and where the two differ."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, UInt8

Shown = UInt8[np.ndarray, "height width 3"]

# Okabe and Ito (2008): distinguishable with any colour vision.
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
HIT, FALSE_ALARM, MISS = (0, 158, 115), (213, 94, 0), (86, 180, 233)
OPACITY = 0.55


def shown(image: Float[np.ndarray, "channels height width"]) -> Shown:
    """An image in ``[0, 1]`` as 8 bits of colour."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))


def overlay(under: Shown, regions: Iterable[Bool[np.ndarray, "height width"]]) -> Shown:
    """Draws regions in colours over an image; a later one covers an earlier one."""
    return _coloured(under, [(region, COLOURS[i % len(COLOURS)]) for i, region in enumerate(regions)])


def differences(
    under: Shown,
    predicted: Bool[np.ndarray, "classes height width"],
    truth: Bool[np.ndarray, "classes height width"],
) -> Shown:
    """Pixels of any class: green where both have it, orange where only the prediction, blue where only the truth.

    A pixel with different classes in the two is orange.
    """
    predicted_any, true_any, wrong = (
        np.asarray(part.any(0)) for part in (predicted, truth, predicted & ~truth)
    )
    return _coloured(
        under, [(predicted_any & true_any, HIT), (true_any & ~predicted_any, MISS), (wrong, FALSE_ALARM)]
    )


def _coloured(
    under: Shown, regions: Iterable[tuple[Bool[np.ndarray, "height width"], tuple[int, int, int]]]
) -> Shown:
    picture = under.astype(np.float32)
    for region, colour in regions:
        picture[region] = (1 - OPACITY) * under[region] + OPACITY * np.array(colour, np.float32)
    return np.rint(picture).astype(np.uint8)
