"""Renders ``compare.html``: one self-contained page, in the style of the reports."""

from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from modicum.comparison.ablation import effects_figure
from modicum.comparison.class_counts import class_accuracies, counts_figure
from modicum.comparison.comparison import Comparison
from modicum.comparison.pareto import pareto_figure
from modicum.comparison.records import Measure
from modicum.comparison.request import Request
from modicum.comparison.table import columns, effect_texts, rows_of
from modicum.report.figures import inline_svg, theme
from modicum.report.page import style, templates
from modicum.report.places import without_places
from modicum.report.sections_by_task import sections_of
from modicum.report.words import metric_meaning, metric_text, metric_title, plural, sentence_list
from modicum.tasks.metric_tables import metric_named


def render(request: Request, folder: Path, results: Comparison) -> str:
    """The page as HTML.

    Args:
        request: the comparison's request.
        folder: the comparison's folder.
        results: its results.
    """
    table, cells, measure = results.table, results.cells, results.measure
    environment = templates("modicum.comparison")
    shown_columns = columns(measure)
    values = {
        "css": style(),
        "theme": theme(),
        "name": folder.name,
        "subtitle": _subtitle(request),
        "cautions": results.cautions,
        "columns": shown_columns,
        "rows": [
            {
                "texts": [column.text(row) for column in shown_columns],
                "front": row["pareto"],
                "error": row["error"],
            }
            for row in rows_of(table)
        ],
        "sentence": _sentence(request, table, measure),
        "meaning": metric_meaning(measure.metric, _task(request)) if measure else "",
        "efficiencies": [column.title for column in shown_columns if column.title in ("PPE", "PME")],
        "up": measure is None or measure.higher_is_better,
        "figure": _figure(request, table, measure),
        "counts": _counts(folder, results),
        "effects": _effects(results.effects, measure),
        "cells": [_cell(row, measure) for row in rows_of(cells)],
        "request": without_places((folder / "compare.yaml").read_text(encoding="utf-8")),
    }
    return environment.get_template("compare.html.j2").render(values)


def _task(request: Request) -> str:
    return request.recipe_of(next(iter(request.variants))).task


def _subtitle(request: Request) -> list[str]:
    recipe = request.recipe_of(next(iter(request.variants)))
    height, width = recipe.image.size
    batches = "batches fitted to the memory" if request.fitted else f"batches of {recipe.training.batch_size}"
    swept = {key.rpartition(".")[2] for key in request.sweeps}
    parts = {
        "name": recipe.backbone.name if sections_of(recipe.task).backbone else "",
        "size": f"{width} × {height} px",
        "epochs": plural(recipe.training.epochs, "epoch"),
        "batch_size": batches,
        "seed": plural(request.seeds, "seed"),
        "held_out": f"{plural(len(request.folds), 'domain')}, held out in turn" if request.folds else "",
    }
    swept |= {{"image_size": "size", "backbone": "name"}.get(key, key) for key in swept}
    return [text for key, text in parts.items() if text and key not in swept]


def _short(request: Request, name: str) -> str:
    """A row's name without the method, if all rows have the same."""
    return name.removeprefix(f"{request.methods[0]}-") if len(request.methods) == 1 else name


def _sentence(request: Request, table: pd.DataFrame, measure: Measure | None) -> str:
    """The result in one or two sentences."""
    scored = table.dropna(subset=["score", "memory_mib"])
    if measure is None or len(scored) < 2:
        return ""
    ranked = scored.sort_values("score", ascending=not measure.higher_is_better, kind="stable")
    best = rows_of(ranked)[0]
    text, title = metric_text(measure.metric, best["score"]), metric_title(measure.metric)
    if not _better_than_guessing(measure, best["score"], _task(request)):
        return (
            f"Nothing here is better than guessing ({title} {text} at best), so no {_noun(request)} is ahead."
        )
    if metric_text(measure.metric, rows_of(ranked)[-1]["score"]) == text:
        return f"All score alike ({title} {text}), so no {_noun(request)} is ahead."
    front = sentence_list([_short(request, name) for name in scored[scored["pareto"]]["method"]])
    chance = ", by one seed, which may be chance" if request.seeds == 1 else ""
    return (
        f"{_short(request, best['method'])} scores best ({title} {text}){chance}. "
        f"No other {_noun(request)} beats {front} in both score and memory."
    )


def _noun(request: Request) -> str:
    return "setting" if request.sweeps else "method"


def _better_than_guessing(measure: Measure, score: float, task: str) -> bool:
    """Whether a score is above what guessing comes to, or above the lowest there is where that depends on the data."""
    if not measure.higher_is_better:
        return True
    metric = metric_named(measure.metric, task)
    floor = metric.range[0] if metric.chance is None else metric.chance
    floor = floor if measure.guessing is None else measure.guessing
    return metric_text(measure.metric, max(score, floor)) != metric_text(measure.metric, floor)


def _figure(request: Request, table: pd.DataFrame, measure: Measure | None) -> Markup | None:
    scored = table.dropna(subset=["score", "memory_mib"])
    if measure is None or scored.empty:
        return None
    title = metric_title(measure.metric)
    figure = pareto_figure(
        [_short(request, name) for name in scored["method"]],
        scored["memory_mib"].tolist(),
        scored["score"].tolist(),
        scored["score_std"].tolist(),
        title,
        measure.higher_is_better,
    )
    return inline_svg(figure, "pareto", f"{title} against peak training memory, one point per method")


def _counts(folder: Path, results: Comparison) -> Markup | None:
    """Accuracy of each class against its number of images, where classes are in groups."""
    methods = [str(name) for name in results.table["method"]]
    counts, shares = class_accuracies(folder, results.cells, results.measure, methods)
    if not shares:
        return None
    label = "Share found of each class, from the rarest to the most common, one line per method"
    return inline_svg(counts_figure(counts, shares), "counts", label)


def _effects(table: pd.DataFrame, measure: Measure | None) -> list[dict[str, Any]]:
    """By method, the table of effects and its figure."""
    if measure is None or table.empty:
        return []
    title = metric_title(measure.metric)
    rendered: list[dict[str, Any]] = []
    for method, rows in table.groupby("method", sort=False):
        with_effect = rows.dropna(subset=["effect"])
        figure = None
        if len(with_effect):
            figure = inline_svg(
                effects_figure(with_effect, title),
                f"effects-{len(rendered)}",
                f"change of {title} by each setting of {method}, with intervals",
            )
        texts = [
            [row["setting"].rpartition(".")[2], row["value"], *effect_texts(row, measure.metric)]
            for row in rows_of(rows)
        ]
        rendered.append({"method": method, "rows": texts, "figure": figure, "title": title})
    return rendered


def _cell(row: dict[str, Any], measure: Measure | None) -> dict[str, str]:
    metric = measure.metric if measure else ""
    return {
        "name": row["cell"],
        "use": "search for a learning rate" if row["use"] == "search" else "",
        "state": row["state"],
        "score": metric_text(metric, row["score"]),
        "selected": metric_text(metric, row["selection_value"]),
        "lr": "–" if pd.isna(row["lr"]) else f"{row['lr']:g}",
        "error": row["error"],
        "report": f"cells/{row['cell']}/report.html" if row["state"] == "finished" else "",
    }
