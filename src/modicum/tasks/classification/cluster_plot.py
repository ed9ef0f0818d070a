"""Clusters of images as a picture."""

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from modicum.tasks.classification.plots import COLOURS, plot_style


def cluster_figure(
    places: Float[np.ndarray, "n two"], names: Int[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"]
) -> Figure:
    """Images in a plane, a colour a name.

    Args:
        places: of the images.
        names: number of what each image is called.
        wrong: images that are called what they are not; drawn as crosses.
    """
    with plot_style():
        figure = Figure(figsize=(4.5, 4.3), layout="constrained")
        axes = figure.subplots()
        for number in np.unique(names):
            for chosen, marker in ((~wrong, "o"), (wrong, "x")):
                rows = chosen & (names == number)
                axes.plot(
                    *places[rows].T, color=COLOURS[int(number) % len(COLOURS)], linestyle="", marker=marker,
                    markersize=4, alpha=0.7,
                )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        return figure
