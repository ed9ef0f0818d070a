"""The table of a comparison: one row per method, aggregated over its cells."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from modicum.comparison.metrics import pme, ppe
from modicum.comparison.pareto import pareto_front
from modicum.comparison.records import FULL, NAN, Measure
from modicum.report.words import bytes_text, count, metric_spread, metric_text, metric_title, percent


@dataclass(frozen=True)
class Column:
    """A column of the printed table.

    Attributes:
        title: its heading.
        text: formats a row's value.
        numeric: whether it is right-aligned.
        essential: whether it is kept if there is no room for all.
    """

    title: str
    text: Callable[[Mapping[str, Any]], str]
    numeric: bool = True
    essential: bool = False


def method_table(
    methods: Sequence[str],
    cells: pd.DataFrame,
    measure: Measure | None,
    predicted_full_mib: Callable[[Mapping[str, Any]], float],
    folds: Sequence[str] = (),
) -> pd.DataFrame:
    """Aggregates cells to one row per method, in the given order.

    Args:
        methods: names of the rows.
        cells: the rows of ``cells.csv``.
        measure: what is compared.
        predicted_full_mib: predicts the peak memory of full fine-tuning with a row's settings; called only if it was
            not measured.
        folds: domains that were held out in turn.

    Returns:
        Columns ``method``, ``seeds`` and ``failed`` (cells), ``metric``, ``split``, ``score``, ``score_std``, ``low``,
        ``high``, ``lr``, ``batch_size``, ``learnable``, ``learnable_percent``, ``memory_mib``, ``memory_kind``,
        ``memory_percent_of_full``, ``full_memory`` (``measured`` or ``predicted``), ``ppe``, ``pme``,
        ``seconds_per_epoch``, ``images_per_second``, ``checkpoint_bytes``, ``feature_bytes_per_image``, ``pareto``,
        ``error``; NaN for missing numbers. With folds, ``score`` is the mean over domains, ``score_std`` its
        deviation over seeds, and ``score DOMAIN`` and ``score_std DOMAIN`` are those of each domain.
    """
    counted = cells[cells["use"] == "seed"]
    rows = [_row(name, counted[counted["method"] == name], measure, folds) for name in methods]
    full = next((row["memory_mib"] for row in rows if row["method"] == FULL), NAN)
    for row in rows:
        measured = not math.isnan(full)
        of_full = full if measured else predicted_full_mib(row) if row["seeds"] else NAN
        _add_prices(row, of_full, measure)
        row["full_memory"] = "" if math.isnan(of_full) else "measured" if measured else "predicted"
    table = pd.DataFrame(rows)
    worth = table["score"].to_numpy(float) * (-1 if measure and not measure.higher_is_better else 1)
    table["pareto"] = pareto_front(table["memory_mib"].to_numpy(float), worth)
    return table[[*(name for name in table if name != "error"), "error"]]


def _row(method: str, cells: pd.DataFrame, measure: Measure | None, folds: Sequence[str]) -> dict[str, Any]:
    done = cells[cells["state"] == "finished"]
    failed = cells[cells["state"] == "failed"]

    def mean(column: str) -> float:
        values = done[column].to_numpy(float)
        finite = values[~np.isnan(values)]
        return float(finite.mean()) if len(finite) else NAN

    by_fold = _scores_by_fold(done, folds)
    # All domains of a method or none: a mean over the easier ones would look better.
    scores = by_fold.mean(axis=1, skipna=False).dropna() if folds else done["score"].dropna()
    kinds = sorted(set(done["memory_kind"]))
    rates = done["lr"].dropna().unique()
    return {
        "method": method,
        "seeds": len(scores) if folds else len(done),
        "failed": len(failed),
        "metric": measure.metric if measure else "",
        "split": measure.split if measure else "",
        "score": float(scores.mean()) if len(scores) else NAN,
        "score_std": _deviation(scores),
        **{f"score {fold}": float(by_fold[fold].mean()) for fold in folds},
        **{f"score_std {fold}": _deviation(by_fold[fold].dropna()) for fold in folds},
        "low": mean("low"),
        "high": mean("high"),
        **_further(done, measure),
        "lr": float(rates[0]) if len(rates) == 1 else NAN,
        "batch_size": mean("batch_size"),
        "learnable": mean("learnable"),
        "learnable_percent": mean("learnable_percent"),
        "memory_mib": float(done["memory_mib"].max()) if len(done) else NAN,
        "memory_kind": ", ".join(kinds),
        "memory_percent_of_full": NAN,
        "full_memory": "",
        "ppe": NAN,
        "pme": NAN,
        "seconds_per_epoch": mean("seconds_per_epoch"),
        "images_per_second": mean("images_per_second"),
        "checkpoint_bytes": mean("checkpoint_bytes"),
        "feature_bytes_per_image": mean("feature_bytes_per_image"),
        "error": str(failed["error"].iloc[0]) if len(failed) else "",
    }


def _further(done: pd.DataFrame, measure: Measure | None) -> dict[str, float]:
    """Mean, deviation over seeds and mean bounds of each further metric."""
    columns: dict[str, float] = {}
    for name in measure.further if measure else ():
        values = {part: done[f"{name}{part}"].astype(float).dropna() for part in ("", " low", " high")}
        columns |= {
            name: float(values[""].mean()) if len(values[""]) else NAN,
            f"{name}_std": _deviation(values[""]),
            f"{name} low": float(values[" low"].mean()) if len(values[" low"]) else NAN,
            f"{name} high": float(values[" high"].mean()) if len(values[" high"]) else NAN,
        }
    return columns


def _scores_by_fold(done: pd.DataFrame, folds: Sequence[str]) -> pd.DataFrame:
    """Scores with one row per seed and one column per domain; NaN for missing cells."""
    if not folds or done.empty:
        return pd.DataFrame(columns=list(folds), dtype=float)
    return done.pivot_table("score", "seed", "held_out").reindex(columns=list(folds))


def _deviation(scores: pd.Series) -> float:
    return float(scores.std(ddof=1)) if len(scores) > 1 else NAN


def _add_prices(row: dict[str, Any], full_mib: float, measure: Measure | None) -> None:
    # An efficiency scales a gain: it is undefined for scores that are better when lower, or not a share.
    gained = 100 * row["score"] if measure and measure.higher_is_better and measure.efficiency else NAN
    row["ppe"] = ppe(gained, row["learnable_percent"])
    if full_mib > 0:
        row["memory_percent_of_full"] = 100 * row["memory_mib"] / full_mib
        row["pme"] = pme(gained, row["memory_mib"], full_mib)


def columns(measure: Measure | None) -> list[Column]:
    """The columns of the table in Markdown, HTML and on the terminal."""
    folds = measure.folds if measure else ()
    where = "mean over domains" if folds else measure.split if measure else ""
    name = f"{metric_title(measure.metric)} ({where})" if measure else "Score"
    others = measure.further if measure else ()
    of_full, efficiency = (measure.of_full, measure.efficiency) if measure else (True, True)
    every = [
        Column("Method", lambda row: row["method"], numeric=False, essential=True),
        Column("Seeds", _seeds),
        *(Column(fold, partial(_score, of=f" {fold}")) for fold in folds),
        Column(name, _score, essential=True),
        Column("95 % interval", _interval),
        *(Column(metric_title(other), partial(_further_text, of=other)) for other in others),
        Column("Learned", lambda row: count(row["learnable"])),
        Column("Learned %", lambda row: percent(row["learnable_percent"]), essential=True),
        Column("Memory MiB", _memory, essential=True),
        Column("by", lambda row: row["memory_kind"] or "–", numeric=False),
        Column("% of full", _of_full, essential=True) if of_full else None,
        Column("PPE", lambda row: _two(row["ppe"]), essential=True) if efficiency else None,
        Column("PME", lambda row: _two(row["pme"]), essential=True) if of_full and efficiency else None,
        Column("s/epoch", lambda row: _three(row["seconds_per_epoch"])),
        Column("images/s", lambda row: _three(row["images_per_second"])),
        Column("Checkpoint", lambda row: bytes_text(row["checkpoint_bytes"])),
        Column("Features per image", lambda row: bytes_text(row["feature_bytes_per_image"])),
    ]
    return [column for column in every if column is not None]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table's rows as dictionaries, for :attr:`Column.text`."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def markdown(table: pd.DataFrame, measure: Measure | None) -> str:
    """The table in Markdown; errors follow below it."""
    shown_columns = columns(measure)
    lines = [
        "| " + " | ".join(column.title for column in shown_columns) + " |",
        "| " + " | ".join("---:" if column.numeric else "---" for column in shown_columns) + " |",
    ]
    rows = rows_of(table)
    lines += ["| " + " | ".join(column.text(row) for column in shown_columns) + " |" for row in rows]
    errors = [f"- {row['method']}: {row['error']}" for row in rows if row["error"]]
    return "\n".join([*lines, *(["", *errors] if errors else [])]) + "\n"


def effects_markdown(table: pd.DataFrame, measure: Measure) -> str:
    """What each varied setting does, in Markdown."""
    title = metric_title(measure.metric)
    lines = [f"| Setting | Value | {title} | Change | 95 % interval |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows_of(table):
        score, change, interval = effect_texts(row, measure.metric)
        setting = row["setting"].rpartition(".")[2]
        lines.append(f"| {setting} | {row['value']} | {score} | {change} | {interval} |")
    return "\n".join(lines) + "\n"


def effect_texts(row: Mapping[str, Any], metric: str) -> tuple[str, str, str]:
    """Score, change and interval of one row of the effects."""

    def signed(value: float) -> str:
        return "–" if math.isnan(value) else f"{value:+.3f}"

    interval = "–" if math.isnan(row["low"]) else f"{signed(row['low'])} to {signed(row['high'])}"
    return metric_text(metric, row["score"]), signed(row["effect"]), interval


def _seeds(row: Mapping[str, Any]) -> str:
    return f"{row['seeds']}" + (f", {row['failed']} failed" if row["failed"] else "")


def _score(row: Mapping[str, Any], of: str = "") -> str:
    mean, spread = row[f"score{of}"], row[f"score_std{of}"]
    if math.isnan(spread):
        return metric_text(row["metric"], mean)
    return f"{metric_text(row['metric'], mean)} ± {metric_spread(row['metric'], spread)}"


def _further_text(row: Mapping[str, Any], of: str) -> str:
    """``0.412 ± 0.031 (0.33 to 0.49)``: a further metric with its deviation over seeds and its interval."""
    text, spread = metric_text(of, row[of]), row[f"{of}_std"]
    if not math.isnan(spread):
        text += f" ± {metric_spread(of, spread)}"
    if not math.isnan(row[f"{of} low"]):
        text += f" ({metric_text(of, row[f'{of} low'])} to {metric_text(of, row[f'{of} high'])})"
    return text


def _interval(row: Mapping[str, Any]) -> str:
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "–"
    return f"{metric_text(row['metric'], row['low'])} to {metric_text(row['metric'], row['high'])}"


def _memory(row: Mapping[str, Any]) -> str:
    mib = row["memory_mib"]
    if math.isnan(mib):
        return "–"
    return count(mib) if mib >= 100 else f"{mib:.3g}"


def _of_full(row: Mapping[str, Any]) -> str:
    share = row["memory_percent_of_full"]
    text = count(share) if share > 100 else percent(share)
    return f"{text} (predicted)" if row["full_memory"] == "predicted" else text


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _three(value: float) -> str:
    return "–" if math.isnan(value) else count(value) if value >= 100 else f"{value:.3g}"
