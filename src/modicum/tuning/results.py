"""What a search has found: its table, the best recipe, and the page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modicum.atomic_files import write_text
from modicum.engine.inference.evaluation_table import write_table
from modicum.engine.metrics_file import read_metrics
from modicum.engine.recipe.given_recipe import KEPT_OF_DATA
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, memory_kind, read_table, write_json
from modicum.engine.training.history import History
from modicum.errors import InputError
from modicum.run import Run
from modicum.tuning.page import write_page
from modicum.tuning.request import Request
from modicum.tuning.study import REQUIRED, Study

REQUEST, TABLE, METRICS, BEST, PAGE = "tune.yaml", "trials.csv", "metrics.json", "best.yaml", "report.html"
WRITTEN = (TABLE, METRICS, BEST, PAGE)
"""Files of a search, beside its request, its journal and its runs."""


@dataclass(frozen=True)
class Search:
    """The results of a search.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``: the best trial, its settings and its value."""
        return read_table(self.path / METRICS)

    @property
    def table(self) -> pd.DataFrame:
        """A row a trial."""
        return pd.read_csv(self.path / TABLE, dtype={"trial": str})

    @property
    def best(self) -> Run:
        """The run of the best trial."""
        name = self.metrics["best"]
        if name is None:
            raise InputError(f"search '{self.path.name}': no trial has succeeded", "see trials.csv for why")
        return Run.open(self.path / "trials" / name["trial"])


def validation_value(folder: RunFolder, metric: str) -> float | None:
    """The metric of a finished run on its validation images: at the weights that were kept; None if it is not defined."""
    metrics = read_metrics(folder)
    selection = metrics["selection"]
    value = selection.get("value") if selection.get("metric") == metric else None
    if value is None:
        value = metrics["evaluations"].get("val", {}).get("metrics", {}).get(metric, {}).get("value")
    return None if value is None or not math.isfinite(value) else float(value)


def is_pruned(folder: RunFolder) -> bool:
    """Whether a finished run ended before its last epoch, as it had not reached what was required."""
    return "required" in read_metrics(folder)["selection"]


def values_by_epoch(folder: RunFolder, metric: str) -> tuple[str, dict[int, float]]:
    """The last stage of a run that was validated by a metric, and the values after its epochs, from 1."""
    records = [
        record
        for record in History(folder.history).records()
        if record.get("kind") == "epoch" and record.get("val", {}).get(metric) is not None
    ]
    stage = records[-1]["stage"] if records else ""
    return stage, {one["epoch"]: float(one["val"][metric]) for one in records if one["stage"] == stage}


def write_results(
    request: Request, folder: Path, study: Study, metric: str, errors: Mapping[str, str]
) -> Search:
    """Writes ``trials.csv``, ``metrics.json``, ``best.yaml`` and ``report.html``.

    Args:
        request: of the search.
        folder: its folder.
        study: says which trials there are.
        metric: that they are compared by.
        errors: of trials that failed in this call, by name.
    """
    rows = [_row(request, folder, trial, metric, errors) for trial in study.trials]
    table = pd.DataFrame(rows)
    write_table(folder / TABLE, table)
    best = study.best()
    content: dict[str, Any] = {
        "schema": 1,
        "search": folder.name,
        "method": request.method,
        "metric": metric,
        "task": request.recipe_of(request.first).task,
        "direction": study.direction,
        "trials": len(rows),
        "finished": int((table["state"] == "finished").sum()) if len(table) else 0,
        "failed": int((table["state"] == "failed").sum()) if len(table) else 0,
        **({"pruned": int((table["state"] == "pruned").sum())} if request.prune else {}),
        "best": None,
    }
    if best is not None:
        name = f"{best.number + 1:03d}"
        content["best"] = {"trial": name, "value": best.value, "settings": request.values_of(best.params)}
        _write_best(folder, name, metric, best.value, content["finished"])
    write_json(folder / METRICS, content)
    write_page(folder / PAGE, request, content, table, (folder / REQUEST).read_text(encoding="utf-8"))
    return Search(folder)


def _row(
    request: Request, folder: Path, trial: Any, metric: str, errors: Mapping[str, str]
) -> dict[str, Any]:
    name = f"{trial.number + 1:03d}"
    run = RunFolder(folder / "trials" / name)
    state = {"COMPLETE": "finished", "FAIL": "failed", "PRUNED": "pruned"}.get(trial.state.name, "unfinished")
    row: dict[str, Any] = {"trial": name}
    row |= {one.key: trial.params.get(one.key) for one in request.space}
    ended = state in ("finished", "pruned")
    metrics = read_metrics(run) if ended else {}
    row |= {"value": validation_value(run, metric) if state == "pruned" else trial.value, "state": state}
    row["epoch"] = metrics.get("selection", {}).get("epoch")
    row["seconds"] = metrics.get("time", {}).get("fit_seconds")
    row["memory_mib"] = metrics.get("memory", {}).get("peak_bytes", math.nan) / 2**20
    row["memory_kind"] = memory_kind(metrics.get("memory", {}))
    failure = run.status.get("error", "") if state == "failed" else ""
    row["error"] = errors.get(name, "failed; see its status.json" if failure else "")
    if request.prune:
        row["epochs"] = metrics.get("time", {}).get("epochs")
    return row


def _write_best(folder: Path, trial: str, metric: str, value: float | None, finished: int) -> None:
    """The best trial's recipe, as ``modicum fit --recipe`` takes it: without what is about these data, or searches."""
    recipe = Recipe.read(folder / "trials" / trial / "recipe.yaml")
    values = recipe.model_dump(mode="json")
    values["data"] = {
        key: v for key, v in values["data"].items() if key in KEPT_OF_DATA and v not in (None, {}, [])
    }
    for key in ("device", "evaluate_test", "based_on"):
        values.pop(key, None)
    for part in (values["training"], *values["stages"].values()):
        part.pop(REQUIRED, None)
    head = f"# The best of {finished} trials on validation: {metric} {value:.4g} (trial {trial} of {folder.name}).\n"
    write_text(folder / BEST, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
