"""Accuracy of each class against its number of training images, a line a method: what a method wins in the tail and loses
in the head.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modicum.comparison.records import Measure
from modicum.engine.model_file import task_of_run
from modicum.engine.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 8
"""Lines in colours that can be told apart."""


def class_accuracies(
    folder: Path, cells: pd.DataFrame, measure: Measure | None, methods: Sequence[str]
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Training images by class, and by method the share found of each class, the mean over its finished seeds.

    Both are empty where no run has classes in groups (``head_above`` and ``tail_below``).

    Args:
        folder: of the comparison.
        cells: its rows of ``cells.csv``.
        measure: what is compared.
        methods: rows of the table.
    """
    counts: dict[str, int] = {}
    shares: dict[str, np.ndarray] = {}
    finished = cells[(cells["state"] == "finished") & (cells["use"] == "seed")] if len(cells) else cells
    for method in methods if measure else ():
        rows = []
        for name in finished["cell"][finished["method"] == method]:
            run = RunFolder(folder / "cells" / str(name))
            groups = task_of_run(run).to_dict().get("class_groups")
            file = run.evaluation(measure.split if measure else "") / "predictions.csv"
            if groups is None or not file.is_file():
                continue
            counts = {str(label): int(count) for label, count in groups["counts"].items()}
            table = pd.read_csv(file, usecols=["truth", "prediction"], dtype=str, keep_default_na=False)
            is_right = table["truth"] == table["prediction"]
            rows.append(is_right.groupby(table["truth"]).mean().reindex(list(counts)).to_numpy(float))
        if rows:
            shares[method] = np.mean(rows, axis=0)
    return counts, shares


def counts_figure(counts: dict[str, int], shares: dict[str, np.ndarray]) -> "Figure":
    """Lines over classes from the rarest to the most common; the first methods in colours, further ones in grey.

    Args:
        counts: training images by class.
        shares: by method, the share found of each class in the order of ``counts``.
    """
    from matplotlib.figure import Figure

    from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

    names = sorted(counts, key=lambda name: counts[name])
    order: Any = [list(counts).index(name) for name in names]
    with plot_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for index, (method, values) in enumerate(shares.items()):
            colour = COLOURS[index] if index < min(_MOST, len(COLOURS)) else MUTED
            axes.plot(range(len(names)), values[order], color=colour, marker="o", markersize=5, label=method)
        axes.set_xticks(range(len(names)), labels=[f"{name}\n{counts[name]}" for name in names])
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("class and its training images")
        axes.set_ylabel("share found")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
