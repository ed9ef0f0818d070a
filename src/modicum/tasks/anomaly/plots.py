"""Scores of normal and abnormal images as a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

_MOST_DOTS = 400


def distribution_figure(
    scores: Sequence[Float[np.ndarray, "_"]], names: Sequence[str], threshold: float | None
) -> Figure:
    """The scores of each group: every image a dot (of many, an even choice), the middle half, and the median.

    Args:
        scores: of each group; the first is normal.
        names: of the groups.
        threshold: from which score on images are called abnormal.
    """
    with plot_style():
        figure = Figure(figsize=(4.5, 4.3), layout="constrained")
        axes = figure.subplots()
        if threshold is not None:
            axes.axvline(threshold, color=MUTED, linewidth=1, dashes=(3, 3), gid="threshold")
        for row, values in enumerate(scores):
            colour, ordered = COLOURS[int(row > 0)], np.sort(values[np.isfinite(values)])
            if not len(ordered):
                continue
            shown = ordered[np.unique(np.linspace(0, len(ordered) - 1, _MOST_DOTS).round().astype(int))]
            # Dots spread over the row by the golden ratio: the same picture every time.
            height = row + 0.5 * ((np.arange(len(shown)) * 0.618034) % 1 - 0.5)
            axes.plot(shown, height, color=colour, linestyle="", marker="o", markersize=2.6, alpha=0.5)
            first, median, third = np.quantile(ordered, [0.25, 0.5, 0.75])
            axes.hlines(row, first, third, color=colour, linewidth=7, alpha=0.35)
            axes.plot([median], [row], color=colour, marker="o", markersize=7)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_yticks(range(len(names)), labels=list(names))
        axes.set_xlabel("score")
        return figure
