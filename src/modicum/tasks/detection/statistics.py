"""Average precision and FROC as functions of weighted sums over images, for intervals by resampling patients.

Which detections hit is decided in each image by itself. A resample of the images is then a weight of each detection: that
of its image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from modicum.tasks.bootstrap import Statistic, Sums, Values
from modicum.tasks.detection.matching import IOUS
from modicum.tasks.detection.metric_table import RATES, sensitivity_name
from modicum.tasks.needs import needs_some

_RECALLS = np.linspace(0, 1, 101)


def average_precision(
    weights: Float[np.ndarray, "n resamples"],
    hit: Bool[np.ndarray, "n"],
    true: Float[np.ndarray, "resamples"],
) -> Float[np.ndarray, "resamples"]:
    """Average precision as COCO's: the mean over recalls 0, 0.01, ... 1 of the best precision at that recall or above.

    Args:
        weights: of each detection, the highest score first.
        hit: whether it hits.
        true: number of true boxes; NaN comes out where there are none.
    """
    hits = np.cumsum(weights * hit[:, None], axis=0)
    all_found = np.cumsum(weights, axis=0)
    precision = np.divide(hits, all_found, out=np.zeros_like(hits), where=all_found > 0)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    envelope = np.concatenate([envelope, np.zeros((1, weights.shape[1]))])
    result = np.full(weights.shape[1], np.nan)
    for column in np.flatnonzero(true > 0).tolist():
        at = np.searchsorted(hits[:, column] / true[column] + 1e-12, _RECALLS, side="left")
        result[column] = envelope[at, column].mean()
    return result


def precision_statistic(
    scores: Float[np.ndarray, "n"],
    images: Int[np.ndarray, "n"],
    hit: Bool[np.ndarray, "overlaps n"],
    true: Float[np.ndarray, "images"],
    names: tuple[str, str, str],
) -> Statistic:
    """Average precision of one class: the mean over :data:`IOUS`, at 0.5, and at 0.75.

    Args:
        scores: of the detections of the class.
        images: index of each one's image.
        hit: whether each hits, at each of :data:`IOUS`.
        true: number of true boxes of the class in each image.
        names: of the three.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = hit[:, order]
    terms = sparse.vstack([_of_images(images[order], len(true)), sparse.csr_array(true[None])], format="csr")

    def finish(sums: Sums) -> Values:
        each = np.stack([average_precision(sums[:-1], one, sums[-1]) for one in ordered])
        at = [each.mean(axis=0), each[IOUS.index(0.5)], each[IOUS.index(0.75)]]
        return dict(zip(names, at, strict=True))

    needs = needs_some(names, true > 0)
    return Statistic(sparse.csr_array(terms), finish, dict.fromkeys(names, "no image has a true box"), needs)


def froc_statistic(
    scores: Float[np.ndarray, "n"],
    images: Int[np.ndarray, "n"],
    hit: Bool[np.ndarray, "n"],
    true: Float[np.ndarray, "images"],
) -> Statistic:
    """Sensitivity at each of :data:`RATES`, and ``froc``, the mean of these.

    The sensitivity at a rate is that of the lowest threshold of the score with no more false positives an image
    (Chakraborty, Med. Phys. 1989, for free-response curves). Equal scores are above a threshold together.

    Args:
        scores: of all detections.
        images: index of each one's image.
        hit: whether each hits.
        true: number of true boxes in each image.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, ranked = hit[order], scores[order]
    ends = (
        np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    )
    counts = np.stack([true, np.ones(len(true))])
    terms = sparse.vstack([_of_images(images[order], len(true)), sparse.csr_array(counts)], format="csr")

    def finish(sums: Sums) -> Values:
        weights, boxes, seen = sums[:-2], sums[-2], sums[-1]
        hits = np.cumsum(weights * ordered[:, None], axis=0)[ends]
        false = np.cumsum(weights * ~ordered[:, None], axis=0)[ends]
        hits = np.concatenate([np.zeros((1, hits.shape[1])), hits])
        values: Values = {}
        for rate in RATES:
            allowed = (false <= rate * seen + 1e-9).sum(axis=0)
            values[sensitivity_name(rate)] = hits[allowed, np.arange(len(seen))] / boxes
        return {"froc": np.mean(list(values.values()), axis=0), **values}

    names = ["froc", *map(sensitivity_name, RATES)]
    needs = needs_some(names, true > 0)
    return Statistic(sparse.csr_array(terms), finish, dict.fromkeys(names, "no image has a true box"), needs)


def _of_images(images: Sequence[int] | np.ndarray, count: int) -> sparse.csr_array:
    """A row for each detection, with 1 at its image."""
    number = len(images)
    return sparse.csr_array(
        (np.ones(number), (np.arange(number), np.asarray(images, np.int64))), shape=(number, count)
    )
