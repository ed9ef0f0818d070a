"""Ablations: one setting is varied at a time from a reference, and the winners are stacked.

Huang et al. (Diagnostics 2023, 13, 1664) study the components of a recipe this way. What wins is decided on validation
images alone.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from modicum.comparison.grid import seed_cells, validation_worth
from modicum.comparison.request import Request
from modicum.comparison.sweeps import Variant
from modicum.comparison.table import rows_of
from modicum.engine.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EFFECT_COLUMNS = ("method", "setting", "value", "stacked", "score", "effect", "low", "high", "seeds")


def stacked(request: Request, cells: Path) -> tuple[Variant, ...]:
    """The rows in which winners are stacked, in the order of the sweeps; empty with fewer than two winners.

    A setting has a winner where its best value is better than the reference on validation, as a mean over all seeds.
    The first winner alone has a row already.

    Args:
        request: the comparison; its stacked rows are not looked at.
        cells: the folder of its run folders.
    """
    plain = replace(request, stacks=())
    worths = _worths(plain, cells)
    rows: list[Variant] = []
    for method in request.methods:
        variants = [variant for variant in plain.variants.values() if variant.method == method]
        reference = worths[variants[0].name]
        settings: dict[str, Any] = {}
        words: dict[str, str] = {}
        for key in dict.fromkeys(key for variant in variants for key in variant.settings):
            rivals = [variant for variant in variants if key in variant.settings]
            best = max(rivals, key=lambda variant: worths[variant.name])
            if worths[best.name] > reference:
                settings |= best.settings
                words |= best.words
                if len(settings) > 1:
                    rows.append(
                        Variant(f"{method}-stack{len(settings)}", method, dict(settings), dict(words))
                    )
    return tuple(rows)


def _worths(request: Request, cells: Path) -> dict[str, float]:
    """The mean validation value of each row over its seeds, higher being better; minus infinity where one is missing."""
    worths: dict[str, list[float]] = {name: [] for name in request.variants}
    for cell in seed_cells(request, {}):
        folder = RunFolder(cells / cell.name)
        worth = validation_worth(folder) if folder.status.get("state") == "finished" else None
        worths[cell.variant].append(-math.inf if worth is None else worth)
    return {name: float(np.mean(values)) for name, values in worths.items()}


def effects(request: Request, cells: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """What each setting does to the score: one row for every value that was varied alone, and every stack.

    Differences are between runs of the same seed; the interval is that of their mean by Student's t, 95 %. It says how
    much another seed would change, not how much other images would.

    Args:
        request: the comparison.
        cells: the rows of ``cells.csv``.
        higher_is_better: direction of the score; effects are positive where the score gets better.

    Returns:
        The columns :data:`EFFECT_COLUMNS`; NaN where there is no score, or no interval (a single seed).
    """
    done = cells[(cells["use"] == "seed") & (cells["state"] == "finished")]
    scores = {
        name: done[done["method"] == name].set_index("seed")["score"].dropna() for name in request.variants
    }
    rows = []
    for variant in request.variants.values():
        if not variant.settings:
            continue
        change = (scores[variant.name] - scores[variant.method]).dropna().to_numpy(float)
        low, high = _interval(change)
        is_stack = len(variant.settings) > 1
        rows.append(
            {
                "method": variant.method,
                "setting": "stack" if is_stack else next(iter(variant.words)),
                "value": _words(variant.words) if is_stack else next(iter(variant.words.values())),
                "stacked": is_stack,
                "score": float(scores[variant.name].mean()) if len(scores[variant.name]) else math.nan,
                "effect": float(change.mean()) * (1 if higher_is_better else -1) if len(change) else math.nan,
                "low": low if higher_is_better else -high,
                "high": high if higher_is_better else -low,
                "seeds": len(change),
            }
        )
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _words(words: Mapping[str, str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={word}" for key, word in words.items())


def _interval(change: np.ndarray) -> tuple[float, float]:
    if len(change) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / math.sqrt(len(change)))
    return float(change.mean()) - half, float(change.mean()) + half


def effects_figure(table: pd.DataFrame, title: str) -> "Figure":
    """Plots effects as points with intervals, one line each, settings together, stacks last.

    Args:
        table: of :func:`effects`, one method's rows with an effect.
        title: name of the score.
    """
    from matplotlib.figure import Figure

    from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

    rows = rows_of(table)
    places = np.arange(len(rows))[::-1]
    with plot_style():
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1.0)
        for place, row in zip(places, rows, strict=True):
            has_interval = not math.isnan(row["low"])
            colour = COLOURS[0] if has_interval and (row["low"] > 0 or row["high"] < 0) else MUTED
            if has_interval:
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.0)
            axes.plot(row["effect"], place, marker="D" if row["stacked"] else "o", color=colour, markersize=6)
        axes.set_yticks(places, [_line_name(row) for row in rows])
        axes.set_xlabel(f"change of {title}; right is better")
        axes.margins(y=0.08)
    return figure


def _line_name(row: Mapping[str, Any]) -> str:
    if row["stacked"]:
        return f"stack of {row['value'].count('=')}"
    return f"{row['setting'].rpartition('.')[2]} = {row['value']}"
