"""The predictions of a classifier as arrays, from ``predictions.csv``."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modicum.report.files import Evaluation, RunFiles


@dataclass(frozen=True)
class Classified:
    """Ground truth and probabilities of the images of one evaluation.

    Args:
        classes: names in the order of the columns.
        kind: binary, multi-class or multi-label.
        truth: ``[n]`` class numbers, or ``[n, findings]`` of 1, 0 and NaN (unknown).
        probabilities: ``[n, classes]``.
        patients: patient of each image, if intervals are by patient.
    """

    classes: list[str]
    kind: str
    truth: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray | None

    @property
    def several(self) -> bool:
        """Whether an image can have more than one class (multi-label)."""
        return self.kind == "multi-label"

    def one(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """One class against the rest: scores, ground truth, and patients, for images with known truth."""
        if not self.several:
            return self.probabilities[:, index], self.truth == index, self.patients
        is_known = ~np.isnan(self.truth[:, index])
        patients = None if self.patients is None else self.patients[is_known]
        return self.probabilities[is_known, index], self.truth[is_known, index] > 0.5, patients

    def curve_classes(self) -> Iterator[int]:
        """Indices of the classes with a curve: one of two classes, or each of more."""
        return iter([1]) if self.kind == "binary" else iter(range(len(self.classes)))


def classified(run: RunFiles, evaluation: Evaluation) -> Classified | None:
    """Reads the predictions; None if they are missing or do not fit the classes. Rows without truth are left out."""
    table, classes = evaluation.predictions, run.classes
    if table is None or not classes or any(f"p_{name}" not in table for name in classes):
        return None
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy(dtype=float)
    usable = np.isfinite(probabilities).all(1)
    if run.kind == "multi-label":
        if any(f"truth_{name}" not in table for name in classes):
            return None
        columns = [pd.to_numeric(table[f"truth_{name}"], errors="coerce") for name in classes]
        truth = np.stack([column.to_numpy(dtype=float) for column in columns], axis=1)
    else:
        if "truth" not in table:
            return None
        numbers = {name: index for index, name in enumerate(classes)}
        truth = table["truth"].map(numbers).to_numpy(dtype=float)
        usable &= np.isfinite(truth)
        truth = np.where(usable, truth, 0).astype(np.int64)
    by_patient = evaluation.info.get("resampling_unit") == "patient" and "patient" in table
    patients = table["patient"].to_numpy(dtype=object)[usable] if by_patient else None
    if not usable.any():
        return None
    return Classified(classes, run.kind, truth[usable], probabilities[usable], patients)
