"""The Pareto front of score and memory, and its figure."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Offsets of a label from its point, in points to the right and up; the first free one is taken.
_LABEL_OFFSETS = (
    (9, 9),
    (9, -9),
    (-9, 9),
    (-9, -9),
    (0, 20),
    (0, -20),
    (9, 24),
    (9, -24),
    (-9, 24),
    (-9, -24),
    (9, 9),
)


def pareto_front(
    cost: Float[np.ndarray, "n"],
    score: Float[np.ndarray, "n"],
) -> Bool[np.ndarray, "n"]:
    """Whether each point is on the Pareto front: no other one costs no more, scores no less, and is better in one.

    Equal points do not dominate each other. A point with a NaN is not on the front and dominates none.
    """
    is_known = ~(np.isnan(cost) | np.isnan(score))
    cheaper = cost[:, None] <= cost[None]
    better = score[:, None] >= score[None]
    strictly = (cost[:, None] < cost[None]) | (score[:, None] > score[None])
    dominated = (cheaper & better & strictly & is_known[:, None]).any(axis=0)
    return is_known & ~dominated


def pareto_figure(
    names: Sequence[str],
    memory: Sequence[float],
    score: Sequence[float],
    spread: Sequence[float],
    title: str,
    higher_is_better: bool = True,
) -> "Figure":
    """Plots score against peak training memory, with the front as steps and a label at each point.

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

    from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

    x, y, error = (np.asarray(values, dtype=float) for values in (memory, score, spread))
    drawn = [int(i) for i in np.flatnonzero(~(np.isnan(x) | np.isnan(y)))]
    front = pareto_front(x, y if higher_is_better else -y)
    with plot_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        steps = sorted(np.flatnonzero(front), key=lambda i: x[i])
        if len(steps) > 1:
            axes.plot(x[steps], y[steps], color=COLOURS[0], linewidth=2.0, drawstyle="steps-post")
        for i in drawn:
            colour = COLOURS[0] if front[i] else MUTED
            bar = None if math.isnan(error[i]) else error[i]
            axes.errorbar(x[i], y[i], yerr=bar, color=colour, marker="o", markersize=7, capsize=3)
        axes.set_xscale("log")
        wide = len(drawn) > 0 and max(x[drawn]) > 1000 * min(
            x[drawn]
        )  # more numbers would not fit side by side
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.22, y=0.2)
        axes.set_xlabel("peak training memory in MiB, logarithmic")
        axes.set_ylabel(title)
        _name_points(figure, axes, [(names[i], x[i], y[i], bool(front[i])) for i in drawn])
    return figure


def _name_points(figure: "Figure", axes: "Axes", points: Sequence[tuple[str, float, float, bool]]) -> None:
    """Labels each point, where possible without covering a point or another label."""
    from matplotlib.transforms import Bbox

    from modicum.tasks.classification.plots import INK

    figure.draw_without_rendering()  # sets the axes' final size
    at = [axes.transData.transform((x, y)) for _, x, y, _ in points]
    taken = [Bbox.from_extents(px - 5, py - 5, px + 5, py + 5) for px, py in at]
    for name, x, y, leads in sorted(points, key=lambda point: (not point[3], -point[2])):
        for index, (right, up) in enumerate(_LABEL_OFFSETS):
            label = axes.annotate(
                name,
                (x, y),
                (right, up),
                textcoords="offset points",
                color=INK,
                ha="left" if right > 0 else "right" if right < 0 else "center",
                va="center",
                fontweight="bold" if leads else "normal",
            )
            box = label.get_window_extent()
            if index == len(_LABEL_OFFSETS) - 1 or not any(box.overlaps(taken_box) for taken_box in taken):
                taken.append(box)
                break
            label.remove()
