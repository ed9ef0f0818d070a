"""The predictions of a classifier as arrays, from ``predictions.csv``."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modicum.report.files import Evaluation, RunFiles


@dataclass(frozen=True)
class Classified:
    """Ground truth and predictions of the images of one evaluation.

    Args:
        classes: names in the order of the columns.
        kind: binary, multi-class or multi-label.
        truth: ``[n]`` class numbers, or ``[n, findings]`` of 1, 0 and NaN (unknown).
        probabilities: ``[n, classes]``; of a severity score, which has none, ``[n, 0]``.
        patients: patient of each image, if intervals are by patient.
        predicted: ``[n]`` class numbers; not of findings.
        severity: ``[n]``, in grades; None where probabilities are predicted.
        rows: ``[n]`` which rows of the table these are.
    """

    classes: list[str]
    kind: str
    truth: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray | None
    predicted: np.ndarray
    severity: np.ndarray | None = None
    rows: np.ndarray | None = None

    @property
    def several(self) -> bool:
        """Whether an image can have more than one of the classes."""
        return self.kind == "multi-label"

    def one(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """One class against the rest, or of a severity its grade and those above against the grades below.

        Returns:
            Scores, truth, and patients of the images where it is known.
        """
        if self.severity is not None:
            return self.severity, self.truth >= index, self.patients
        if not self.several:
            return self.probabilities[:, index], self.truth == index, self.patients
        is_known = ~np.isnan(self.truth[:, index])
        patients = None if self.patients is None else self.patients[is_known]
        return self.probabilities[is_known, index], self.truth[is_known, index] > 0.5, patients

    def images_of(self, index: int) -> int:
        """How many images are of a class, or have a finding."""
        of_class = self.truth[:, index] > 0.5 if self.several else self.truth == index
        return int(of_class.sum())

    def curve_classes(self) -> Iterator[int]:
        """Indices of the classes with a curve: one of two classes, or each of more; of a severity all but the lowest."""
        first = 1 if self.kind == "binary" or self.severity is not None else 0
        return iter(range(first, len(self.classes)))

    def curve_name(self, index: int) -> str:
        """What a legend calls the curve of a class."""
        cut = self.severity is not None and index + 1 < len(self.classes)
        return f"{self.classes[index]} or more" if cut else self.classes[index]

    def curve_metric(self, metric: str, index: int) -> str:
        """The name under which the metric of a curve is kept: ``auroc``, ``auroc/<class>`` or ``auroc/>=<grade>``."""
        if self.kind == "binary":
            return metric
        return f"{metric}/{'' if self.severity is None else '>='}{self.classes[index]}"


def classified(run: RunFiles, evaluation: Evaluation) -> Classified | None:
    """Reads the predictions; None if they are missing or do not fit the classes. Rows without truth are left out.

    What was predicted is what the table says, so that no figure can decide by another rule than the predictions did.
    """
    table, classes = evaluation.predictions, run.classes
    if table is None or not classes:
        return None
    if of_severity(run):
        return _graded(table, classes, run.kind, evaluation)
    if any(f"p_{name}" not in table for name in classes):
        return None
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy(dtype=float)
    usable = np.isfinite(probabilities).all(1)
    if run.kind == "multi-label":
        if any(f"truth_{name}" not in table for name in classes):
            return None
        columns = [pd.to_numeric(table[f"truth_{name}"], errors="coerce") for name in classes]
        truth = np.stack([column.to_numpy(dtype=float) for column in columns], axis=1)
        predicted = probabilities.argmax(1)
    else:
        if "truth" not in table:
            return None
        has_truth, truth = _numbers(table["truth"], classes)
        usable &= has_truth
        predicted = probabilities.argmax(1)
        if "prediction" in table:
            has_prediction, predicted = _numbers(table["prediction"], classes)
            usable &= has_prediction
    if not usable.any():
        return None
    patients = _patients(table, evaluation, usable)
    rows = np.flatnonzero(usable)
    return Classified(
        classes, run.kind, truth[usable], probabilities[usable], patients, predicted[usable], rows=rows
    )


def of_severity(run: RunFiles) -> bool:
    """Whether the run's predictions are severity scores."""
    return run.task.get("output") == "score"


def _graded(table: pd.DataFrame, classes: list[str], kind: str, evaluation: Evaluation) -> Classified | None:
    if any(name not in table for name in ("truth", "prediction", "score")):
        return None
    severity = pd.to_numeric(table["score"], errors="coerce").to_numpy(dtype=float)
    (has_truth, truth), (has_prediction, predicted) = (
        _numbers(table[n], classes) for n in ("truth", "prediction")
    )
    usable = has_truth & has_prediction & np.isfinite(severity)
    if not usable.any():
        return None
    patients = _patients(table, evaluation, usable)
    nothing = np.empty((int(usable.sum()), 0))
    rows = np.flatnonzero(usable)
    return Classified(
        classes, kind, truth[usable], nothing, patients, predicted[usable], severity[usable], rows
    )


def _numbers(names: "pd.Series[str]", classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which names are classes, and the number of each; 0 where it is none."""
    numbers = names.map({name: index for index, name in enumerate(classes)}).to_numpy(dtype=float)
    is_finite = np.isfinite(numbers)
    return is_finite, np.where(is_finite, numbers, 0).astype(np.int64)


def _patients(table: pd.DataFrame, evaluation: Evaluation, usable: np.ndarray) -> np.ndarray | None:
    by_patient = evaluation.info.get("resampling_unit") == "patient" and "patient" in table
    return table["patient"].to_numpy(dtype=object)[usable] if by_patient else None
