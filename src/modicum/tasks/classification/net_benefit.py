"""Decision curves: what acting on a model's probabilities is worth, from each threshold on.

Someone who acts from probability ``t`` on holds a missed case to be ``(1 - t) / t`` times as bad as acting in vain. In
units of true positives, the net benefit of acting on ``TP`` cases rightly and ``FP`` in vain, of ``n``, is
``TP / n - FP / n * t / (1 - t)``. It is compared with acting on everyone and on no one (0).

Source: Vickers and Elkin, Decision curve analysis: a novel method for evaluating prediction models, Medical Decision
Making 26 (2006). At a prevalence that is not that of the images, the rates are taken from the images and the prevalence
from the reader, as for predictive values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import sparse

from modicum.errors import InputError
from modicum.tasks.bootstrap import group_numbers, resampled_counts

Points = Float[np.ndarray, "points"]
THRESHOLDS = tuple(np.round(np.linspace(0.01, 0.99, 99), 2).tolist())


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold, with a pointwise interval from resampled patients.

    Attributes:
        thresholds: probabilities from which on one acts.
        model: acting on what the model says.
        low: lower end of the interval; NaN where there is none.
        high: upper end.
        act_on_all: acting on everyone; acting on no one is 0.
        prevalence: share of positives that it is for.
    """

    thresholds: Points
    model: Points
    low: Points
    high: Points
    act_on_all: Points
    prevalence: float


def net_benefit(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    thresholds: Sequence[float] | Points,
    *,
    prevalence: float | None = None,
) -> Points:
    """Net benefit of acting on every image with a score of at least each threshold.

    Args:
        scores: probabilities.
        positive: the truth.
        thresholds: above 0 and below 1.
        prevalence: share of positives to compute it for; that of the images by default.

    Raises:
        InputError: a threshold that is 0, 1 or beyond.
    """
    at = _checked(thresholds)
    sums = _terms(scores, positive, at) @ np.ones((len(scores), 1))
    return _of_sums(sums, at, prevalence)[:, 0]


def net_benefit_of_all(prevalence: float, thresholds: Sequence[float] | Points) -> Points:
    """Net benefit of acting on everyone: ``prevalence - (1 - prevalence) * t / (1 - t)``."""
    at = _checked(thresholds)
    return prevalence - (1 - prevalence) * at / (1 - at)


def decision_curve(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    prevalence: float | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> DecisionCurve:
    """The decision curve with an interval at each threshold (not of the whole curve at once).

    Args:
        scores: probabilities.
        positive: the truth.
        thresholds: above 0 and below 1, rising.
        prevalence: see :func:`net_benefit`; where it is given, resamples without positives or negatives are left out.
        groups: the patient of each image, see :func:`~modicum.tasks.bootstrap.bootstrap`.
        resamples: how many; 0 for no interval.
        confidence: of the interval.
        seed: of the resampling.

    Raises:
        InputError: a threshold that is 0, 1 or beyond.
    """
    at = _checked(thresholds)
    share = float(positive.mean()) if prevalence is None else prevalence
    value = net_benefit(scores, positive, at, prevalence=prevalence)
    nothing = np.full(len(at), np.nan)
    unit = group_numbers(groups, len(scores))
    units = int(unit.max()) + 1 if len(unit) else 0
    low, high = nothing, nothing
    if units > 1 and resamples:
        membership = sparse.csr_array(
            (np.ones(len(unit)), (np.arange(len(unit)), unit)), shape=(len(unit), units)
        )
        terms = sparse.csr_array(_terms(scores, positive, at) @ membership)
        drawn = [
            _of_sums(terms @ counts, at, prevalence) for counts in resampled_counts(units, resamples, seed)
        ]
        curves = np.concatenate(drawn, axis=1)
        curves = curves[:, ~np.isnan(curves).any(axis=0)]
        if curves.shape[1]:
            low, high = np.quantile(curves, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    return DecisionCurve(at, value, low, high, net_benefit_of_all(share, at), share)


def _terms(scores: np.ndarray, positive: np.ndarray, at: np.ndarray) -> sparse.csr_array:
    """``[2 (thresholds + 1), images]``: positives, then negatives, by how many of the sorted thresholds they reach."""
    reached = np.searchsorted(np.sort(at), scores.astype(np.float64), side="right")
    rows = np.where(positive, reached, len(at) + 1 + reached)
    shape = (2 * (len(at) + 1), len(scores))
    return sparse.csr_array((np.ones(len(scores)), (rows, np.arange(len(scores)))), shape=shape)


def _of_sums(sums: np.ndarray, at: np.ndarray, prevalence: float | None) -> np.ndarray:
    """Net benefit ``[thresholds, resamples]`` from the sums of :func:`_terms`."""
    order = np.argsort(np.argsort(at, kind="stable"), kind="stable")
    # Acted on at the i-th threshold are those that reach more than i of them.
    reach = [np.cumsum(part[::-1], axis=0)[::-1] for part in np.split(sums, 2)]
    (positives, hits), (negatives, alarms) = ((part[0], part[1:][order]) for part in reach)
    odds = (at / (1 - at))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        if prevalence is None:
            return np.asarray((hits - alarms * odds) / (positives + negatives))
        return np.asarray(prevalence * hits / positives - (1 - prevalence) * alarms / negatives * odds)


def _checked(thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    at = np.asarray(thresholds, dtype=np.float64)
    wrong = at[~((at > 0) & (at < 1))]
    if len(wrong):
        raise InputError(
            f"threshold {wrong[0]:g} of a decision curve is not between 0 and 1", "use for instance 0.05"
        )
    return at
