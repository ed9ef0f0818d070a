"""Boxes in the pixels of what an image store keeps: with the crop and the resize that the image had."""

import numpy as np
from jaxtyping import Bool, Float32

from modicum.data.boxes.options import BoxOptions
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


def selected(
    xyxy: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, "n"] | None,
    placement: Placement,
    options: BoxOptions,
) -> dict[str, Bool[np.ndarray, "n"]]:
    """Which boxes each rule of the options keeps, by the rule's name; rules that are not asked for are not there.

    The rules of "Lesion-based Contrastive Learning" (Huang et al., MICCAI 2021), section 2.2 and its code: no side above
    ``max_side`` (one that is equal is kept), farther from all edges than ``border``, a score above ``above_score``.

    Args:
        xyxy: in pixels of the stored image.
        scores: of the boxes; None where there are none.
        placement: where the image lies in what is stored.
        options: the rules.
    """
    kept = {}
    if options.above_score is not None and scores is not None:
        kept["above_score"] = np.logical_not(np.less_equal(scores, options.above_score))
    if options.max_side is not None:
        kept["max_side"] = (xyxy[:, 2:] - xyxy[:, :2] <= options.max_side).all(axis=1)
    if options.border is not None:
        left, top, right, bottom = placement.inner
        low, high = np.array([left, top]) + options.border, np.array([right, bottom]) - options.border
        kept["border"] = (xyxy[:, :2] > low).all(axis=1) & (xyxy[:, 2:] < high).all(axis=1)
    return kept
