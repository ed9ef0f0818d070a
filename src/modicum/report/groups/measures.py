"""The metrics by which groups are compared, for each task, from the table of predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from modicum.report.classified import Classified, classified
from modicum.report.files import Evaluation, RunFiles, number
from modicum.report.operating_points import points_of, thresholds_of_findings
from modicum.report.overview import main_metric
from modicum.report.words import count, metric_title
from modicum.tasks.bootstrap import Statistic, Sums, Values
from modicum.tasks.classification.evaluation import metric_statistics
from modicum.tasks.classification.metrics import decisions, ranking
from modicum.tasks.classification.predictive_values import decision_rates
from modicum.tasks.group_difference import Measured
from modicum.tasks.metric_tables import metric_named

MOST = 3
"""Metrics beside each other."""
Measure = Callable[[np.ndarray], Measured]


@dataclass(frozen=True)
class Measures:
    """How a task measures some of its images.

    Attributes:
        rows: of the predictions' table, those that can be measured.
        names: of the metrics.
        of: the metrics of some of ``rows``, by their places in it.
        events: what is counted of some of them, in words: positives, or images of each class.
        patients: of each of ``rows``, if intervals are by patient.
        titles: of metrics that have none of their own.
    """

    rows: np.ndarray
    names: list[str]
    of: Measure
    events: Callable[[np.ndarray], str]
    patients: np.ndarray | None
    titles: Mapping[str, str]

    def title(self, name: str) -> str:
        """The title of a metric."""
        return self.titles.get(name) or metric_title(name)


def measures_of(run: RunFiles, evaluation: Evaluation) -> Measures | None:
    """The measures of an evaluation; None where its predictions cannot be measured in parts."""
    table = evaluation.predictions
    if table is None or not evaluation.metrics:
        return None
    if run.task_name == "classification":
        scored = classified(run, evaluation)
        return None if scored is None else _of_classes(run, evaluation, scored)
    patients = (
        table["patient"].to_numpy(dtype=object)
        if evaluation.info.get("resampling_unit") == "patient" and "patient" in table
        else None
    )
    if run.task_name == "anomaly":
        return _of_anomalies(run, table, patients)
    if {"true_boxes", "found_boxes", "hits"} <= set(table.columns):
        return _of_boxes(table, patients)
    return _of_images(run, evaluation, table, patients)


def _of_classes(run: RunFiles, evaluation: Evaluation, scored: Classified) -> Measures:
    assert scored.rows is not None
    chosen = main_metric(run, evaluation)
    if scored.kind in ("binary", "multi-label"):
        wished = [chosen, "auroc", "sensitivity", "specificity"]
    else:
        wished = [chosen, "auroc", "accuracy", "balanced_accuracy"]
    known = [name for name in dict.fromkeys(wished) if name in evaluation.metrics]
    if scored.severity is not None:
        known = [name for name in known if name in ("accuracy", "quadratic_kappa", "kappa")] or ["accuracy"]
    specificity = number(run.task.get("specificity")) or 0.95
    thresholds = thresholds_of_findings(run) if points_of(run).get("thresholds") else []

    def measured(places: np.ndarray) -> Measured:
        if scored.severity is not None:
            statistic = decisions(scored.truth[places], scored.predicted[places], len(scored.classes))
            return Measured(places, [statistic], {})
        statistics, means = metric_statistics(
            scored.probabilities[places],
            scored.truth[places],
            scored.kind,
            scored.classes,
            specificity,
            thresholds,
        )
        return Measured(places, statistics, means)

    def events(places: np.ndarray) -> str:
        if scored.several:
            return f"{count(int((scored.truth[places] > 0.5).any(1).sum()))} with a finding"
        counts = np.bincount(scored.truth[places].astype(int), minlength=len(scored.classes))
        return f"{count(int(counts[1]))} events" if scored.kind == "binary" else "/".join(map(str, counts))

    return Measures(scored.rows, known[:MOST], measured, events, scored.patients, {})


def _of_anomalies(run: RunFiles, table: pd.DataFrame, patients: np.ndarray | None) -> Measures | None:
    if "truth" not in table or "score" not in table:
        return None
    named = run.task.get("normal")
    normal = [str(name) for name in named] if isinstance(named, list) and named else []
    abnormal = ~table["truth"].isin([*normal, "normal"]).to_numpy(dtype=bool)
    score = table["score"].to_numpy(dtype=float)
    score = np.where(np.isfinite(score), score, np.inf)
    calls = None
    if "prediction" in table and (table["prediction"] != "").all():
        calls = ~table["prediction"].isin([*normal, "normal"]).to_numpy(dtype=bool)

    def measured(places: np.ndarray) -> Measured:
        statistics = [ranking(score[places], abnormal[places], finding="an abnormality")]
        if calls is not None:
            statistics.append(decision_rates(calls[places], abnormal[places]))
        return Measured(places, statistics, {})

    names = ["auroc", *(("sensitivity", "specificity") if calls is not None else ())]
    rows = np.arange(len(table))
    return Measures(
        rows, names, measured, lambda at: f"{count(int(abnormal[at].sum()))} abnormal", patients, {}
    )


def _of_boxes(table: pd.DataFrame, patients: np.ndarray | None) -> Measures:
    counts = {name: _floats(table[name]) for name in ("true_boxes", "found_boxes", "hits")}
    titles = {"found": "Boxes found", "right": "Right among those said"}

    def measured(places: np.ndarray) -> Measured:
        terms = sparse.csr_array(np.stack([values[places] for values in counts.values()]))

        def finish(sums: Sums) -> Values:
            return {"found": sums[2] / sums[0], "right": sums[2] / sums[1]}

        needs = {
            "found": counts["true_boxes"][places][None] > 0,
            "right": counts["found_boxes"][places][None] > 0,
        }
        return Measured(places, [Statistic(terms, finish, dict.fromkeys(titles, "no boxes"), needs)], {})

    def events(places: np.ndarray) -> str:
        return f"{count(int(counts['true_boxes'][places].sum()))} boxes"

    return Measures(np.arange(len(table)), list(titles), measured, events, patients, titles)


def _of_images(
    run: RunFiles, evaluation: Evaluation, table: pd.DataFrame, patients: np.ndarray | None
) -> Measures | None:
    """Metrics that each image has: their means."""
    ours = [str(name) for name in table.columns if name in evaluation.metrics]
    ours = [name for name in ours if metric_named(name.partition("/")[0], run.task_name).per_image]
    # A metric that is no mean over images, or a column that only has its name, cannot be taken apart.
    ours = [name for name in ours if _is_mean(_floats(table[name]), evaluation.metrics[name].get("value"))]
    chosen = main_metric(run, evaluation)
    ours.sort(key=lambda name: name != chosen and not name.startswith(f"{chosen}/"))
    names = ours[:MOST]
    if not names:
        return None
    columns = {name: _floats(table[name]) for name in names}

    def measured(places: np.ndarray) -> Measured:
        return Measured(places, [_mean_of(name, values[places]) for name, values in columns.items()], {})

    return Measures(np.arange(len(table)), names, measured, lambda places: "", patients, {})


def _is_mean(values: np.ndarray, stated: object) -> bool:
    value, finite = number(stated), values[np.isfinite(values)]
    return (
        value is not None and len(finite) > 0 and bool(np.isclose(finite.mean(), value, rtol=1e-4, atol=1e-6))
    )


def _mean_of(name: str, values: np.ndarray) -> Statistic:
    defined = np.isfinite(values)
    terms = sparse.csr_array(np.stack([np.where(defined, values, 0.0), defined.astype(np.float64)]))

    def finish(sums: Sums) -> Values:
        return {name: sums[0] / sums[1]}

    return Statistic(terms, finish, {name: "no image has it"}, {name: defined[None]})


def _floats(column: "pd.Series") -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
