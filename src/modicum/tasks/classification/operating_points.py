"""Operating points: from which probability on a class is said, and the temperature that probabilities are made with.

Both are chosen on validation predictions and kept with the task; test images have no part in them. Ranking does not
change by either, and no weight does.

Sources: Guo et al., On Calibration of Modern Neural Networks (ICML 2017) (temperature); Platt, Probabilistic Outputs for
Support Vector Machines (1999), section 2.2 (targets that keep few or well separated images from saying "certain");
Youden, Cancer 3 (1950) (the point where sensitivity + specificity is highest).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Num
from scipy import special

from modicum.errors import InputError
from modicum.tasks.classification.metrics import confidence_bin
from modicum.tasks.stored_values import count_of_values, number_of, numbers_of, one_of
from modicum.wording import count_of, listed

Outputs = Float[np.ndarray, "n classes"]
Truth = Num[np.ndarray, "n"] | Num[np.ndarray, "n classes"]
Source = Literal["default", "given", "validation"]

FEWEST = 10
"""Validation images with a class, and as many without it, below which nothing is chosen by them."""
TEMPERATURES = (0.05, 20.0)
_SURE = 30.0
"""Logits beyond are 0 or 1 in what a threshold can tell apart."""


@dataclass(frozen=True)
class OperatingPoints:
    """How probabilities are made of logits, and decisions of probabilities.

    Attributes:
        thresholds: the probability from which on a finding, or the positive one of two classes, is said: one a finding,
            one for two classes. Empty: one half, and of classes the most probable.
        temperature: what logits are divided by.
        source: ``default``, ``given`` by the user, or chosen on ``validation`` predictions.
        facts: what was chosen, on how many images, and what it came to there; for ``model.json`` and reports.
    """

    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    source: Source = "default"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``model.json``; nothing for the default."""
        if self.source == "default":
            return {}
        values = {"from": self.source, "thresholds": list(self.thresholds), "temperature": self.temperature}
        return {"operating_points": values | dict(self.facts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None, count: int) -> "OperatingPoints":
        """The inverse of :meth:`as_dict`'s inner part, of so many thresholds or none; the default where there is none."""
        if not values:
            return cls()
        plain = {"from", "thresholds", "temperature"}
        facts = {key: value for key, value in values.items() if key not in plain}
        count_of_values(facts.get("images", 0), "images that points were chosen on")
        if not all(isinstance(one, dict) for one in dict(facts.get("classes", {})).values()):
            raise InputError("points of classes are not tables", "restore the file that they are in")
        thresholds = numbers_of(values["thresholds"], "thresholds", count if values["thresholds"] else 0)
        temperature = number_of(values["temperature"], "temperature", 1e-6)
        return cls(thresholds, temperature, one_of(values["from"], get_args(Source), "source"), facts)


@dataclass(frozen=True)
class PointChoice:
    """What a user asks for.

    Attributes:
        at: ``balanced`` (balanced accuracy is highest), ``specificity`` (the highest sensitivity at the task's
            specificity), ``half`` (one half; of classes the most probable), or the probabilities themselves.
        temperature: ``validation``, or the value; 1 leaves probabilities as the network gives them.
    """

    at: str | tuple[float, ...] = "half"
    temperature: str | float = 1.0

    def start(self, kind: str, classes: Sequence[str]) -> OperatingPoints:
        """What holds before anything is chosen.

        Raises:
            InputError: given probabilities that do not fit the classes.
        """
        given = () if isinstance(self.at, str) else self.at
        if given:
            _check_given(given, kind, classes)
        temperature = 1.0 if isinstance(self.temperature, str) else self.temperature
        return OperatingPoints(given, temperature, "given" if given or temperature != 1 else "default")

    def pending(self, kind: str) -> str:
        """What is to be chosen on validation predictions, in words; empty for nothing."""
        words = (
            ["operating points"] if kind != "multi-class" and self.at in {"balanced", "specificity"} else []
        )
        return " and ".join([*words, *(["temperature"] if self.temperature == "validation" else [])])

    def chosen(
        self, outputs: Outputs, truth: Truth, kind: str, classes: Sequence[str], specificity: float
    ) -> OperatingPoints:
        """The operating points by validation predictions.

        Args:
            outputs: logits, a column a class.
            truth: class numbers; of findings 1, 0 and NaN.
            kind: ``binary``, ``multi-class`` or ``multi-label``.
            classes: names of the columns.
            specificity: that of ``specificity``.
        """
        points = self.start(kind, classes)
        facts: dict[str, Any] = {"images": len(truth)}
        if self.temperature == "validation":
            points = replace(points, temperature=tuned_temperature(outputs, truth, kind))
            errors = (calibration_error(outputs / by, truth, kind) for by in (1.0, points.temperature))
            facts["ece"] = dict(zip(("before", "after"), errors, strict=True))
        if kind != "multi-class" and isinstance(self.at, str) and self.at != "half":
            of_findings = _by_finding(outputs / points.temperature, truth, kind, classes)
            by_finding = {name: _point(*one, self.at, specificity) for name, one in of_findings.items()}
            facts |= {"at": self.at, "classes": by_finding}
            points = replace(points, thresholds=tuple(one["threshold"] for one in by_finding.values()))
        return replace(points, source="validation", facts=facts)


def point_notes(points: OperatingPoints, kind: str, classes: Sequence[str]) -> list[str]:
    """What was chosen on validation predictions, in a sentence."""
    if points.source != "validation":
        return []
    images = points.facts.get("images", 0)
    lines = [f"logits are divided by {points.temperature:.3g}"] if points.temperature != 1 else []
    names = classes[1:] if kind == "binary" else classes
    moved = [f"'{n}' from {t:.3g} on" for n, t in zip(names, points.thresholds, strict=False) if t != 0.5]
    if moved:
        lines.append(f"{listed(moved, 4)} (elsewhere 0.5)" if kind == "multi-label" else f"{moved[0]}")
    few = [f"'{name}'" for name, one in points.facts.get("classes", {}).items() if "sensitivity" not in one]
    notes = [f"chosen on {count_of(images, 'validation image')}: {', '.join(lines)}"] if lines else []
    if few:
        notes.append(
            f"{listed(few, 4)}: decided at one half, as fewer than {FEWEST} validation images have it or lack it"
        )
    return notes


def tuned_temperature(outputs: Outputs, truth: Truth, kind: str) -> float:
    """The temperature at which validation predictions are least surprising, within :data:`TEMPERATURES`.

    Targets are Platt's: ``(N + 1) / (N + K)`` for the truth, of N images with it and K classes, so that images that
    are all told apart do not make every probability 0 or 1. 1 where there are fewer than twice :data:`FEWEST` images, or
    nothing is better.
    """
    from scipy.optimize import minimize_scalar

    logits, targets = _binomial(outputs, truth) if kind == "multi-label" else _classes(outputs, truth)
    if len(logits) < 2 * FEWEST:
        return 1.0

    def surprise(log_temperature: float) -> float:
        scaled = special.log_softmax(logits * np.exp(-log_temperature), axis=1)
        return float(-(targets * scaled).sum(axis=1).mean())

    minimum = minimize_scalar(surprise, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(minimum.x)) if minimum.fun < surprise(0.0) - 1e-9 else 1.0


def calibration_error(outputs: Outputs, truth: Truth, kind: str) -> float:
    """Expected calibration error of logits, as the metric ``ece`` has it; of findings the mean over them.

    Here it is of the images that the temperature is chosen on; an evaluation's ``ece`` is of those that it is given.
    """
    if kind == "multi-label":
        parts = []
        for index, is_labelled in enumerate((~np.isnan(truth)).T):
            if is_labelled.any():
                two = np.stack([np.zeros(is_labelled.sum()), outputs[is_labelled, index]], axis=1)
                parts.append(calibration_error(two, truth[is_labelled, index], "binary"))
        return float(np.mean(parts)) if parts else float("nan")
    probabilities = special.softmax(outputs, axis=1)
    predicted = probabilities.argmax(1)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    gaps = np.bincount(confidence_bin(confidence), (predicted == truth.astype(np.int64)) - confidence)
    return float(np.abs(gaps).sum() / max(1, len(predicted)))


def best_threshold(
    logits: Float[np.ndarray, "n"], positive: Num[np.ndarray, "n"], at: str, specificity: float = 0.95
) -> float:
    """The probability from which on ``positive`` is said, in the middle between two images'.

    Args:
        logits: of the positive class, against the rest.
        positive: the truth, 0 or 1; both must be there.
        at: ``balanced``: sensitivity plus specificity is highest, and one half stays where nothing is better;
            ``specificity``: the highest sensitivity with at least that specificity.
        specificity: see ``at``.
    """
    logits = np.clip(logits, -_SURE, _SURE)
    levels = np.unique(logits)
    candidates = np.concatenate([[levels[0] - 1], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1]])
    of_positive, of_negative = (np.sort(logits[positive.astype(bool) == side]) for side in (True, False))
    sensitivity = 1 - np.searchsorted(of_positive, candidates) / len(of_positive)
    left = np.searchsorted(of_negative, candidates) / len(of_negative)
    if at == "specificity":
        # Sensitivity falls as the threshold rises: of equally good ones the lowest with the specificity.
        worth = np.where(left >= specificity, sensitivity, -1.0)
        return float(special.expit(candidates[worth.argmax()]))
    worth = sensitivity + left
    at_half = float((of_positive >= 0).mean() + (of_negative < 0).mean())
    if worth.max() <= at_half + 1e-12:
        return 0.5
    equal = np.flatnonzero(worth >= worth.max() - 1e-12)
    return float(special.expit(candidates[equal[np.abs(candidates[equal]).argmin()]]))


def _point(logits: np.ndarray, positive: np.ndarray, at: str, specificity: float) -> dict[str, float | int]:
    """The threshold of one finding, and what it comes to on the images that it was chosen on."""
    here = int(positive.sum())
    facts: dict[str, float | int] = {"threshold": 0.5, "with": here, "without": len(positive) - here}
    if min(here, len(positive) - here) < FEWEST:
        return facts
    facts["threshold"] = best_threshold(logits, positive, at, specificity)
    says = special.expit(logits) >= facts["threshold"]
    facts["sensitivity"] = float(says[positive == 1].mean())
    facts["specificity"] = float((~says[positive == 0]).mean())
    return facts


def _by_finding(
    outputs: Outputs, truth: Truth, kind: str, classes: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Logits and truth of each finding where it is known; of two classes those of the second."""
    if kind == "binary":
        return {classes[1]: (outputs[:, 1] - outputs[:, 0], truth.astype(np.int64))}
    is_labelled = ~np.isnan(truth)
    return {
        name: (outputs[is_labelled[:, i], i], truth[is_labelled[:, i], i].astype(np.int64))
        for i, name in enumerate(classes)
    }


def _classes(outputs: Outputs, truth: Num[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``[n, classes]`` and Platt's targets of them."""
    truth, count = truth.astype(np.int64), outputs.shape[1]
    of_class = np.bincount(truth, minlength=count)[truth][:, None]
    return outputs, (np.eye(count)[truth] * of_class + 1) / (of_class + count)


def _binomial(outputs: Outputs, truth: Float[np.ndarray, "n classes"]) -> tuple[np.ndarray, np.ndarray]:
    """The known findings of all images together, as two classes each: logits ``[m, 2]`` and targets."""
    parts = [
        _classes(
            np.stack([np.zeros(is_labelled.sum()), outputs[is_labelled, i]], axis=1), truth[is_labelled, i]
        )
        for i, is_labelled in enumerate((~np.isnan(truth)).T)
    ]
    return np.concatenate([logits for logits, _ in parts]), np.concatenate([targets for _, targets in parts])


def _check_given(given: Sequence[float], kind: str, classes: Sequence[str]) -> None:
    wanted = {"binary": 1, "multi-label": len(classes)}.get(kind, 0)
    if not wanted:
        raise InputError(
            f"operating_point has probabilities, and of {len(classes)} classes the most probable is said",
            "leave it out",
        )
    if len(given) != wanted:
        whose = f"of “{classes[1]}”" if kind == "binary" else "a finding, in the order of the findings"
        raise InputError(
            f"operating_point has {len(given)} values", f"give {wanted}: the probability {whose}, such as 0.5"
        )
    if wrong := [value for value in given if not 0 <= value <= 1]:
        raise InputError(f"operating_point has {wrong[0]:g}", "give probabilities from 0 to 1")
