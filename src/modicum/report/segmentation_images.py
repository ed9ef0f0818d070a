"""What a segmentation's predictions file says of each image: overlap, areas and distances, and whose image it is."""

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
"""Up to so many classes have a column of their own where images are listed."""


@dataclass(frozen=True)
class Segmented:
    """The images of an evaluation.

    Args:
        classes: names of the foreground classes; one without a name where there is one.
        names: of the images, as in the manifest.
        scores: of each image, means over its classes first.
        dice: of each image and class; NaN where no pixel counts.
        true_area: pixels of each class.
        predicted_area: pixels that are marked as each class.
        domains: of each image, empty where not known; None where none is known.
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
        """Pixels of each class that are marked as it: ``[images, classes]``, from what Dice is defined as."""
        return np.nan_to_num(self.dice) * (self.true_area + self.predicted_area) / 2

    def found(self, number: int) -> float | None:
        """The share of a class's pixels that are marked, of all images together; None where the class is nowhere."""
        return _share(self.hits[:, number], self.true_area[:, number])

    def right(self, number: int) -> float | None:
        """The share of pixels marked as a class that are of it; None where nothing is marked."""
        return _share(self.hits[:, number], self.predicted_area[:, number])

    def of_domains(self) -> list[tuple[str, np.ndarray]]:
        """Names of the domains and which images are theirs, the worst first."""
        if self.domains is None:
            return []
        groups = Scored(self.scores.values, np.where(self.domains == "", "not known", self.domains))
        assert groups.patients is not None
        return [(name, groups.patients == name) for name, _ in groups.groups("dice")]


def segmented(run: RunFiles, evaluation: Evaluation) -> Segmented | None:
    """Reads the predictions; None where they are missing or are none of a segmentation."""
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
    known = patients is not None and bool((patients != "").any())
    names = table["image"].to_numpy(dtype=object) if "image" in table else np.full(len(table), "")
    return Segmented(
        classes,
        names,
        Scored(pd.DataFrame({"dice": _mean(each["dice"]), **columns}), patients if known else None),
        each["dice"],
        np.nan_to_num(of_classes("true_area")),
        np.nan_to_num(of_classes("predicted_area")),
        _domains(run, names),
    )


def foreground(run: RunFiles) -> list[str]:
    """Names of the classes that are looked for."""
    return run.classes[1:] if run.kind == "multi-class" else run.classes


def column_of(run: RunFiles, column: str, names: np.ndarray) -> np.ndarray:
    """A column of the run's manifest for images by their names; empty for those that are not in it."""
    table = run.manifest
    if table is None or column not in table or "image" not in table:
        return np.full(len(names), "", dtype=object)
    known = dict(zip(table["image"], table[column], strict=True))
    return np.array([known.get(name, "") for name in names], dtype=object)


def _domains(run: RunFiles, names: np.ndarray) -> np.ndarray | None:
    found = column_of(run, "domain", names)
    return found if (found != "").any() else None


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    return float(part.sum() / whole.sum()) if whole.sum() else None


def _mean(values: np.ndarray) -> np.ndarray:
    """Over classes, those that have a value."""
    known = np.isfinite(values)
    return np.divide(
        np.where(known, values, 0).sum(1), known.sum(1), out=np.full(len(values), np.nan), where=known.any(1)
    )
