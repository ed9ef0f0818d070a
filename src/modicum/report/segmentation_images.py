"""Reads a segmentation's predictions file: overlap, areas, distances and patient of each image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modicum.report.by_patient import Scored
from modicum.report.files import Evaluation, RunFiles
from modicum.tasks.segmentation.metric_table import METRICS

OF_IMAGES = tuple(metric.name for metric in METRICS if metric.per_image)
"""Metrics of an image and class, in the order of the report."""
MOST_COLUMNS = 5
"""Maximum number of classes with their own column in lists of images."""


@dataclass(frozen=True)
class Segmented:
    """The images of an evaluation.

    Args:
        classes: names of the foreground classes; an empty name for a single class.
        names: names of the images, as in the manifest.
        scores: scores of each image, means over its classes first.
        dice: Dice of each image and class; NaN if no pixel counts.
        true_area: number of pixels of each class.
        predicted_area: number of pixels predicted as each class.
        domains: domain of each image, empty if unknown; None if all are unknown.
    """

    classes: Sequence[str]
    names: np.ndarray
    scores: Scored
    dice: np.ndarray
    true_area: np.ndarray
    predicted_area: np.ndarray
    domains: np.ndarray | None

    @property
    def hits(self) -> np.ndarray:
        """True positive pixels of each class, ``[images, classes]``, from the definition of Dice."""
        return np.nan_to_num(self.dice) * (self.true_area + self.predicted_area) / 2

    def sensitivity(self, number: int) -> float | None:
        """Sensitivity of a class over the pixels of all images together; None if the class is in no image."""
        return _share(self.hits[:, number], self.true_area[:, number])

    def precision(self, number: int) -> float | None:
        """Precision of a class over the pixels of all images together; None if nothing is predicted."""
        return _share(self.hits[:, number], self.predicted_area[:, number])

    def of_domains(self) -> list[tuple[str, np.ndarray]]:
        """Domain names with a mask of their images, the worst first."""
        if self.domains is None:
            return []
        groups = Scored(self.scores.values, np.where(self.domains == "", "not known", self.domains))
        assert groups.patients is not None
        return [(name, groups.patients == name) for name, _ in groups.groups("dice")]


def segmented(run: RunFiles, evaluation: Evaluation) -> Segmented | None:
    """Reads the predictions; None if they are missing or not of a segmentation."""
    table = evaluation.predictions
    if table is None or not len(table):
        return None
    several = [str(name).partition("/")[2] for name in table if str(name).startswith("dice/")]
    if not several and "dice" not in table:
        return None
    classes = several or foreground(run)[:1] or [""]

    def of_classes(metric: str) -> np.ndarray:
        columns = [f"{metric}/{name}" for name in several] or [metric]
        missing = pd.Series(np.nan, table.index)
        values = [pd.to_numeric(table.get(name, missing), errors="coerce") for name in columns]
        return np.stack([column.to_numpy(dtype=float) for column in values], axis=1)

    each = {metric: of_classes(metric) for metric in OF_IMAGES}
    columns = {metric: _mean(values) for metric, values in each.items() if np.isfinite(values).any()}
    if several and len(several) <= MOST_COLUMNS:
        columns = {"dice": _mean(each["dice"])}
        columns |= {f"dice/{name}": each["dice"][:, i] for i, name in enumerate(several)}
    patients = table["patient"].to_numpy(dtype=object) if "patient" in table else None
    has_patients = patients is not None and bool((patients != "").any())
    names = table["image"].to_numpy(dtype=object) if "image" in table else np.full(len(table), "")
    return Segmented(
        classes,
        names,
        Scored(pd.DataFrame({"dice": _mean(each["dice"]), **columns}), patients if has_patients else None),
        each["dice"],
        np.nan_to_num(of_classes("true_area")),
        np.nan_to_num(of_classes("predicted_area")),
        _domains(run, names),
    )


def foreground(run: RunFiles) -> list[str]:
    """Names of the foreground classes."""
    return run.classes[1:] if run.kind == "multi-class" else run.classes


def column_of(run: RunFiles, column: str, names: np.ndarray) -> np.ndarray:
    """A column of the run's manifest, for images by name; empty for images that are not in it."""
    table = run.manifest
    if table is None or column not in table or "image" not in table:
        return np.full(len(names), "", dtype=object)
    value_of = dict(zip(table["image"], table[column], strict=True))
    return np.array([value_of.get(name, "") for name in names], dtype=object)


def _domains(run: RunFiles, names: np.ndarray) -> np.ndarray | None:
    domains = column_of(run, "domain", names)
    return domains if (domains != "").any() else None


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.sum() else None


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a value."""
    finite = np.isfinite(values)
    return np.divide(
        np.where(finite, values, 0).sum(1),
        finite.sum(1),
        out=np.full(len(values), np.nan),
        where=finite.any(1),
    )
