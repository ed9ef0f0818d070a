"""``metrics.json`` of a cross-validation: all predictions out of fold together, and fold by fold."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modicum.cross_validation.request import Request
from modicum.engine.inference.evaluation import evaluation_content, scored_table
from modicum.engine.inference.evaluation_table import write_table
from modicum.engine.metrics_file import read_metrics
from modicum.engine.out_of_fold import OutOfFold
from modicum.engine.run_folder import RunFolder, write_json
from modicum.tasks import Task
from modicum.wording import count_of

TABLE, METRICS, PAGE = "out_of_fold.csv", "metrics.json", "report.html"
WRITTEN = (TABLE, METRICS, PAGE, "broken.csv", "quality.csv")
"""Files of a cross-validation, beside its request and its runs."""


def write_out_of_fold(
    request: Request, folder: Path, task: Task, held: OutOfFold, runs: Sequence[RunFolder]
) -> dict[str, Any]:
    """Writes ``out_of_fold.csv`` and returns what ``metrics.json`` says of it.

    Args:
        request: of the cross-validation.
        folder: its folder.
        task: what is learned.
        held: the predictions.
        runs: of the folds, in their order.
    """
    manifest = held.prepared.manifest
    table = scored_table(held.scores, manifest)
    table.insert(2 if "patient" in table else 1, "fold", held.folds)
    write_table(folder / TABLE, table)
    metrics = [read_metrics(run) for run in runs]
    of_folds = [one["evaluations"][held.held_out] for one in metrics]
    content = evaluation_content(held.scores, manifest, held.recipe, manifest.name, "out of fold")
    metric = str(metrics[0]["selection"].get("metric"))
    return {
        "schema": 1,
        "cross_validation": folder.name,
        "data": request.data,
        "method": request.method,
        "backbone": metrics[0].get("backbone"),
        "folds": request.folds,
        "task": task.name,
        "kind": task.kind,
        "metric": metric if metric in content["metrics"] else task.monitor,
        "held_out": held.held_out,
        "out_of_fold": content,
        "across_folds": across(of_folds),
        "each_fold": [
            _fold(number, run, evaluation, one)
            for number, (run, evaluation, one) in enumerate(zip(runs, of_folds, metrics, strict=True), 1)
        ],
        "cautions": cautions_of(held, content),
    }


def with_ensemble(
    content: dict[str, Any], ensemble: RunFolder | None, reason: str, runs: Sequence[RunFolder]
) -> dict[str, Any]:
    """Adds the ensemble and, where a test split is given, what it and the folds by themselves come to there."""
    evaluations = {} if ensemble is None else read_metrics(ensemble)["evaluations"]
    made: dict[str, Any] = {"run": None, "reason": reason} if ensemble is None else {"run": ensemble.name}
    if "test" in evaluations:
        made["test"] = evaluations["test"]
    content = {**content, "ensemble": made}
    if content["held_out"] == "val":
        content["test_across_folds"] = across([read_metrics(run)["evaluations"]["test"] for run in runs])
    return content


def save(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes ``metrics.json``."""
    write_json(folder / METRICS, content)


def across(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each metric its mean and standard deviation over folds (dividing by their number less one).

    Folds on which it is not defined are left out; ``values`` has None for them.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for evaluation in evaluations for name in evaluation["metrics"]):
        values = [evaluation["metrics"].get(name, {}).get("value") for evaluation in evaluations]
        defined = [value for value in values if value is not None and not math.isnan(value)]
        found[name] = {
            "mean": float(np.mean(defined)) if defined else None,
            "deviation": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
            "folds": len(defined),
            "values": values,
        }
    return found


def _fold(
    number: int, run: RunFolder, evaluation: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    splits = pd.read_csv(run.manifest, usecols=["split"], dtype=str)["split"]
    return {
        "fold": number,
        "run": f"folds/{run.name}",
        "images": evaluation["images"],
        "patients": evaluation["patients"],
        "train_images": int((splits == "train").sum()),
        "val_images": int((splits == "val").sum()),
        "epoch": metrics["selection"].get("epoch"),
        "metrics": {
            name: entry.get("value") for name, entry in evaluation["metrics"].items() if "/" not in name
        },
    }


def cautions_of(held: OutOfFold, content: Mapping[str, Any]) -> list[str]:
    """What limits the numbers, a sentence each, the most serious first."""
    cautions = []
    if held.held_out == "val":
        cautions.append(
            "The data have a test split, so each fold's images validated: they chose weights and thresholds, and their "
            "scores are optimistic. The score on the test split is the one to report."
        )
    if content["resampling_unit"] == "image":
        cautions.append(
            "Patients are not known: one may be in several folds, and intervals treat images as independent."
        )
    elif content["patients"] < 10 * held.folds.max():
        cautions.append(
            f"{count_of(content['patients'], 'patient')} in {held.folds.max()} folds: the scores of single folds are of "
            "few patients, and much of their deviation is chance."
        )
    notes = [note for note in held.prepared.notes if note.startswith("caution: ")]
    texts = [note.removeprefix("caution: ").rstrip(".") for note in notes]
    return [*cautions, *(f"{text[:1].upper()}{text[1:]}." for text in texts)]
