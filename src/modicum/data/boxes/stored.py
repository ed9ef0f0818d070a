"""Boxes in the pixels of what an image store keeps: with the crop and the resize that the image had."""

import numpy as np
from jaxtyping import Bool, Float32

from modicum.data.placement import Placement


def stored_boxes(xyxy: Float32[np.ndarray, "n 4"], placement: Placement) -> Float32[np.ndarray, "n 4"]:
    """Boxes in pixels of the stored image, cut where the image is cut.

    A box that lies wholly in what was cut off has no area afterwards.

    Args:
        xyxy: edges x0, y0, x1, y1 in pixels of the upright image file.
        placement: where the image lies in what is stored.
    """
    left, top, right, bottom = placement.inner
    moved = placement.seen_boxes(xyxy.astype(np.float64))
    first, last = np.array([left, top] * 2), np.array([right, bottom] * 2)
    return np.clip(moved, first, last).astype(np.float32)


def large_enough(xyxy: Float32[np.ndarray, "n 4"], min_side: float | int) -> Bool[np.ndarray, "n"]:
    """Which boxes have an area, and no side shorter than ``min_side``."""
    sides = xyxy[:, 2:] - xyxy[:, :2]
    return ((sides >= min_side) & (sides > 0)).all(axis=1)
