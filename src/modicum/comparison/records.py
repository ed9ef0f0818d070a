"""What the run folder of one cell says: a row of ``cells.csv``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modicum.comparison.grid import Cell
from modicum.engine.run_folder import RunFolder, read_json
from modicum.report.words import is_share
from modicum.tasks import DenseTask
from modicum.tasks.registry import task_from_dict

NAN = math.nan
FULL = "full"
"""The method that memory is compared with."""


@dataclass(frozen=True)
class Measure:
    """What all cells are compared by.

    Attributes:
        metric: name of the score.
        split: ``test`` where the data have one, else ``val``.
        higher_is_better: direction of the score.
        unit: what the intervals resample, ``patient`` or ``image``.
        num_outputs: of the networks.
        patients: that were evaluated; None where they are not known.
        dense: whether predictions are pictures.
        of_full: whether full fine-tuning is there, or can be predicted, to compare memory with.
        folds: domains that were held out in turn.
    """

    metric: str
    split: str
    higher_is_better: bool
    unit: str
    num_outputs: int
    patients: int | None = None
    dense: bool = False
    of_full: bool = True
    folds: tuple[str, ...] = ()

    @property
    def efficiency(self) -> bool:
        """Whether a score is a share that can be discounted for what it costs."""
        return not self.dense or (self.higher_is_better and is_share(self.metric))


@dataclass(frozen=True)
class Record:
    """One cell and what is known of it."""

    cell: Cell
    folder: RunFolder
    state: str
    error: str = ""
    chosen: bool = True
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether it has a score."""
        return self.state == "finished"

    def row(self, measure: Measure | None) -> dict[str, Any]:
        """The cell as a row of ``cells.csv``; NaN where a number is missing."""
        score = self._score(measure)
        return {
            "cell": self.cell.name,
            "method": self.cell.variant,
            **({} if self.cell.fold is None else {"held_out": self.cell.fold}),
            "seed": self.cell.seed,
            "lr": self._number("lr"),
            "batch_size": self._number("batch_size"),
            "use": "seed" if self.chosen else "search",
            "state": self.state,
            "metric": measure.metric if measure else "",
            "split": measure.split if measure else "",
            "score": _float(score.get("value")),
            "low": _float(score.get("low")),
            "high": _float(score.get("high")),
            "selection_value": self._validation_value(measure),
            "learnable": self._number("parameters", "learnable"),
            "learnable_percent": self._number("parameters", "learnable_percent"),
            "memory_mib": self._number("memory", "peak_bytes") / 2**20,
            "memory_kind": str(self.metrics.get("memory", {}).get("kind", "")),
            "seconds_per_epoch": _ratio(
                self._number("time", "train_seconds"), self._number("time", "epochs")
            ),
            "images_per_second": self._number("time", "images_per_second"),
            "checkpoint_bytes": self._checkpoint_bytes(),
            "feature_bytes_per_image": self._number("features", "bytes_per_image"),
            "error": self.error,
        }

    def _score(self, measure: Measure | None) -> Mapping[str, Any]:
        if measure is None:
            return {}
        evaluation = self.metrics.get("evaluations", {}).get(measure.split, {})
        found: Mapping[str, Any] = evaluation.get("metrics", {}).get(measure.metric, {})
        return found

    def _validation_value(self, measure: Measure | None) -> float:
        """The validation value of the weights that were kept; of the last ones that is the metric at the end."""
        if self.metrics.get("selection", {}).get("metric") is not None or measure is None:
            return self._number("selection", "value")
        return self._number("evaluations", "val", "metrics", measure.metric, "value")

    def _number(self, *path: str) -> float:
        value: Any = self.metrics
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return _float(value)

    def _checkpoint_bytes(self) -> float:
        return float(self.folder.weights.stat().st_size) if self.folder.weights.is_file() else NAN


def read_record(cell: Cell, cells: Path, errors: Mapping[str, str], chosen: bool) -> Record:
    """What is known of a cell by now.

    Args:
        cell: of the grid.
        cells: the folder of the run folders.
        errors: of cells that failed in this call, by name.
        chosen: whether it counts for its row; a learning rate that was not taken does not.
    """
    folder = RunFolder(cells / cell.name)
    if cell.name in errors:
        return Record(cell, folder, "failed", errors[cell.name], chosen)
    status = folder.status
    if status.get("state") != "finished":
        # Under way in this call, or left by an earlier one: what it failed with then will be tried again.
        return Record(cell, folder, "waiting" if not status else "unfinished", "", chosen)
    recipe = _training_of(folder)
    return Record(cell, folder, "finished", "", chosen, {**read_json(folder.metrics), **recipe})


def _training_of(folder: RunFolder) -> dict[str, Any]:
    from modicum.engine.recipe.settings import Recipe

    recipe = Recipe.read(folder.recipe)
    return {"lr": recipe.training.lr, "batch_size": recipe.training.batch_size}


def measure_of(records: Sequence[Record]) -> Measure | None:
    """What the cells are compared by: the metric that selected the weights, on the test split where there is one.

    None where no finished cell has been evaluated.
    """
    for record in records:
        evaluations = record.metrics.get("evaluations", {})
        split = next((name for name in ("test", "val") if name in evaluations), None)
        if split is None:
            continue
        task = task_from_dict(read_json(record.folder.model)["task"])
        metric = str(record.metrics["selection"].get("metric"))
        if metric not in evaluations[split]["metrics"]:
            metric = task.monitor
        dense = isinstance(task, DenseTask)
        return Measure(
            metric,
            split,
            task.higher_is_better(metric),
            str(evaluations[split]["resampling_unit"]),
            task.num_outputs,
            evaluations[split].get("patients"),
            dense,
            not dense or any(other.cell.variant == FULL for other in records),
            tuple(dict.fromkeys(other.cell.fold for other in records if other.cell.fold is not None)),
        )
    return None


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN


def _ratio(one: float, other: float) -> float:
    return one / other if other else NAN
