"""Which detections of an image hit, by COCO's rule."""

import numpy as np
from jaxtyping import Float, Int64

IOUS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps at which COCO measures average precision."""


def box_overlaps(
    first: Float[np.ndarray, "n 4"], second: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of each box of one list with each of the other; 0 for boxes without area."""
    sides = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(first[:, None, :2], second[:, :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    unions = areas[0][:, None] + areas[1] - shared
    return np.divide(shared, unions, out=np.zeros_like(shared), where=unions > 0)


def matches(
    detections: Float[np.ndarray, "n 6"], truth: Float[np.ndarray, "m 5"], overlaps: tuple[float, ...] = IOUS
) -> Int64[np.ndarray, "overlaps n"]:
    """Which true box each detection hits, at each overlap; -1 for none.

    From the highest score down, a detection takes the true box of its class, not taken yet, that it overlaps most, if
    that is as much as asked for (Lin et al., "Microsoft COCO", ECCV 2014, and its evaluation code).

    Args:
        detections: left, top, right, bottom, score, class.
        truth: left, top, right, bottom, class.
        overlaps: least intersection over union of a hit.
    """
    result = np.full((len(overlaps), len(detections)), -1, np.int64)
    shares = box_overlaps(detections[:, :4], truth[:, :4])
    shares[detections[:, None, 5] != truth[None, :, 4]] = -1.0
    order = np.argsort(-detections[:, 4], kind="stable")
    for number, least in enumerate(overlaps):
        free = shares.copy()
        for index in order if len(truth) else ():
            best = int(free[index].argmax())
            if free[index, best] >= least - 1e-10:
                free[:, best] = -1.0
                result[number, index] = best
    return result
