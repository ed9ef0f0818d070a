"""Sets of classes that hold the true one with a stated probability: split conformal prediction, calibrated on validation.

Every answer gets a *score* for every class, the higher the stranger. The limit is a quantile of the scores of the true
classes of images that the network has not learned from, and a prediction set holds the classes whose score is at most the
limit. If those images and a new one are exchangeable, the set holds the true class with probability ``1 - alpha`` or
more, whatever the network is worth: a poor one has large sets.

Scores: ``aps``, adaptive prediction sets: the probability of all classes that are more probable (Romano, Sesia, Candes,
NeurIPS 2020, equation 5 with u = 0: not randomised, never empty); ``lac``, the least ambiguous sets: one minus a class's
probability (Sadinle, Lei, Wasserman, JASA 114, 2019), smaller on average and less even over classes; where such a set
would be empty it gets the most probable class. Grades have contiguous sets that
grow from the most probable grade (Lu, Angelopoulos, Pomerantz, MICCAI 2022), severity scores the grades near the score.
Each finding has limits of its own for images with and without it (Vovk, ACML 2012: label-conditional), as a finding that
is rare would else be left out at no cost.

Several images of a patient are one draw: see :func:`limit_of`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from modicum.errors import InputError, did_you_mean
from modicum.tasks.bootstrap import group_numbers
from modicum.wording import count_of, listed

BY = ("aps", "lac")
USUAL = "aps"
ROUNDING = 1e-8
"""Probabilities in tables have nine digits: scores this near to the limit count as equal."""
SEPARATOR, UNDECIDED = "|", "?"
Answers = Float[np.ndarray, "n outputs"]
Truth = Num[np.ndarray, "n"] | Num[np.ndarray, "n classes"]


def limit_of(
    scores: Float[np.ndarray, "n"],
    alpha: float,
    groups: Sequence[object] | np.ndarray | None = None,
) -> float:
    """The finite-sample quantile of conformal scores; infinite where there are too few.

    With one image a patient it is the ``ceil((n + 1)(1 - alpha))``-th smallest score. With several, every patient counts
    ``1 / (patients + 1)``, shared by its images, so that the promise is for one image of a new patient (hierarchical
    conformal prediction: Lee, Barber, Willett, arXiv 2306.06342, 2023; Dunn, Wasserman, Ramdas, JASA 118, 2023).

    Args:
        scores: of the true classes.
        alpha: share of new images whose set may miss the true class.
        groups: the patient of each image, blank where unknown; None for an image each.
    """
    if not len(scores):
        return math.inf
    unit = group_numbers(groups, len(scores))
    sizes = np.bincount(unit)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / sizes[unit][order]) / (len(sizes) + 1)
    enough = np.flatnonzero(reached >= 1 - alpha - 1e-9)
    return float(scores[order[enough[0]]]) if len(enough) else math.inf


def fewest(alpha: float) -> int:
    """The fewest patients (images, where these are not known) for which the limit is finite: 9 at 0.1, 19 at 0.05."""
    return math.ceil((1 - alpha) / alpha - 1e-9)


def scores_of(answers: Answers, kind: str, by: str = USUAL) -> Float[np.ndarray, "n classes"]:
    """The score of every class for every answer.

    Args:
        answers: probabilities ``[n, classes]``; of ``severity`` the score ``[n, 1]``.
        kind: ``classes``, ``grades`` (in order) or ``findings``, whose scores are those of saying that it is there.
        by: of ``classes``: ``aps`` or ``lac``.
    """
    answers = answers.astype(np.float64)
    if kind == "grades":
        return _grown(answers)
    if kind == "findings" or by == "lac":
        return 1 - answers
    order = np.argsort(-answers, axis=1, kind="stable")
    ranked = np.take_along_axis(answers, order, axis=1)
    mass = np.cumsum(ranked, axis=1) - ranked
    scores = np.empty_like(answers)
    np.put_along_axis(scores, order, mass, axis=1)
    return scores


def _grown(probabilities: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """The mass of the interval of grades that has grown, from the most probable one, before it takes a grade in."""
    count, grades = probabilities.shape
    rows = np.arange(count)
    low = high = probabilities.argmax(1)
    mass = probabilities[rows, low]
    scores = np.zeros_like(probabilities)
    padded = np.pad(probabilities, ((0, 0), (1, 1)), constant_values=-1.0)  # beyond the ends: never chosen
    for _ in range(grades - 1):
        below, above = padded[rows, low], padded[rows, high + 2]
        down = below > above
        taken = np.where(down, low - 1, high + 1)
        low, high = np.where(down, taken, low), np.where(down, high, taken)
        scores[rows, taken] = mass
        mass = mass + probabilities[rows, taken]
    return scores


@dataclass(frozen=True)
class PredictionSets:
    """Makes prediction sets of a classifier's answers.

    Attributes:
        alpha: share of new images whose set may miss the true class.
        kind: ``classes``, ``grades``, ``severity`` or ``findings``.
        by: the score: ``aps`` or ``lac`` of classes; of others the only one there is.
        classes: names, in the order of the answers.
        limits: one; of findings one for images without and one for images with each, ``[without, with]`` in turn.
        cuts: of severity scores, the thresholds between grades.
        facts: how many images and patients they are from; for ``metrics.json``.
    """

    alpha: float
    kind: str
    by: str
    classes: tuple[str, ...]
    limits: tuple[float, ...]
    cuts: tuple[float, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def members(self, answers: Answers) -> Bool[np.ndarray, "n classes"]:
        """Which classes the set of each answer holds; of findings, which may be there."""
        if self.kind == "findings":
            return self.both_sides(answers)[..., 1]
        scores = self._scores(answers)
        inside = scores <= self.limits[0] + ROUNDING
        inside[np.arange(len(inside)), self._likeliest(answers)] = True
        if self.kind == "severity":  # thresholds may put the grade beside the nearest ones
            first, last = inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
            grades = np.arange(inside.shape[1])
            inside = (grades >= first[:, None]) & (grades <= last[:, None])
        return inside

    def both_sides(self, answers: Answers) -> Bool[np.ndarray, "n classes 2"]:
        """Of findings: whether the set holds "absent", and "present"."""
        scores = np.stack([answers, 1 - answers], axis=-1)
        inside = scores <= np.array(self.limits).reshape(len(self.classes), 2) + ROUNDING
        none = ~inside.any(-1)
        inside[none] = np.stack([answers < 0.5, answers >= 0.5], axis=-1)[none]
        return inside

    def covered(
        self, answers: Answers, truth: Truth
    ) -> Bool[np.ndarray, "n"] | Bool[np.ndarray, "n classes"]:
        """Whether each set holds the truth; of findings a column each, false where it is not known."""
        if self.kind != "findings":
            return self.members(answers)[np.arange(len(answers)), truth.astype(np.int64)]
        sides = self.both_sides(answers)
        is_there = np.nan_to_num(truth).astype(np.int64)
        return np.take_along_axis(sides, is_there[..., None], axis=-1)[..., 0] & ~np.isnan(truth)

    def texts(self, answers: Answers) -> list[str]:
        """The sets as a table has them: names joined by ``|``; a finding that may or may not be there has a ``?``."""
        if self.kind != "findings":
            names = np.array(self.classes, dtype=object)
            return [SEPARATOR.join(names[row]) for row in self.members(answers)]
        texts = []
        for row in self.both_sides(answers):
            marks = [
                name + (UNDECIDED if absent else "")
                for name, (absent, present) in zip(self.classes, row, strict=True)
                if present
            ]
            texts.append(SEPARATOR.join(marks))
        return texts

    def as_dict(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        limits = [limit if math.isfinite(limit) else None for limit in self.limits]
        return {"alpha": self.alpha, "sets": self.kind, "score": self.by, "limits": limits, **self.facts}

    def _scores(self, answers: Answers) -> Float[np.ndarray, "n classes"]:
        if self.kind == "severity":
            return np.abs(answers[:, :1].astype(np.float64) - np.arange(len(self.classes)))
        return scores_of(answers, self.kind, self.by)

    def _likeliest(self, answers: Answers) -> np.ndarray:
        if self.kind == "severity":
            return np.searchsorted(np.array(self.cuts), answers[:, 0], side="right")
        return answers.argmax(1)


def check_asked(alpha: float, by: str) -> None:
    """Raises :class:`~modicum.errors.InputError` for a share, or a score, that no prediction sets can have."""
    if not 0 < alpha < 1:
        raise InputError(
            f"--conformal is {alpha:g}", "give the share of misses you accept, such as 0.1 (coverage of 90 %)"
        )
    if by not in BY:
        raise InputError(f"unknown --conformal-score '{by}'", did_you_mean(by, BY))


def calibrated_sets(
    answers: Answers,
    truth: Truth,
    groups: Sequence[object] | None,
    *,
    alpha: float,
    kind: str,
    classes: Sequence[str],
    by: str = USUAL,
    cuts: Sequence[float] = (),
) -> PredictionSets:
    """Prediction sets by validation answers.

    Args:
        answers: probabilities, a column a class; of ``severity`` one column.
        truth: class numbers; of findings 1, 0 and NaN.
        groups: the patient of each image; None where they are not known.
        alpha: see :class:`PredictionSets`; likewise ``kind``, ``classes``, ``by`` and ``cuts``.

    Raises:
        InputError: ``alpha`` or ``by`` out of range, or too few validation images.
    """
    check_asked(alpha, by)
    units = int(group_numbers(groups, len(answers)).max()) + 1 if len(answers) else 0
    unit = "image" if groups is None else "patient"
    facts: dict[str, Any] = {"images": len(answers), "unit": unit, "units": units}
    if units < fewest(alpha):
        raise InputError(
            f"--conformal {alpha:g} needs {fewest(alpha)} validation {unit}s or more, and this run has {units}",
            f"give {1 / (units + 1):.2g} or more, or validate on more images"
            if units
            else "validate on more images",
        )
    cuts = tuple(float(cut) for cut in cuts)
    shared: dict[str, Any] = {"alpha": alpha, "kind": kind, "classes": tuple(classes), "cuts": cuts}
    if kind == "findings":
        limits = _of_findings(answers, truth, groups, alpha)
        open_sides = [limit for limit in limits if not math.isfinite(limit)]
        if len(open_sides) == len(limits):
            raise InputError(
                f"--conformal {alpha:g} needs {fewest(alpha)} validation images with a finding, or without it",
                "give a larger share, or validate on more images",
            )
        names = [name for index, name in enumerate(classes) if math.inf in limits[2 * index : 2 * index + 2]]
        facts["undecided"] = names
        return PredictionSets(by="finding", limits=limits, facts=facts, **shared)
    by = by if kind == "classes" else kind
    scores = PredictionSets(by=by, limits=(0.0,), **shared)._scores(answers)
    limit = limit_of(scores[np.arange(len(scores)), truth.astype(np.int64)], alpha, groups)
    return PredictionSets(by=by, limits=(limit,), facts=facts, **shared)


def _of_findings(
    answers: Answers, truth: Truth, groups: Sequence[object] | None, alpha: float
) -> tuple[float, ...]:
    """The limits of each finding, without and with it; infinite where there are too few images of a side."""
    patients = None if groups is None else np.array(list(groups), dtype=object)
    limits = []
    for index in range(answers.shape[1]):
        for side in (0, 1):
            here = truth[:, index] == side
            scores = answers[here, index] if side == 0 else 1 - answers[here, index]
            limits.append(limit_of(scores, alpha, None if patients is None else patients[here]))
    return tuple(limits)


def sets_note(sets: PredictionSets) -> str:
    """What the sets rest on, in a sentence."""
    facts = sets.facts
    of = f" of {count_of(facts['units'], 'patient')}" if facts["unit"] == "patient" else ""
    text = (
        f"prediction sets hold the true class of {100 * (1 - sets.alpha):g} % of images like the "
        f"{count_of(facts['images'], 'validation image')}{of} that they are calibrated on ({sets.by})"
    )
    if names := facts.get("undecided"):
        text += (
            f"; {listed(names, 4)}: fewer than {fewest(sets.alpha)} of them have it or lack it, so that side is "
            "in every set"
        )
    return text
