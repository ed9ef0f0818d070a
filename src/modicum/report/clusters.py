"""Report on clusters that a set of images was parted into: a picture of where each image lies."""

import numpy as np
import pandas as pd

from modicum.report.figures import inline_svg
from modicum.report.files import Evaluation
from modicum.report.sections import Block
from modicum.report.words import plural

_COLUMNS = {"cluster", "cluster_x", "cluster_y", "prediction"}
_MOST_DOTS = 1000


def cluster_blocks(evaluation: Evaluation, prefix: str) -> list[Block]:
    """The images of an evaluation that lie in clusters, by what they are called and by what they are."""
    table = evaluation.predictions
    if table is None or not set(table) >= _COLUMNS:
        return []
    columns = [pd.to_numeric(table[name], errors="coerce") for name in ("cluster_x", "cluster_y")]
    places = np.stack(columns, 1).astype(float)  # the table is text; empty where an image lies in no cluster
    inside = np.isfinite(places).all(1)
    if not inside.any():
        return []
    from modicum.tasks.classification.cluster_plot import cluster_figure
    from modicum.tasks.classification.plots import COLOURS

    shown = np.flatnonzero(inside)
    shown = shown[np.unique(np.linspace(0, len(shown) - 1, _MOST_DOTS).round().astype(int))]
    called = table["prediction"].astype(str).to_numpy()
    names = sorted(set(called[inside]))
    truth = table["truth"].astype(str).to_numpy() if "truth" in table else called
    wrong = (truth != "") & (truth != called)
    numbers = np.array([names.index(name) if name in names else -1 for name in called])
    figure = cluster_figure(places[shown], numbers[shown], wrong[shown])
    legend = [
        {
            "name": f"called {name}", "swatch": f"s{number % len(COLOURS)}", "dash": "",
            "text": plural(int((called[inside] == name).sum()), "image"), "interval": "",
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    label = "Clusters: " + "; ".join(f"{row['name']} {row['text']}" for row in legend)
    content = {
        "svg": inline_svg(figure, f"{prefix}-clusters", label),
        "legend": legend,
        "metric": "Images that were clustered, in a plane of their embeddings; a cross where the true class is another.",
    }
    return [Block("figure.html.j2", "Clusters", content, "half")]
