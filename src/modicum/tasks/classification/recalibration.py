"""How probabilities and outcomes go together: calibration in the large, slope and intercept, observed over expected.

A logistic regression of the outcome on the logit of the stated probability has slope 1 and intercept 0 where
probabilities are right. A slope below 1 says that they are too extreme, as after overfitting; the intercept at slope 1
(*calibration in the large*) is above 0 where the condition is more common than stated.

Source: Cox, Two further applications of a model for binary regression, Biometrika 45 (1958); Van Calster et al., A
calibration hierarchy for risk models, J. Clin. Epidemiol. 74 (2016).
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse, special

from modicum.tasks.bootstrap import Statistic, Sums, Values

NAMES = ("calibration_intercept", "calibration_slope", "observed_expected")
_NEAREST = 1e-9
"""Probabilities are kept this far from 0 and 1, whose logits are infinite."""
_BINS = 1000
"""Different logits beyond which they are put into bins: the fit changes in the fourth digit, and takes no longer."""
_STEPS = 40
_SEPARATED = 1e3


def recalibration(probability: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> Statistic:
    """``calibration_intercept`` (at slope 1), ``calibration_slope`` and ``observed_expected``.

    Undefined are slope and intercept without both kinds of images, and the slope where one probability parts them
    without a mistake, or all probabilities are the same.

    Args:
        probability: stated, of the positive class.
        positive: the truth.
    """
    logits = special.logit(np.clip(probability.astype(np.float64), _NEAREST, 1 - _NEAREST))
    values, bin_of = _binned(logits)
    bins, images = len(values), np.arange(len(logits))
    # Positives and negatives of each logit, and the sum of the probabilities: the fit needs no more of the images.
    rows = np.concatenate([np.where(positive, bin_of, bins + bin_of), np.full(len(images), 2 * bins)])
    amounts = np.concatenate([np.ones(len(images)), probability.astype(np.float64)])
    terms = sparse.csr_array((amounts, (rows, np.tile(images, 2))), shape=(2 * bins + 1, len(images)))
    x, truth = np.tile(values, 2), np.repeat([1.0, 0.0], bins)

    def finish(sums: Sums) -> Values:
        weights = sums[:-1]
        return {
            "calibration_intercept": intercept_at_slope_one(x, truth, weights),
            "calibration_slope": logistic_fit(x, truth, weights)[1],
            "observed_expected": truth @ weights / sums[-1],
        }

    sides = np.stack([positive, ~positive])
    needs = {"calibration_intercept": sides, "calibration_slope": sides, "observed_expected": sides[:1]}
    reasons = {
        "calibration_intercept": "needs images with and without it",
        "calibration_slope": "needs images with and without it that one probability does not part",
        "observed_expected": "nothing is expected",
    }
    return Statistic(terms, finish, reasons, needs)


def _binned(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct logits, and which each image has; of very many, the means of :data:`_BINS` equally filled bins."""
    values, bin_of = np.unique(logits, return_inverse=True)
    if len(values) <= _BINS:
        return values, bin_of
    bin_of = bin_of * _BINS // len(values)
    return np.bincount(bin_of, weights=logits) / np.bincount(bin_of), bin_of


def logistic_fit(
    x: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n resamples"]
) -> tuple[Float[np.ndarray, "resamples"], Float[np.ndarray, "resamples"]]:
    """Intercept and slope of a logistic regression by Newton's method, for every column of weights; NaN where there is
    none (one outcome only, one value only, or outcomes that ``x`` parts).
    """
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (x @ weights) / total
        spread = np.sqrt(np.maximum((x**2) @ weights / total - mean**2, 0))
        centred = (x[:, None] - mean) / spread
        share = (truth @ weights) / total
        intercept, slope = special.logit(share), np.zeros_like(total)
        for _ in range(_STEPS):
            p = special.expit(intercept + slope * centred)
            residual, weight = weights * (truth[:, None] - p), weights * p * (1 - p)
            first, second = residual.sum(axis=0), (residual * centred).sum(axis=0)
            a, b, d = weight.sum(axis=0), (weight * centred).sum(axis=0), (weight * centred**2).sum(axis=0)
            determinant = a * d - b * b
            by_intercept = (d * first - b * second) / determinant
            by_slope = (a * second - b * first) / determinant
            # Newton's step may go far beyond where outcomes are rare; two at once is the most.
            step = np.minimum(1, 2 / np.maximum(np.abs(by_intercept), np.abs(by_slope)))
            intercept, slope = intercept + step * by_intercept, slope + step * by_slope
            moved = np.maximum(np.abs(by_intercept), np.abs(by_slope))
            if not (moved > 1e-9).any():
                break
        reached = np.isfinite(intercept) & (moved < 1e-6) & (np.abs(slope) < _SEPARATED) & (spread > 0)
        slope_of_x = slope / spread
        return (
            np.where(reached, intercept - slope_of_x * mean, np.nan),
            np.where(reached, slope_of_x, np.nan),
        )


def intercept_at_slope_one(
    logits: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n resamples"]
) -> Float[np.ndarray, "resamples"]:
    """By how much logits must be shifted for the stated and the observed share to be equal; NaN with one outcome only."""
    shift = np.zeros(weights.shape[1])
    wanted, total = truth @ weights, weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            p = special.expit(logits[:, None] + shift)
            step = (wanted - (weights * p).sum(axis=0)) / (weights * p * (1 - p)).sum(axis=0)
            shift = shift + np.clip(step, -2, 2)
            if not (np.abs(step) > 1e-9).any():
                break
        return np.where((wanted > 0) & (wanted < total) & (np.abs(step) < 1e-6), shift, np.nan)
