"""Weighted boxes fusion: the boxes of several detectors as one list.

Source: Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models",
Image and Vision Computing 107 (2021), 104117, section 3.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from modicum.tasks.detection.matching import box_overlaps

OVERLAP = 0.55
"""The paper's threshold, chosen by it on COCO."""
_LEAST = 1e-12
"""Weight of a box whose score is 0, so that a mean over such boxes alone is one."""


def fused_boxes(
    found: Sequence[Float[np.ndarray, "_ 6"]], overlap: float = OVERLAP
) -> Float[np.ndarray, "n 6"]:
    """The boxes of ``N`` detectors in one image as one list, the best first.

    From the highest score down, each box joins the fused box of its class that it overlaps most, if by more than
    ``overlap``, or else founds a new one. Of the ``T`` boxes of a group with edges ``x_i`` and scores ``s_i`` come

    - edges ``sum_i s_i x_i / sum_i s_i``, computed anew with every box that joins, and
    - the score ``(sum_i s_i / T) * min(T, N) / N``: what few detectors have found counts less.

    Args:
        found: of each detector left, top, right, bottom, score and class; rows that are not finite are left out.
        overlap: intersection over union above which boxes are taken for one.
    """
    every = np.concatenate([boxes[np.isfinite(boxes).all(axis=1)] for boxes in found]).astype(np.float64)
    every = every[np.argsort(-every[:, 4], kind="stable")]
    fused, weights, sums, counts = np.zeros_like(every), *np.zeros((3, len(every)))
    groups = 0
    for edges, score, number in zip(every[:, :4], every[:, 4], every[:, 5], strict=True):
        at = groups
        if groups:
            shares = box_overlaps(edges[None], fused[:groups, :4])[0]
            shares[fused[:groups, 5] != number] = -1.0
            best = int(shares.argmax())
            at = best if shares[best] > overlap else groups
        weight = max(score, _LEAST)
        total = weights[at] + weight
        fused[at, :4] = (weights[at] * fused[at, :4] + weight * edges) / total
        fused[at, 5] = number
        weights[at], sums[at], counts[at] = total, sums[at] + score, counts[at] + 1
        groups = max(groups, at + 1)
    fused, counts = fused[:groups], counts[:groups]
    fused[:, 4] = sums[:groups] / counts * np.minimum(counts, len(found)) / len(found)
    return fused[np.argsort(-fused[:, 4], kind="stable")]
