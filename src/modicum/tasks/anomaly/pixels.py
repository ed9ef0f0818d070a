"""Metrics of maps against masks, in memory that does not grow with the size of images.

Values of a map are counted by their leading bits (sign, exponent and 8 bits of the fraction), which orders them with a
relative precision of 0.4 %. Each image then adds to a few sums, so that intervals by patient cost what they cost for
scores of images.

Sources: Bergmann et al., "Uninformed Students" (CVPR 2020), section 4 (per-region overlap: regions count alike, false
positive rates up to 30 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage, sparse

from modicum.tasks.anomaly.metric_table import PIXEL_AUROC, PRO
from modicum.tasks.bootstrap import Statistic, Sums, Values

LIMIT = 0.3
"""False positive rate of pixels up to which per-region overlap is averaged."""


@dataclass(frozen=True)
class MapSums:
    """What one image adds: how often each code occurs inside and outside its mask, and the share of each region.

    Attributes:
        codes: that occur, rising.
        outside: pixels outside the mask, by code.
        inside: pixels inside, by code.
        regions: shares of regions, summed over regions, by code.
        count: number of regions.
    """

    codes: Int[np.ndarray, "codes"]
    outside: Float[np.ndarray, "codes"]
    inside: Float[np.ndarray, "codes"]
    regions: Float[np.ndarray, "codes"]
    count: int

    @classmethod
    def of(cls, values: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"] | None) -> "MapSums":
        """Counts one map.

        Args:
            values: not negative.
            truth: where the image is abnormal; None for nowhere.
        """
        single = np.nan_to_num(np.maximum(values, 0).astype(np.float32), nan=np.inf)
        codes, of_pixel = np.unique((single.view(np.uint32) >> 15).astype(np.int64), return_inverse=True)
        of_pixel = of_pixel.reshape(values.shape)
        mask = np.zeros(values.shape, bool) if truth is None else truth
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
        weights = np.where(mask, 1 / sizes[labels], 0.0)

        def counted(weight: np.ndarray) -> np.ndarray:
            return np.bincount(of_pixel.ravel(), weight.ravel(), len(codes))

        return cls(codes, counted(~mask), counted(mask), counted(weights), int(count))


def pixel_statistic(images: Sequence[MapSums | None]) -> Statistic:
    """``pixel_auroc`` and ``pro`` of images; those without a map add nothing."""
    known = [sums for sums in images if sums is not None]
    codes = np.unique(np.concatenate([sums.codes for sums in known])) if known else np.zeros(0, np.int64)
    bins = len(codes)
    terms = sparse.lil_array((3 * bins + 1, len(images)))
    for index, sums in enumerate(images):
        if sums is None:
            continue
        at = np.searchsorted(codes, sums.codes)
        for block, values in enumerate((sums.outside, sums.inside, sums.regions)):
            terms[block * bins + at, index] = values
        terms[3 * bins, index] = sums.count

    def finish(sums: Sums) -> Values:
        # From the highest value down: what a falling threshold adds.
        outside, inside, regions = (sums[i * bins : (i + 1) * bins][::-1] for i in range(3))
        false, hits = outside.cumsum(0), inside.cumsum(0)
        normal, marked, count = outside.sum(0), inside.sum(0), sums[3 * bins]
        below = normal - false  # pixels outside with a lower value than each code
        auroc = ((below + outside / 2) * inside).sum(0) / (normal * marked)
        rate, overlap = false / normal, regions.cumsum(0) / count
        del hits
        return {PIXEL_AUROC: auroc, PRO: _area(rate, overlap)}

    has = np.array([sums is not None and sums.count > 0 for sums in images], bool)
    why = dict.fromkeys((PIXEL_AUROC, PRO), "no image has a mask that marks something")
    return Statistic(terms.tocsr(), finish, why, {PIXEL_AUROC: has[None], PRO: has[None]})


def _area(rate: Float[np.ndarray, "bins r"], overlap: Float[np.ndarray, "bins r"]) -> np.ndarray:
    """The area under overlap against false positive rate, from 0 to :data:`LIMIT`, divided by that limit."""
    zeros = np.zeros((1, rate.shape[1]))
    x, y = np.concatenate([zeros, rate]), np.concatenate([zeros, overlap])
    width = np.diff(x, axis=0)
    # A step that goes over the limit counts up to it, with the height that the straight line has there.
    kept = np.clip(LIMIT - x[:-1], 0, np.maximum(width, 0))
    share = np.divide(kept, width, out=np.zeros_like(kept), where=width > 0)
    return ((y[:-1] + (y[1:] - y[:-1]) * share / 2) * kept).sum(0) / LIMIT
