"""The yes-or-no questions that a classifier answers: one of two classes, each finding, class, or cut of grades."""

from dataclasses import dataclass

import numpy as np

from modicum.report.classification_words import class_words
from modicum.report.classified import Classified
from modicum.report.files import RunFiles
from modicum.report.operating_points import thresholds_of_findings


@dataclass(frozen=True)
class Question:
    """A condition, what was decided of it, and what is true.

    Attributes:
        name: of the condition.
        scores: ``[n]`` probability of it; None of a severity score, which has none.
        says: ``[n]`` whether it was said to be there.
        positive: ``[n]`` whether it is.
        patients: of each image, if intervals are by patient.
        threshold: from which probability on it is said; None where another rule decides.
        rule: when it is said, in words.
    """

    name: str
    scores: np.ndarray | None
    says: np.ndarray
    positive: np.ndarray
    patients: np.ndarray | None
    threshold: float | None
    rule: str

    @property
    def answerable(self) -> bool:
        """Whether there are images of both kinds."""
        return bool(self.positive.any() and not self.positive.all())


def questions(run: RunFiles, scored: Classified) -> list[Question]:
    """The questions of a classifier's evaluation, in the order of its classes."""
    ordered = bool(run.task.get("ordered")) or scored.severity is not None
    if scored.kind == "binary" and scored.severity is None:
        threshold = thresholds_of_findings(run)[0]
        name, truth = class_words(run, scored.classes[1]), scored.truth == 1
        says = scored.predicted == 1
        rule = f"from {threshold:.3g} on"
        return [Question(name, scored.probabilities[:, 1], says, truth, scored.patients, threshold, rule)]
    if scored.several:
        return [_finding(run, scored, index) for index in range(len(scored.classes))]
    return [_of_class(run, scored, index, ordered) for index in range(int(ordered), len(scored.classes))]


def _finding(run: RunFiles, scored: Classified, index: int) -> Question:
    scores, positive, patients = scored.one(index)
    threshold = thresholds_of_findings(run)[index]
    says, rule = scores >= threshold, f"from {threshold:.3g} on"
    return Question(
        class_words(run, scored.classes[index]), scores, says, positive, patients, threshold, rule
    )


def _of_class(run: RunFiles, scored: Classified, index: int, ordered: bool) -> Question:
    """One class against the rest; of grades the grade and those above against those below."""
    name = class_words(run, scored.classes[index])
    if not ordered:
        says, positive = scored.predicted == index, scored.truth == index
        scores: np.ndarray | None = scored.probabilities[:, index]
        rule = "most probable class"
    else:
        says, positive = scored.predicted >= index, scored.truth >= index
        scores = None if scored.severity is not None else scored.probabilities[:, index:].sum(axis=1)
        rule = "by the grade" if scored.severity is not None else "most probable grade"
        name = f"{name} or more" if index + 1 < len(scored.classes) else name
    scores = None if scores is None else np.clip(scores, 0.0, 1.0)
    return Question(name, scores, says, positive, scored.patients, None, rule)
