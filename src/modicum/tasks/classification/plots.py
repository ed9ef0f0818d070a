"""Pictures of how well a classifier does: pure functions from numbers to matplotlib figures.

Every figure is a plain :class:`matplotlib.figure.Figure` (no pyplot, no global state): show it in a notebook or save
it with ``figure.savefig``. Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart;
curves also differ in their dashes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import matplotlib
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modicum.tasks.classification.curves import Band, PrecisionRecallCurve, Reliability, RocCurve

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b5588f", "#b07800", "#3a9bd9", "#6b5fb5", "#5f6b7a")
"""Line colours in order of use; darkened where the original is too pale on white."""
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
INK, MUTED, GRID, PAPER = "#16202c", "#5b6878", "#dfe5ec", "#ffffff"

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 10.0,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "text.color": INK,
    "text.parse_math": False,  # a class called "$x" is a name, not a formula
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
}
Plot = TypeVar("Plot", bound=Callable[..., Figure])


@contextmanager
def plot_style() -> Iterator[None]:
    """The look of all figures, for the time of a ``with`` block."""
    with matplotlib.rc_context(_STYLE):
        yield


def _styled(plot: Plot) -> Plot:
    @wraps(plot)
    def in_style(*args: Any, **kwargs: Any) -> Figure:
        with plot_style():
            return plot(*args, **kwargs)

    return in_style  # type: ignore[return-value]


@dataclass(frozen=True)
class NamedCurve:
    """One curve of a figure.

    Args:
        name: what the legend says, for instance a class.
        curve: its points.
        band: its bootstrap interval.
        quiet: drawn thin and grey, behind the others: one of many.
    """

    name: str
    curve: RocCurve | PrecisionRecallCurve
    band: Band | None = None
    quiet: bool = False


def curve_style(index: int) -> tuple[str, Any]:
    """Colour and dashes of the ``index``-th curve of a figure."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


@_styled
def roc_figure(curves: Sequence[NamedCurve], *, legend: bool = True) -> Figure:
    """Receiver operating characteristic: share of positives found over the false-alarm rate.

    Args:
        curves: with :class:`RocCurve` points.
        legend: name the curves inside the figure.
    """
    figure, axes = _square("false-alarm rate (1 − specificity)", "found (sensitivity)")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(3, 3), gid="chance")
    _draw(axes, [(c, c.curve.fpr, c.curve.tpr) for c in curves if isinstance(c.curve, RocCurve)], "default")
    if legend:
        _legend(axes, "lower right")
    return figure


@_styled
def pr_figure(
    curves: Sequence[NamedCurve], *, prevalence: float | None = None, legend: bool = True
) -> Figure:
    """Precision over recall, as steps: there are no straight lines between its points (Davis and Goadrich 2006).

    Args:
        curves: with :class:`PrecisionRecallCurve` points.
        prevalence: share of positive images, the precision of guessing; drawn as a line.
        legend: name the curves inside the figure.
    """
    figure, axes = _square("found (recall)", "right when it says so (precision)")
    if prevalence is not None:
        axes.plot([0, 1], [prevalence] * 2, color=MUTED, linewidth=1, dashes=(3, 3), gid="chance")
    # The points run from recall 1 down to 0, where precision jumps at the lower recall of a pair.
    points = [
        (c, c.curve.recall, c.curve.precision) for c in curves if isinstance(c.curve, PrecisionRecallCurve)
    ]
    _draw(axes, points, "steps-post")
    if legend:
        _legend(axes, "lower left")
    return figure


@_styled
def calibration_figure(bins: Reliability) -> Figure:
    """Reliability diagram with Wilson intervals, over a histogram of the stated probabilities.

    Args:
        bins: see :func:`~modicum.tasks.classification.curves.reliability`; empty bins are left out.
    """
    figure = Figure(figsize=(4.5, 4.3), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    filled = bins.count > 0
    stated, observed = bins.confidence[filled], bins.accuracy[filled]
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(3, 3), gid="perfect")
    upper.vlines(stated, bins.low[filled], bins.high[filled], color=COLOURS[0], linewidth=1.4, alpha=0.5)
    upper.plot(stated, observed, color=COLOURS[0], linewidth=2, marker="o", markersize=5.5, gid="reliability")
    _unit(upper.set_xlim, upper.set_xticks)
    _unit(upper.set_ylim, upper.set_yticks)
    upper.set_ylabel("was so (observed share)")
    widths, most = np.diff(bins.edges), int(bins.count.max(initial=1))
    lower.bar(
        bins.edges[:-1] + 0.07 * widths, bins.count, widths * 0.86, align="edge", color=COLOURS[0], alpha=0.7
    )
    lower.set_ylim(0, max(1, most) * 1.1)
    lower.set_yticks([most])
    lower.set_xlabel("stated probability")
    lower.grid(False)
    return figure


@_styled
def confusion_figure(counts: Integer[np.ndarray, "truth predicted"], classes: Sequence[str]) -> Figure:
    """Confusion matrix with counts and row percentages: a row for each true class, a column for each prediction.

    Args:
        counts: images by true and predicted class.
        classes: names, in the order of rows and columns.
    """
    size = 2.6 + 0.62 * len(classes)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.4)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9.5, color=INK)
    axes.set_xticks(range(len(classes)), labels=classes, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), labels=classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


@_styled
def severity_figure(
    scores: Float[np.ndarray, "n"],
    truth: Integer[np.ndarray, "n"],
    classes: Sequence[str],
    thresholds: Sequence[float],
) -> Figure:
    """Severity scores by true grade: median, middle half and middle 90 %, with lines where the next grade begins.

    Args:
        scores: in grades.
        truth: grades from 0; one without images has an empty row.
        classes: names of the grades.
        thresholds: from scores to grades.
    """
    figure = Figure(figsize=(4.5, 4.3), layout="constrained")
    axes = figure.subplots()
    for value in thresholds:
        axes.axvline(value, color=MUTED, linewidth=1, dashes=(3, 3), gid="threshold")
    for grade in range(len(classes)):
        of_grade = scores[truth == grade]
        if len(of_grade):
            low, first, median, third, high = np.quantile(of_grade, [0.05, 0.25, 0.5, 0.75, 0.95])
            axes.hlines(grade, low, high, color=COLOURS[0], linewidth=1.6)
            axes.hlines(grade, first, third, color=COLOURS[0], linewidth=7, alpha=0.45)
            axes.plot([median], [grade], color=COLOURS[0], marker="o", markersize=6.5, gid=f"grade-{grade}")
    axes.set_ylim(-0.6, len(classes) - 0.4)
    axes.set_yticks(range(len(classes)), labels=classes)
    axes.set_xlabel("score, in grades")
    axes.set_ylabel("true grade")
    return figure


def _square(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.5, 4.3), layout="constrained")
    axes = figure.subplots()
    _unit(axes.set_xlim, axes.set_xticks)
    _unit(axes.set_ylim, axes.set_yticks)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def _unit(set_limits: Callable[..., Any], set_ticks: Callable[..., Any]) -> None:
    """An axis from 0 to 1 that does not clip lines at its ends."""
    set_limits(-0.015, 1.015)
    set_ticks(np.linspace(0, 1, 6), labels=["0", "0.2", "0.4", "0.6", "0.8", "1"])


def _draw(axes: Axes, curves: Sequence[tuple[NamedCurve, np.ndarray, np.ndarray]], drawstyle: str) -> None:
    for index, (named, x, y) in enumerate(curves):
        colour, dashes = (MUTED, "-") if named.quiet else curve_style(index)
        if named.band is not None:
            band = named.band
            axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.13, linewidth=0, zorder=1.5)
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=dashes,
            linewidth=1.0 if named.quiet else 2.2,
            alpha=0.45 if named.quiet else 1.0,
            zorder=1.8 if named.quiet else 2.5 - 0.001 * index,
            drawstyle=drawstyle,
            label=named.name,
            gid=f"curve-{index}",
        )


def _legend(axes: Axes, where: Any) -> None:
    lines = [line for line in axes.get_lines() if str(line.get_gid()).startswith("curve-")]
    legend = axes.legend(lines, [""] * len(lines), loc=where)
    # Set afterwards: matplotlib leaves out labels that begin with an underscore, which class names may.
    for text, line in zip(legend.get_texts(), lines, strict=True):
        text.set_text(str(line.get_label()))
