"""``report.html`` of a search: one self-contained page, in the style of the reports."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modicum.atomic_files import write_text
from modicum.report.figures import inline_svg, theme
from modicum.report.page import style, templates
from modicum.report.places import short_place, without_places
from modicum.report.words import duration, metric_meaning, metric_text, metric_title, plural
from modicum.tuning.request import Request
from modicum.tuning.space import Dimension

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_NONE = "–"


def write_page(
    path: Path, request: Request, content: Mapping[str, Any], table: pd.DataFrame, request_text: str
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        request: of the search.
        content: of its ``metrics.json``.
        table: a row a trial.
        request_text: ``tune.yaml``.
    """
    environment = templates("modicum.tuning")
    metric, best = content["metric"], content["best"]
    figure = None
    if best is not None:
        label = f"validation {metric_title(metric)} of each trial against each searched setting"
        figure = inline_svg(slices_figure(request, table, metric, best["trial"]), "slices", label)
    values = {
        "css": style(),
        "theme": theme(),
        "name": path.parent.name,
        "subtitle": [
            request.method,
            plural(content["trials"], "trial"),
            plural(len(request.space), "setting"),
        ],
        "sentence": _sentence(content),
        "title": metric_title(metric),
        "meaning": metric_meaning(metric, content["task"]),
        "up": content["direction"] == "maximize",
        "finished": content["finished"],
        "cautions": _cautions(content),
        "figure": figure,
        "keys": [one.key for one in request.space],
        "rows": [_row(row, request, metric, best) for row in table.to_dict("records")],
        "best": best is not None,
        "data": short_place(str(request.data)),
        "recipe": short_place(str(path.parent / "best.yaml")),
        "request": without_places(request_text),
    }
    write_text(path, environment.get_template("tune.html.j2").render(values))


def _sentence(content: Mapping[str, Any]) -> str:
    best, metric = content["best"], content["metric"]
    if best is None:
        return "No trial has succeeded yet."
    settings = ", ".join(f"{key} {_text(value)}" for key, value in best["settings"].items())
    return f"Best on validation: {metric_title(metric)} {metric_text(metric, best['value'])} with {settings}."


def _cautions(content: Mapping[str, Any]) -> list[str]:
    cautions = []
    if content["finished"] > 1:
        cautions.append(
            f"The best of {content['finished']} values on the same validation images is optimistic. No trial was "
            "evaluated on the test split: train the best recipe once, and report that."
        )
    if content.get("pruned"):
        cautions.append(
            f"{plural(content['pruned'], 'trial')} ended early, behind the median of earlier trials: a setting that "
            "learns slowly at first may have been among them."
        )
    if content["failed"]:
        cautions.append(f"{plural(content['failed'], 'trial')} failed; the table says why.")
    return cautions


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return _NONE
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _row(
    row: Mapping[Any, Any], request: Request, metric: str, best: Mapping[str, Any] | None
) -> dict[str, Any]:
    finished = row["state"] in ("finished", "pruned")
    return {
        "trial": row["trial"],
        "settings": [_text(row[one.key]) for one in request.space],
        "value": metric_text(metric, row["value"]) if finished else _NONE,
        "state": row["state"],
        "seconds": duration(row["seconds"]) if finished else _NONE,
        "memory": f"{row['memory_mib']:,.0f}" if finished else _NONE,
        "error": row["error"],
        "best": best is not None and best["trial"] == row["trial"],
    }


def slices_figure(request: Request, table: pd.DataFrame, metric: str, best: str) -> "Figure":
    """The validation value of every finished trial against each setting, a small plot each; the best is coloured."""
    from matplotlib.figure import Figure

    from modicum.tasks.classification.plots import plot_style

    done = table[table["state"] == "finished"]
    columns = min(_COLUMNS, len(request.space))
    rows = -(-len(request.space) // columns)
    with plot_style():
        figure = Figure(figsize=(3.1 * columns + 0.4, 2.7 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, dimension in zip(grid, request.space, strict=False):
            _draw_slice(axes, dimension, done, best)
        for axes in grid[len(request.space) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel(metric_title(metric))
    return figure


def _draw_slice(axes: "Axes", dimension: Dimension, done: pd.DataFrame, best: str) -> None:
    from modicum.tasks.classification.plots import COLOURS, MUTED

    values = done["value"].to_numpy(dtype=float)
    if dimension.choices is not None:
        names = list(dimension.choices)
        x = np.array([names.index(str(name)) for name in done[dimension.key]], dtype=float)
        axes.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        x = done[dimension.key].to_numpy(dtype=float)
        assert dimension.low is not None
        assert dimension.high is not None
        if dimension.log:
            _scale_log(axes, dimension.low, dimension.high)
        else:
            margin = 0.04 * (dimension.high - dimension.low)
            axes.set_xlim(dimension.low - margin, dimension.high + margin)
            axes.locator_params(axis="x", nbins=5)
    is_best = (done["trial"] == best).to_numpy()
    axes.plot(x[~is_best], values[~is_best], color=MUTED, marker="o", markersize=5, linestyle="none")
    axes.plot(x[is_best], values[is_best], color=COLOURS[0], marker="o", markersize=8, linestyle="none")
    axes.set_xlabel(dimension.key)


def _scale_log(axes: "Axes", low: float, high: float) -> None:
    """A logarithmic axis over a range, with labels that do not cover each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    margin = (high / low) ** 0.04
    axes.set_xlim(low / margin, high * margin)
    decades = math.log10(high / low)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2 else (1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
