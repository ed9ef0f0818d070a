"""Thresholds from severity scores to grades: at midpoints, given, or tuned for quadratic kappa.

A score is one real number an image, in grades: 2.0 is exactly grade 2. Grade ``g`` is said from the ``g``-th threshold
on (a score that equals it belongs to the higher grade), as in Huang et al., Diagnostics 2023, 13, 1664.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from modicum.errors import InputError
from modicum.tasks.classification.metrics import quadratic_kappa

Source = Literal["midpoints", "given", "validation"]
SWEEPS = 50
"""Passes of the search over all thresholds; it stops earlier when none moves."""


@dataclass(frozen=True)
class Thresholds:
    """Where one grade ends and the next begins.

    Attributes:
        values: rising, one fewer than there are grades.
        source: ``midpoints`` (0.5, 1.5, ...), ``given`` by the user, or chosen on ``validation`` predictions.
        pending: whether they will be chosen on the validation predictions.
    """

    values: tuple[float, ...]
    source: Source = "midpoints"
    pending: bool = False

    @classmethod
    def of(cls, choice: "Thresholds | str | Sequence[float]", num_grades: int) -> "Thresholds":
        """What a user's choice means: ``midpoints``, ``validation`` (midpoints until they are tuned), or the values.

        Raises:
            InputError: not one finite value fewer than grades, or values that do not rise.
        """
        if isinstance(choice, Thresholds):
            return choice
        if isinstance(choice, str):
            return cls(midpoints(num_grades), pending=choice == "validation")
        values = tuple(float(value) for value in choice)
        if len(values) != num_grades - 1:
            raise InputError(
                f"thresholds has {len(values)} values for {num_grades} grades",
                f"give {num_grades - 1}, for instance {list(midpoints(num_grades))}",
            )
        if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
            raise InputError(f"thresholds {list(values)} do not rise", "give each above the one before it")
        return cls(values, "given")

    def grades(self, scores: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The grade of each score: how many thresholds lie at or below it. Scores must be finite.

        >>> Thresholds.of("midpoints", 5).grades(np.array([-3, 0.49, 0.5, 3.49, 9])).tolist()
        [0, 0, 1, 3, 4]
        """
        return np.searchsorted(self.values, scores, side="right").astype(np.int64)

    def tuned(self, scores: Float[np.ndarray, "n"], truth: Int[np.ndarray, "n"]) -> "Thresholds":
        """Those that :func:`tuned_thresholds` finds."""
        return Thresholds(tuned_thresholds(scores, truth, len(self.values) + 1), "validation")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return {"thresholds": list(self.values), "thresholds_from": self.source}


def midpoints(num_grades: int) -> tuple[float, ...]:
    """Thresholds 0.5, 1.5, ...: each score is rounded to the nearest grade."""
    return tuple(grade + 0.5 for grade in range(num_grades - 1))


def tuned_thresholds(
    scores: Float[np.ndarray, "n"], truth: Int[np.ndarray, "n"], num_grades: int
) -> tuple[float, ...]:
    """Thresholds that maximise quadratic kappa, by coordinate search: one at a time, until none moves.

    The search starts twice, at the midpoints and where as many images get each grade as have it, and is deterministic.
    A threshold moves only where kappa rises, to the middle between two scores; of equally good places to the nearest.
    Kappa never gets lower than at the midpoints, which stay where nothing is better.

    Args:
        scores: finite.
        truth: grades from 0.
        num_grades: number of grades.
    """
    best, highest = midpoints(num_grades), -np.inf
    if not len(scores):
        return best
    for start in (best, _matching(scores, truth, num_grades)):
        candidate = _searched(list(start), scores, truth, num_grades)
        kappa = _kappa(candidate, scores, truth, num_grades)
        if kappa > highest + 1e-12:
            best, highest = tuple(candidate), kappa
    return best


def _matching(scores: np.ndarray, truth: np.ndarray, num_grades: int) -> tuple[float, ...]:
    """Thresholds at which as many images get each grade as have it, as far as ties between scores allow."""
    order = np.sort(scores)
    below = np.cumsum(np.bincount(truth, minlength=num_grades))[:-1]
    ends = np.concatenate([[order[0] - 1.0], order, [order[-1] + 1.0]])
    values = (ends[below] + ends[below + 1]) / 2
    # Grades that no image has would share a threshold; the least step that separates them gives them no image.
    for index in range(1, len(values)):
        values[index] = max(values[index], np.nextafter(values[index - 1], np.inf))
    return tuple(values.tolist())


def _searched(values: list[float], scores: np.ndarray, truth: np.ndarray, num_grades: int) -> list[float]:
    current = _kappa(values, scores, truth, num_grades)
    for _ in range(SWEEPS):
        moved = False
        for index in range(len(values)):
            threshold, kappa = _best_threshold(index, values, scores, truth, num_grades)
            if kappa > current + 1e-12 or (np.isnan(current) and not np.isnan(kappa)):
                values[index], current, moved = threshold, kappa, True
        if not moved:
            break
    return values


def _best_threshold(
    index: int, values: Sequence[float], scores: np.ndarray, truth: np.ndarray, num_grades: int
) -> tuple[float, float]:
    """The best value of one threshold between its neighbours, and kappa there; NaN if there is none.

    As it rises past an image, that image falls by one grade: all values are tried in one pass over sorted scores.
    """
    low = values[index - 1] if index else -np.inf
    high = values[index + 1] if index + 1 < len(values) else np.inf
    grades = np.searchsorted(values, scores, side="right")
    between = (scores >= low) & (scores < high)
    order = np.argsort(scores[between], kind="stable")
    inside, true = scores[between][order], truth[between][order]
    candidates = _candidates(inside, low, high)
    usable = (candidates > low) & (candidates < high)
    # With all images between the neighbours in the upper grade, then one after the other in the lower one.
    grades[between] = index + 1
    step = (true - index) ** 2 - (true - index - 1) ** 2
    squared = ((truth - grades) ** 2).sum() + np.concatenate([[0], np.cumsum(step)])
    number = np.arange(num_grades)
    chance = np.bincount(truth, minlength=num_grades) @ np.subtract.outer(number, number) ** 2 / len(truth)
    fallen = np.arange(len(inside) + 1)
    expected = chance[grades].sum() + fallen * (chance[index] - chance[index + 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(usable & (expected > 0), 1 - squared / expected, np.nan)
    if np.isnan(kappa).all():
        return values[index], float("nan")
    equal = np.flatnonzero(kappa >= np.nanmax(kappa) - 1e-12)
    nearest = equal[np.abs(candidates[equal] - values[index]).argmin()]
    return float(candidates[nearest]), float(kappa[nearest])


def _candidates(inside: np.ndarray, low: float, high: float) -> np.ndarray:
    """Below all sorted scores, in the middle of each gap, and above all; NaN between equal scores."""
    if not len(inside):
        return np.array([np.nan])
    ends = (max(low, inside[0] - 1.0), min(high, inside[-1] + 1.0))
    left, right = np.concatenate([[ends[0]], inside]), np.concatenate([inside, [ends[1]]])
    middle = (left + right) / 2
    middle = np.where(middle <= left, right, middle)  # two neighbouring floating-point numbers have no middle
    middle[1:-1][left[1:-1] == right[1:-1]] = np.nan
    return middle


def _kappa(values: Sequence[float], scores: np.ndarray, truth: np.ndarray, num_grades: int) -> float:
    return quadratic_kappa(truth, np.searchsorted(values, scores, side="right"), num_grades)
