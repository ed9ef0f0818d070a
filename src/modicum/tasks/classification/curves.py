"""Points of a classifier's curves: ROC, precision-recall, reliability, confusion. Without drawing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import sparse, special

from modicum.tasks.bootstrap import group_numbers, resampled_counts
from modicum.tasks.classification.metrics import CALIBRATION_BINS, confidence_bin

Grid = Float[np.ndarray, "points"]
# From (hits, false alarms) at falling thresholds of one resample to a curve on the grid.
_Reading = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RocCurve:
    """From (0, 0) to (1, 1) at falling thresholds; the first threshold, which nothing passes, is infinite."""

    fpr: Float[np.ndarray, "points"]
    tpr: Float[np.ndarray, "points"]
    thresholds: Float[np.ndarray, "points"]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """At rising thresholds, with a last point (recall 0, precision 1) that has no threshold."""

    precision: Float[np.ndarray, "points"]
    recall: Float[np.ndarray, "points"]
    thresholds: Float[np.ndarray, "levels"]


@dataclass(frozen=True)
class Band:
    """A curve with a pointwise interval from resampled patients.

    Args:
        x: the grid.
        value: the curve of the data as they are.
        low: lower end of the interval at each point of the grid; NaN where there is none.
        high: upper end.
        undefined: resamples left out for want of positive or negative images.
    """

    x: Float[np.ndarray, "points"]
    value: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"]
    high: Float[np.ndarray, "points"]
    undefined: int = 0


@dataclass(frozen=True)
class Reliability:
    """Stated and observed accuracy, one entry a bin ``(edges[i], edges[i + 1]]``; NaN where a bin is empty.

    Args:
        edges: of the bins.
        confidence: mean stated probability.
        accuracy: share that was right.
        count: images.
        low: lower end of the Wilson interval of the accuracy (images taken as independent).
        high: upper end.
    """

    edges: Float[np.ndarray, "edges"]
    confidence: Float[np.ndarray, "bins"]
    accuracy: Float[np.ndarray, "bins"]
    count: Int[np.ndarray, "bins"]
    low: Float[np.ndarray, "bins"]
    high: Float[np.ndarray, "bins"]


def roc_curve(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    weights: Num[np.ndarray, "n"] | None = None,
    *,
    drop_collinear: bool = True,
) -> RocCurve:
    """True against false positive rate.

    Args:
        scores: higher means more likely positive.
        positive: the truth.
        weights: how often each image counts.
        drop_collinear: leave out points on a straight line between their neighbours.

    Returns:
        The points of ``sklearn.metrics.roc_curve``; a rate without images is NaN.
    """
    levels, hits, false_alarms = _counts_at_levels(scores, positive, weights)
    if drop_collinear and len(levels) > 2:
        bends = (np.diff(hits, 2) != 0) | (np.diff(false_alarms, 2) != 0)
        corner = np.concatenate([[True], bends, [True]])
        levels, hits, false_alarms = levels[corner], hits[corner], false_alarms[corner]
    return RocCurve(
        np.concatenate([[0.0], false_alarms]) / _total(false_alarms),
        np.concatenate([[0.0], hits]) / _total(hits),
        np.concatenate([[np.inf], levels]),
    )


def pr_curve(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    weights: Num[np.ndarray, "n"] | None = None,
) -> PrecisionRecallCurve:
    """Precision and recall at each score: the points of ``sklearn.metrics.precision_recall_curve``.

    Without positive images recall is NaN.
    """
    levels, hits, false_alarms = _counts_at_levels(scores, positive, weights)
    precision, recall = hits / (hits + false_alarms), hits / _total(hits)
    return PrecisionRecallCurve(
        np.concatenate([precision[::-1], [1.0]]), np.concatenate([recall[::-1], [0.0]]), levels[::-1]
    )


def roc_band(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    *,
    groups: Sequence[object] | np.ndarray | None = None,
    grid: Grid | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band:
    """True positive rate at fixed false positive rates, with a pointwise interval.

    Between its points the curve is a straight line; where it rises vertically the upper end counts.

    Args:
        scores: higher means more likely positive.
        positive: the truth.
        groups: the patient of each image, see :func:`~modicum.tasks.bootstrap.bootstrap`.
        grid: false positive rates; default 0, 0.01, ... 1.
        resamples: how many.
        confidence: of the interval at each point (not of the whole curve at once).
        seed: of the resampling.
    """
    grid = np.linspace(0, 1, 101) if grid is None else grid
    return _band(scores, positive, groups, grid, _tpr_at, resamples, confidence, seed)


def pr_band(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    *,
    groups: Sequence[object] | np.ndarray | None = None,
    grid: Grid | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band:
    """Precision at fixed recalls, with a pointwise interval.

    The precision at the highest threshold that reaches the recall; at recall 0, that finds anything at all.
    Arguments as of :func:`roc_band`; the grid is of recalls.
    """
    grid = np.linspace(0, 1, 101) if grid is None else grid
    return _band(scores, positive, groups, grid, _precision_at, resamples, confidence, seed)


def reliability(
    confidence: Float[np.ndarray, "n"],
    correct: Bool[np.ndarray, "n"],
    *,
    bins: int = CALIBRATION_BINS,
    level: float = 0.95,
) -> Reliability:
    """Accuracy of predictions by their confidence.

    Args:
        confidence: stated probability: of the predicted class, see
            :func:`~modicum.tasks.classification.evaluation.top_label`, or of the positive class.
        correct: whether the prediction is right, or the image is positive.
        bins: of equal width.
        level: of the Wilson interval.
    """
    place = confidence_bin(confidence, bins)
    count = np.bincount(place, minlength=bins)
    right = np.bincount(place, weights=correct, minlength=bins)
    low, high = wilson_interval(right, count, level)
    with np.errstate(invalid="ignore"):
        stated = np.bincount(place, weights=confidence, minlength=bins) / count
        observed = right / count
    return Reliability(np.linspace(0, 1, bins + 1), stated, observed, count, low, high)


def wilson_interval(
    successes: Num[np.ndarray, "n"], trials: Num[np.ndarray, "n"], level: float = 0.95
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Interval of a proportion; NaN without trials. Wilson, J. Am. Statist. Assoc. 22 (1927)."""
    z = float(special.ndtri((1 + level) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = successes / trials
        centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
        half = z * np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / (1 + z**2 / trials)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def confusion_matrix(
    truth: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Counts of images, a row a true class, a column a predicted class."""
    cells = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def _total(cumulative: np.ndarray) -> float:
    """The last count, or NaN instead of a zero to divide by."""
    return float(cumulative[-1]) if len(cumulative) and cumulative[-1] else float("nan")


def _counts_at_levels(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores from high to low, and the positive and negative images at or above each."""
    weights = np.ones(len(scores)) if weights is None else weights.astype(np.float64)
    counted = weights > 0
    levels, level = np.unique(scores[counted].astype(np.float64), return_inverse=True)
    by_truth = [
        np.bincount(level, weights=weights[counted] * of, minlength=len(levels))[::-1].cumsum()
        for of in (positive[counted], ~positive[counted])
    ]
    return levels[::-1], by_truth[0], by_truth[1]


def _band(
    scores: np.ndarray,
    positive: np.ndarray,
    groups: Sequence[object] | np.ndarray | None,
    grid: np.ndarray,
    read: _Reading,
    resamples: int,
    confidence: float,
    seed: int,
) -> Band:
    nothing = np.full(len(grid), np.nan)
    if positive.all() or not positive.any():
        return Band(grid, nothing, nothing, nothing, resamples)
    value = read(*_counts_at_levels(scores, positive, None)[1:], grid)
    unit = group_numbers(groups, len(scores))
    units = int(unit.max()) + 1
    if units < 2 or resamples == 0:
        return Band(grid, value, nothing, nothing)
    levels, level = np.unique(-scores.astype(np.float64), return_inverse=True)
    shape = (len(levels), units)
    at_level = [
        sparse.csr_array((of.astype(np.float64), (level, unit)), shape=shape) for of in (positive, ~positive)
    ]
    curves = []
    for counts in resampled_counts(units, resamples, seed):
        # One contiguous row a resample.
        hits, false_alarms = (np.ascontiguousarray(np.cumsum(terms @ counts, axis=0).T) for terms in at_level)
        defined = np.flatnonzero((hits[:, -1] > 0) & (false_alarms[:, -1] > 0))
        curves += [read(hits[row], false_alarms[row], grid) for row in defined]
    if not curves:
        return Band(grid, value, nothing, nothing, resamples)
    low, high = np.quantile(np.stack(curves), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Band(grid, value, low, high, resamples - len(curves))


def _tpr_at(hits: np.ndarray, false_alarms: np.ndarray, grid: np.ndarray) -> np.ndarray:
    # Of several points at one false positive rate, numpy's interp returns the last, which is the highest.
    start = [0.0]
    fpr = np.concatenate([start, false_alarms]) / false_alarms[-1]
    return np.interp(grid, fpr, np.concatenate([start, hits]) / hits[-1])


def _precision_at(hits: np.ndarray, false_alarms: np.ndarray, grid: np.ndarray) -> np.ndarray:
    # A recall of 7/100 must count as reaching a grid point of 0.07, despite rounding errors.
    reached = np.searchsorted(hits / hits[-1], np.maximum(grid, 2e-12) - 1e-12, side="left")
    reached = np.minimum(reached, len(hits) - 1)
    return hits[reached] / (hits[reached] + false_alarms[reached])
