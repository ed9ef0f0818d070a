"""Reads the run folder of a cell as a row of ``cells.csv``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modicum.comparison.grid import Cell
from modicum.engine.metrics_file import read_metrics
from modicum.engine.model_file import task_of_run
from modicum.engine.run_folder import RunFolder, memory_kind
from modicum.report.words import is_share
from modicum.tasks import DenseTask

NAN = math.nan
FULL = "full"
"""The method whose memory is the reference."""


@dataclass(frozen=True)
class Measure:
    """The metric by which all cells are compared.

    Attributes:
        metric: name of the score.
        split: ``test`` if the data have one, otherwise ``val``.
        higher_is_better: direction of the score.
        unit: what the intervals resample, ``patient`` or ``image``.
        num_outputs: outputs of the networks.
        patients: number of evaluated patients; None if unknown.
        dense: whether predictions are images.
        of_full: whether memory can be compared with full fine-tuning, run here or predicted.
        folds: domains that were held out in turn.
        further: metrics that are shown beside it.
        guessing: what the score comes to on these images without looking at them, where that is measured.
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
    further: tuple[str, ...] = ()
    guessing: float | None = None

    @property
    def efficiency(self) -> bool:
        """Whether the score is a share, so that efficiencies can be computed."""
        return not self.dense or (self.higher_is_better and is_share(self.metric))


@dataclass(frozen=True)
class Record:
    """One cell, with its state and results."""

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
        """The cell as a row of ``cells.csv``; NaN for missing numbers."""
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
            **self._further(measure),
            "selection_value": self._validation_value(measure),
            "learnable": self._number("parameters", "learnable"),
            "learnable_percent": self._number("parameters", "learnable_percent"),
            "memory_mib": self._number("memory", "peak_bytes") / 2**20,
            "memory_kind": memory_kind(self.metrics.get("memory", {})),
            "seconds_per_epoch": _ratio(
                self._number("time", "train_seconds"), self._number("time", "epochs")
            ),
            "images_per_second": self._number("time", "images_per_second"),
            "checkpoint_bytes": self._checkpoint_bytes(),
            "feature_bytes_per_image": self._number("features", "bytes_per_image"),
            "error": self.error,
        }

    def _score(self, measure: Measure | None, metric: str | None = None) -> Mapping[str, Any]:
        if measure is None:
            return {}
        evaluation = self.metrics.get("evaluations", {}).get(measure.split, {})
        score: Mapping[str, Any] = evaluation.get("metrics", {}).get(metric or measure.metric, {})
        return score

    def _further(self, measure: Measure | None) -> dict[str, float]:
        """``NAME``, ``NAME low`` and ``NAME high`` of each further metric."""
        values: dict[str, float] = {}
        for name in measure.further if measure else ():
            score = self._score(measure, name)
            ends = {name: "value", f"{name} low": "low", f"{name} high": "high"}
            values |= {column: _float(score.get(key)) for column, key in ends.items()}
        return values

    def _validation_value(self, measure: Measure | None) -> float:
        """The validation value of the weights that were kept; for last weights, the metric at the end."""
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
    """Reads the current state of a cell.

    Args:
        cell: of the grid.
        cells: the folder of the run folders.
        errors: of cells that failed in this call, by name.
        chosen: whether it counts for its row; a cell with a rejected learning rate does not.
    """
    folder = RunFolder(cells / cell.name)
    if cell.name in errors:
        return Record(cell, folder, "failed", errors[cell.name], chosen)
    status = folder.status
    if status.get("state") != "finished":
        # Running in this call, or left by an earlier one: an earlier failure will be tried again.
        return Record(cell, folder, "waiting" if not status else "unfinished", "", chosen)
    recipe = _training_of(folder)
    return Record(cell, folder, "finished", "", chosen, {**read_metrics(folder), **recipe})


def _training_of(folder: RunFolder) -> dict[str, Any]:
    from modicum.engine.recipe.settings import Recipe

    recipe = Recipe.read(folder.recipe)
    return {"lr": recipe.training.lr, "batch_size": recipe.training.batch_size}


def measure_of(records: Sequence[Record]) -> Measure | None:
    """The metric by which cells are compared: the one that selected the weights, on the test split if there is one.

    None if no finished cell has been evaluated.
    """
    for record in records:
        evaluations = record.metrics.get("evaluations", {})
        split = next((name for name in ("test", "val") if name in evaluations), None)
        if split is None:
            continue
        task = task_of_run(record.folder)
        metric = str(record.metrics["selection"].get("metric"))
        if metric not in evaluations[split]["metrics"]:
            metric = task.monitor
        dense = isinstance(task, DenseTask)
        return Measure(
            metric,
            split,
            task.higher_is_better(metric),
            str(evaluations[split].get("resampling_unit")),
            task.num_outputs,
            evaluations[split].get("patients"),
            dense,
            not dense or any(cell_record.cell.variant == FULL for cell_record in records),
            tuple(
                dict.fromkeys(
                    cell_record.cell.fold for cell_record in records if cell_record.cell.fold is not None
                )
            ),
            tuple(name for name, entry in task.metrics().items() if entry.compared and name != metric),
            _guessing(task.metric(metric).baseline, evaluations[split]["metrics"]),
        )
    return None


def _guessing(baseline: str, metrics: Mapping[str, Mapping[str, Any]]) -> float | None:
    value = _float(metrics.get(baseline, {}).get("value"))
    return None if math.isnan(value) else value


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else NAN
