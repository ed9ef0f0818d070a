"""Reads a run folder leniently: missing or damaged parts are left out, and damaged ones reported."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modicum.data.table_cells import as_written

if TYPE_CHECKING:
    import pandas as pd


SET_TITLES = {"val": "validation set", "test": "test set", "train": "training set"}


@dataclass(frozen=True)
class Evaluation:
    """One evaluated data set.

    Args:
        name: ``val``, ``test`` or a data set's name.
        folder: folder of its files.
        info: its ``metrics.json``: images, patients, resampling unit and so on.
        metrics: values by name, each with ``value``, ``low`` and ``high``.
        predictions: ``predictions.csv`` with all columns except probabilities as text; None if missing.
        examples: entries of ``examples.json``.
        groups: ``groups.json``: metrics of groups of patients, where they were asked for.
    """

    name: str
    folder: Path
    info: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: "pd.DataFrame | None"
    examples: list[dict[str, Any]]
    groups: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Title for display."""
        return SET_TITLES.get(self.name, self.name)

    @property
    def seen(self) -> int:
        """Number of its images that were in the training data, if known."""
        return sum(int(number(amount) or 0) for amount in as_mapping(self.info.get("seen")).values())

    @property
    def resembling(self) -> int:
        """Number of its further images that look nearly the same as training images, if known."""
        return sum(int(number(amount) or 0) for amount in as_mapping(self.info.get("resembling")).values())


@dataclass(frozen=True)
class RunFiles:
    """The parts of a run folder that a report uses; empty or None if missing."""

    path: Path
    name: str
    metrics: Mapping[str, Any]
    status: Mapping[str, Any]
    task: Mapping[str, Any]
    recipe_text: str
    recipe: Mapping[str, Any]
    history: list[dict[str, Any]]
    manifest: "pd.DataFrame | None"
    manifest_info: Mapping[str, Any]
    environment: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    broken: int
    evaluations: list[Evaluation]
    damaged: list[str] = field(default_factory=list)
    training_images: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the outputs; for a run that stopped early, those of its data."""
        named = self.metrics.get("classes") or self.task.get("classes") or self.recipe_data.get("classes")
        if isinstance(named, list | tuple):
            return [str(name) for name in named]
        from modicum.data.manifest import class_order

        labels = self.manifest["label"] if self.manifest is not None and "label" in self.manifest else ()
        return self._findings or class_order({str(name) for name in labels} - {""})

    @property
    def _findings(self) -> list[str]:
        columns = [] if self.manifest is None else [str(name) for name in self.manifest.columns]
        return [name.removeprefix("labels:") for name in columns if name.startswith("labels:")]

    @property
    def recipe_data(self) -> Mapping[str, Any]:
        """The recipe's data settings."""
        return as_mapping(self.recipe.get("data"))

    @property
    def kind(self) -> str:
        """``binary``, ``multi-class`` or ``multi-label`` for a classifier; empty if unknown."""
        kind = self.metrics.get("kind") or self.task.get("kind")
        if kind or self.manifest is None:
            return str(kind or "")
        if self._findings:
            return "multi-label"
        return "binary" if len(self.classes) == 2 else "multi-class"

    @property
    def task_name(self) -> str:
        """Name of the task, for instance ``classification``."""
        name = self.metrics.get("task") or self.task.get("name") or self.recipe.get("task")
        return name if isinstance(name, str) else ""

    @property
    def finished(self) -> bool:
        """Whether training finished."""
        return self.status.get("state", "finished" if self.metrics else "") == "finished"

    @property
    def main(self) -> Evaluation | None:
        """The evaluation in the headline: the test set, otherwise the newest of other unseen data, otherwise the
        validation set.
        """
        scored = [evaluation for evaluation in self.evaluations if evaluation.metrics]
        order = {"test": 0, "val": 2, "train": 3}
        # ``modicum evaluate`` puts the newest last; a folder that is not listed came from somewhere else.
        when = {name: number for number, name in enumerate(as_mapping(self.metrics.get("evaluations")))}
        return min(
            scored,
            key=lambda e: (order.get(e.name, 3 if e.seen else 1), -when.get(e.name, -1)),
            default=None,
        )


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder, finished or not. Nothing outside the folder is opened."""
    damaged: list[str] = []
    metrics = _mapping(folder / "metrics.json", damaged)
    recipe_text, recipe = _recipe(folder / "recipe.yaml", damaged)
    return RunFiles(
        path=folder,
        name=str(metrics.get("run") or folder.resolve().name),
        metrics=metrics,
        status=_mapping(folder / "status.json", damaged),
        task=as_mapping(_mapping(folder / "model.json", damaged).get("task")),
        recipe_text=recipe_text,
        recipe=recipe,
        history=_history(folder / "history.jsonl", damaged),
        manifest=_table(folder / "manifest.csv", damaged),
        manifest_info=_mapping(folder / "manifest.json", damaged),
        environment=_mapping(folder / "environment.json", damaged),
        fingerprint=_mapping(folder / "fingerprint.json", damaged),
        broken=_rows(folder / "broken.csv", damaged),
        evaluations=_evaluations(folder / "evaluations", as_mapping(metrics.get("evaluations")), damaged),
        damaged=damaged,
        training_images=_mapping(folder / "training_images.json", damaged),
    )


def as_mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, otherwise an empty one: files may be of another version."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None


def _evaluations(folder: Path, summaries: Mapping[str, Any], damaged: list[str]) -> list[Evaluation]:
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    order = {"test": 0, "val": 1}
    evaluations = []
    for name in sorted(names | set(summaries), key=lambda name: (order.get(name, 2), name)):
        evaluation = read_evaluation(folder / name, as_mapping(summaries.get(name)), damaged)
        if evaluation is not None:
            evaluations.append(evaluation)
    return evaluations


def read_evaluation(folder: Path, summary: Mapping[str, Any], damaged: list[str]) -> Evaluation | None:
    """Reads the folder of one evaluation; None where there is nothing of one.

    Args:
        folder: of its files; its name is the evaluation's.
        summary: what the run's ``metrics.json`` says of it.
        damaged: names of files that cannot be read are added.
    """
    info = _mapping(folder / "metrics.json", damaged) or summary
    values = {
        str(key): entry
        for key, entry in as_mapping(info.get("metrics")).items()
        if isinstance(entry, Mapping)
    }
    predictions = _table(folder / "predictions.csv", damaged)
    if not values and predictions is None:
        return None
    examples = _json(folder / "examples" / "examples.json", damaged)
    entries = [e for e in examples if isinstance(e, dict)] if isinstance(examples, list) else []
    groups = _mapping(folder / "groups.json", damaged)
    return Evaluation(folder.name, folder, info, values, predictions, entries, groups)


def read_evaluated(run_folder: Path, evaluation: Path) -> RunFiles:
    """Reads a run folder with one evaluation of it that was written elsewhere, in place of its own.

    Args:
        run_folder: of the run.
        evaluation: folder of the evaluation, after which it is called.
    """
    run = read_run(run_folder)
    read = read_evaluation(evaluation.resolve(), {}, run.damaged)
    return replace(run, evaluations=[] if read is None else [read])


def _json(path: Path, damaged: list[str]) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        damaged.append(path.name)
        return None


def _mapping(path: Path, damaged: list[str]) -> Mapping[str, Any]:
    return as_mapping(_json(path, damaged))


def _recipe(path: Path, damaged: list[str]) -> tuple[str, Mapping[str, Any]]:
    if not path.is_file():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        return text, as_mapping(yaml.safe_load(text))
    except (OSError, ValueError, yaml.YAMLError):
        damaged.append(path.name)
        return "", {}


def _history(path: Path, damaged: list[str]) -> list[dict[str, Any]]:
    """Records by stage, step and kind, keeping the last: a run that was killed and resumed repeats some."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        damaged.append(path.name)
        return []
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records[str(record.get("kind")), str(record.get("stage")), record["step"]] = record
    return list(records.values())


def _table(path: Path, damaged: list[str]) -> "pd.DataFrame | None":
    """Reads a CSV file with all columns except ``p_<class>`` and ``score`` as text: a patient named 007 stays 007."""
    import pandas as pd

    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=as_written)
        for column in table.columns:
            if column.startswith("p_") or column == "score":
                table[column] = pd.to_numeric(table[column], errors="coerce")
            else:
                table[column] = table[column].map(as_written)
        return table
    except (OSError, ValueError):  # pandas' own errors are ValueErrors
        damaged.append(path.name)
        return None


def _rows(path: Path, damaged: list[str]) -> int:
    if not path.is_file():
        return 0
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return max(0, sum(1 for _ in csv.reader(file)) - 1)
    except (OSError, csv.Error):
        damaged.append(path.name)
        return 0
