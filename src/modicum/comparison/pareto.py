"""Which methods no other one beats in both score and memory, and a picture of it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pareto_front(
    cost: Float[np.ndarray, "n"],
    score: Float[np.ndarray, "n"],
) -> Bool[np.ndarray, "n"]:
    """Which points no other one dominates: costs no more, scores no less, and is better in one of the two.

    Equal points do not dominate each other. A point with a NaN is not on the front and dominates none.
    """
    known = ~(np.isnan(cost) | np.isnan(score))
    cheaper = cost[:, None] <= cost[None]
    better = score[:, None] >= score[None]
    strictly = (cost[:, None] < cost[None]) | (score[:, None] > score[None])
    dominated = (cheaper & better & strictly & known[:, None]).any(axis=0)
    return known & ~dominated


def pareto_figure(
    names: Sequence[str],
    memory: Sequence[float],
    score: Sequence[float],
    spread: Sequence[float],
    title: str,
    higher_is_better: bool = True,
) -> "Figure":
    """Score against peak training memory, the front drawn as steps, each point with its name beside it.

    Args:
        names: of the methods.
        memory: MiB.
        score: mean over seeds; points without a number are left out.
        spread: standard deviation over seeds, for the error bars; NaN for none.
        title: of the score's axis.
        higher_is_better: direction of the score.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    from modicum.tasks.classification.plots import COLOURS, INK, MUTED, plot_style

    x, y, error = (np.asarray(values, dtype=float) for values in (memory, score, spread))
    shown = [int(i) for i in np.flatnonzero(~(np.isnan(x) | np.isnan(y)))]
    front = pareto_front(x, y if higher_is_better else -y)
    with plot_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        steps = sorted(np.flatnonzero(front), key=lambda i: x[i])
        if len(steps) > 1:
            axes.plot(x[steps], y[steps], color=COLOURS[0], linewidth=2.0, drawstyle="steps-post")
        for i in shown:
            colour = COLOURS[0] if front[i] else MUTED
            bar = None if math.isnan(error[i]) else error[i]
            axes.errorbar(x[i], y[i], yerr=bar, color=colour, marker="o", markersize=7, capsize=3)
            axes.annotate(
                names[i],
                (x[i], y[i]),
                (8, 7),
                textcoords="offset points",
                color=INK,
                fontweight="bold" if front[i] else "normal",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.22, y=0.2)
        axes.set_xlabel("peak training memory in MiB, logarithmic")
        axes.set_ylabel(title)
    return figure
