"""Scores by patient, from the predictions file: a table, and a figure of one metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modicum.report.figures import inline_svg
from modicum.report.files import Evaluation, number
from modicum.report.sections import Block, whisker
from modicum.report.words import (
    count,
    is_share,
    lower_is_better,
    metric_interval,
    metric_text,
    metric_title,
    plural,
    score,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW_PATIENTS = 5
"""Below this many patients, an interval over them is unreliable."""
LISTED = 40
"""Maximum number of patients in the table, the worst first."""
_NAMED, _DOTS, _DRAWN = 12, 800, 400
"""Maximum number of patients that are named in the figure, of images drawn as single dots, and of patients drawn."""


@dataclass(frozen=True)
class Scored:
    """Scores of each image.

    Args:
        values: one row per image, one column per metric; NaN where an image has no value.
        patients: patient of each image; None if patients are not known.
    """

    values: pd.DataFrame
    patients: np.ndarray | None

    def groups(self, metric: str) -> list[tuple[str, np.ndarray]]:
        """Patient names with their images' values of a metric, the worst first; patients without values are left out."""
        assert self.patients is not None
        groups = []
        for name, rows in self.values.groupby(self.patients, sort=True)[metric]:
            values = rows.to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            if len(values):
                groups.append((str(name), values))
        sign = -1 if lower_is_better(metric) else 1
        return sorted(groups, key=lambda group: sign * group[1].mean())


def scored(evaluation: Evaluation, metrics: Sequence[str]) -> Scored | None:
    """The per-image scores in an evaluation's predictions; None if it has none of these metrics."""
    table = evaluation.predictions
    names = [] if table is None else [name for name in metrics if name in table]
    if table is None or not names:
        return None
    values = pd.DataFrame({name: pd.to_numeric(table[name], errors="coerce") for name in names})
    has_patients = "patient" in table and (table["patient"] != "").any()
    return Scored(values, table["patient"].to_numpy(dtype=object) if has_patients else None)


def patient_cautions(evaluation: Evaluation) -> list[str]:
    """Cautions for evaluations with few patients."""
    patients = number(evaluation.info.get("patients"))
    if patients == 1:
        return [
            f"The {evaluation.title} is one patient: there is no interval, and nobody knows how the next patient will "
            "come out."
        ]
    if patients and patients < FEW_PATIENTS:
        return [
            f"The {evaluation.title} is {plural(int(patients), 'patient')}: intervals over so few are too narrow."
        ]
    return []


def patient_blocks(images: Scored | None, prefix: str, width: str = "half") -> list[Block]:
    """A figure of the first metric by image, and a table of all metrics by patient.

    Args:
        images: the images' scores; None for nothing to show.
        prefix: prefix of ids, different for each evaluation.
        width: width of the figure's card.
    """
    if images is None:
        return []
    lead = str(images.values.columns[0])
    values = images.values[lead].dropna()
    if values.empty:
        return []
    title = f"{metric_title(lead)} of each image"
    groups = [] if images.patients is None else images.groups(lead)
    figure = spread_figure(groups, lead) if groups else histogram(values.to_numpy(dtype=float), lead)
    by = (
        "A dot an image, a line the mean of a patient"
        if len(values) <= _DOTS
        else "Each patient's mean and range"
    )
    note = (
        f"{by}; {plural(len(groups), 'patient')}, the worst first."
        if groups
        else "How many images have which."
    )
    svg = inline_svg(figure, f"{prefix}-{lead}", f"{title}: {note}")
    blocks = [Block("figure.html.j2", title, {"svg": svg, "legend": [], "metric": note}, width)]
    if groups:
        blocks.append(Block("patients.html.j2", "Patient by patient", _table(images, groups, lead)))
    return blocks


def _table(images: Scored, groups: Sequence[tuple[str, np.ndarray]], lead: str) -> dict[str, Any]:
    names = [str(name) for name in images.values.columns]
    highest = max(float(values.max()) for _, values in groups)
    end = min(1.0, _rounded_up(highest)) if is_share(lead) else _rounded_up(highest)
    start = min(0.0, min(float(values.min()) for _, values in groups))
    assert images.patients is not None
    owners = images.patients.astype(str)
    rows = []
    for patient, values in groups[:LISTED]:
        patient_values = images.values[owners == patient]
        ends = {"value": values.mean(), "low": values.min(), "high": values.max()}
        entry = {key: float(value) for key, value in ends.items()}
        rows.append(
            {
                "name": patient,
                "images": count(len(patient_values)),
                "mark": whisker(entry, start, end)
                if len(values) > 1
                else whisker({"value": ends["value"]}, start, end),
                "cells": [_cell(name, patient_values[name].to_numpy(dtype=float)) for name in names],
            }
        )
    return {
        "titles": [metric_title(name) for name in names],
        "lead": metric_title(lead),
        "start": f"{start:.3g}",
        "end": f"{end:.3g}",
        "rows": rows,
        "whole": {
            "images": count(len(images.values)),
            "cells": [_cell(n, images.values[n].to_numpy(dtype=float)) for n in names],
        },
        "left": max(0, len(groups) - LISTED),
        "single": len(groups) == 1,
    }


def _cell(name: str, values: np.ndarray) -> dict[str, str]:
    """Formats the mean of a metric, with the lowest and highest value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"name": metric_title(name), "text": score(None), "range": ""}
    ends = {"low": float(finite.min()), "high": float(finite.max())}
    spread = metric_interval(name, ends) if len(finite) > 1 else ""
    return {"name": metric_title(name), "text": metric_text(name, float(finite.mean())), "range": spread}


def _rounded_up(value: float) -> float:
    """Rounds up to 1, 2, 2.5, 5 or 10 times a power of ten, for the end of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9)))


def spread_figure(groups: Sequence[tuple[str, np.ndarray]], metric: str, what: str = "patients") -> "Figure":
    """Plots groups side by side: each image a dot and the mean a line, or for many images means and ranges.

    Args:
        groups: names with the values of their images, in order.
        metric: name of the metric.
        what: axis label, if there are too many groups to name them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from modicum.tasks.classification.plots import COLOURS, plot_style

    if len(groups) > _DRAWN:
        groups = [groups[i] for i in np.linspace(0, len(groups) - 1, _DRAWN).round().astype(int)]
    with plot_style():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.subplots()
        x_positions = np.arange(len(groups), dtype=float)
        means = np.array([values.mean() for _, values in groups])
        if sum(len(values) for _, values in groups) <= _DOTS:
            for x, (_, values) in zip(x_positions, groups, strict=True):
                # Side by side in a fixed pattern, so that equal values do not hide each other.
                aside = 0.22 * np.sin(2.4 * np.arange(len(values)))
                axes.plot(
                    x + aside, values, "o", color=COLOURS[0], alpha=0.45, markersize=4.5, markeredgewidth=0
                )
            axes.hlines(means, x_positions - 0.34, x_positions + 0.34, color=COLOURS[1], linewidth=2.2)
        else:
            axes.vlines(
                x_positions, *np.array([(v.min(), v.max()) for _, v in groups]).T, color=COLOURS[0], alpha=0.4
            )
            axes.plot(x_positions, means, "o", color=COLOURS[1], markersize=3.5)
        if len(groups) <= _NAMED:
            axes.set_xticks(
                x_positions, [_short(name) for name, _ in groups], rotation=0 if len(groups) <= 5 else 30
            )
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axes.set_xlabel(f"{what}, the worst first")
        axes.set_xlim(-0.7, len(groups) - 0.3)
        axes.set_ylabel(metric_title(metric))
        if lower_is_better(metric):
            axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        return figure


def histogram(values: np.ndarray, metric: str) -> "Figure":
    """Histogram of the values over images."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from modicum.tasks.classification.plots import COLOURS, plot_style

    with plot_style():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.hist(values, bins=min(24, max(4, len(values) // 3)), color=COLOURS[0], alpha=0.8, rwidth=0.92)
        axes.set_xlabel(metric_title(metric))
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        return figure


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:6]}…{name[-6:]}"
