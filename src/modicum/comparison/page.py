"""``compare.html``: one self-contained page, in the look of the reports."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from modicum.comparison.pareto import pareto_figure
from modicum.comparison.records import Measure
from modicum.comparison.request import Request
from modicum.comparison.table import columns, rows_of
from modicum.report.figures import inline_svg, theme
from modicum.report.words import METRIC_MEANINGS, metric_title, plural, score, sentence_list


def render(
    request: Request,
    folder: Path,
    table: pd.DataFrame,
    cells: pd.DataFrame,
    measure: Measure | None,
    cautions: Sequence[str],
) -> str:
    """The page as text.

    Args:
        request: what was asked for.
        folder: the comparison's.
        table: a row a method.
        cells: a row a cell.
        measure: what is compared.
        cautions: sentences for the box at the top.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("modicum.comparison"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = files("modicum.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    shown = columns(measure)
    values = {
        "css": Markup(css),
        "theme": theme(),
        "name": folder.name,
        "subtitle": _subtitle(request),
        "cautions": cautions,
        "columns": shown,
        "rows": [
            {
                "texts": [column.text(row) for column in shown],
                "front": row["pareto"],
                "error": row["error"],
            }
            for row in rows_of(table)
        ],
        "sentence": _sentence(table, measure),
        "meaning": METRIC_MEANINGS.get(measure.metric, "") if measure else "",
        "figure": _figure(table, measure),
        "cells": [_cell(row) for row in rows_of(cells)],
        "request": (folder / "compare.yaml").read_text(encoding="utf-8"),
    }
    return environment.get_template("compare.html.j2").render(values)


def _subtitle(request: Request) -> list[str]:
    recipe = request.recipe_of(request.methods[0])
    height, width = recipe.image.size
    batches = "batches fitted to the memory" if request.fitted else f"batches of {recipe.training.batch_size}"
    return [
        recipe.backbone.name,
        f"{width} × {height} px",
        plural(recipe.training.epochs, "epoch"),
        batches,
        plural(request.seeds, "seed"),
    ]


def _sentence(table: pd.DataFrame, measure: Measure | None) -> str:
    """The result in plain words."""
    scored = table.dropna(subset=["score", "memory_mib"])
    if measure is None or len(scored) < 2:
        return ""
    ranked = scored.sort_values("score", ascending=not measure.higher_is_better, kind="stable")
    best = rows_of(ranked)[0]
    front = sentence_list(scored[scored["pareto"]]["method"].tolist())
    return (
        f"{best['method']} scores best ({metric_title(measure.metric)} {score(best['score'])}). "
        f"No other method beats {front} in both score and memory."
    )


def _figure(table: pd.DataFrame, measure: Measure | None) -> Markup | None:
    scored = table.dropna(subset=["score", "memory_mib"])
    if measure is None or scored.empty:
        return None
    title = metric_title(measure.metric)
    figure = pareto_figure(
        scored["method"].tolist(),
        scored["memory_mib"].tolist(),
        scored["score"].tolist(),
        scored["score_std"].tolist(),
        title,
        measure.higher_is_better,
    )
    return inline_svg(figure, "pareto", f"{title} against peak training memory, a point a method")


def _cell(row: dict[str, Any]) -> dict[str, str]:
    return {
        "name": row["cell"],
        "use": "search for a learning rate" if row["use"] == "search" else "",
        "state": row["state"],
        "score": score(row["score"]),
        "selected": score(row["selection_value"]),
        "lr": "–" if pd.isna(row["lr"]) else f"{row['lr']:g}",
        "error": row["error"],
        "report": f"cells/{row['cell']}/report.html" if row["state"] == "finished" else "",
    }
