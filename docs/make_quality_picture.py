"""Draws docs/pictures/octa_quality.png: the quality method on drawn angiograms, with random weights of ResNet-18.

    python docs/make_quality_picture.py

The images are those of ``tests/methods/octa_phantoms.py``: outstanding, gradable (a little blurred, dim, two bands moved)
and ungradable (blurred, dim, stripes, noise). They show what the method does, and nothing of real angiograms.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import modicum
from modicum.tasks.classification.plots import COLOURS, MUTED, plot_style

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "octa_quality.png"
COUNTS = {
    "train": {"outstanding": 60},
    "val": {"outstanding": 40},
    "test": {"outstanding": 40, "gradable": 40, "ungradable": 40},
}
GRADES = ("outstanding", "gradable", "ungradable")
SETTINGS = {
    "backbone": "resnet18", "weights": "random", "image_size": 64, "scorers": ["pooled", "padim"], "padim_channels": 32,
    "leaks": "allow", "resamples": 0, "workers": 0, "write_report": False,
}  # fmt: skip


def graded(folder: Path) -> dict[str, pd.DataFrame]:
    """The predictions of the images to test, clustered in principal components and in t-SNE's plane."""
    sys.path.insert(0, str(ROOT / "tests" / "methods"))
    from octa_phantoms import write

    table = write(folder / "data", COUNTS)
    found = {}
    for name in ("pca", "tsne"):
        run = modicum.fit(
            table, "octa_quality", name=name, runs=folder / "runs", reduction=name, device="cpu", **SETTINGS
        )
        run.predict(table, folder / f"{name}.csv", split="test", maps=folder / "maps")
        found[name] = pd.read_csv(folder / f"{name}.csv", keep_default_na=False).assign(
            truth=pd.read_csv(table).query("split == 'test'")["label"].to_numpy()
        )
    return found


def draw_images(figure: Figure, folder: Path, table: pd.DataFrame) -> None:
    """An image of each grade and its map; one range of grey and one of heat for all."""
    for column, grade in enumerate(GRADES):
        row = table[table["truth"] == grade].iloc[2]
        for offset, (path, colours, limits) in enumerate(
            (
                (folder / "data" / row["image"], "gray", (0, 255)),
                (folder / "maps" / row["map"], "inferno", None),
            )
        ):
            axes = figure.add_subplot(2, 6, 1 + 2 * column + offset)
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            scale = limits or (0, 0.8 * np.iinfo(pixels.dtype).max)
            axes.imshow(pixels, cmap=colours, vmin=scale[0], vmax=scale[1])
            axes.set_title(f"called {row['quality']}" if offset == 0 else "map", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])


def draw_scores(figure: Figure, table: pd.DataFrame) -> None:
    """Scores by true grade, with the threshold."""
    axes = figure.add_subplot(2, 3, 4)
    axes.axvline(table["tau"].iloc[0], color=MUTED, dashes=(3, 3), linewidth=1)
    for height, grade in enumerate(GRADES):
        score = table.loc[table["truth"] == grade, "score"].astype(float).to_numpy()
        spread = height + 0.5 * ((np.arange(len(score)) * 0.618034) % 1 - 0.5)
        axes.plot(score, spread, "o", color=COLOURS[height], markersize=3, alpha=0.6)
    axes.set_yticks(range(3), labels=list(GRADES))
    axes.set_title("score, and the threshold", fontsize=9)


def draw_clusters(figure: Figure, table: pd.DataFrame, place: int, title: str) -> None:
    """Images that were clustered, by their true grade."""
    axes = figure.add_subplot(2, 3, place)
    clustered = table[table["cluster"] >= 0]
    for number, grade in enumerate(GRADES):
        rows = clustered[clustered["truth"] == grade]
        axes.plot(
            rows["cluster_x"].astype(float), rows["cluster_y"].astype(float), "o", color=COLOURS[number], markersize=3,
            alpha=0.7, label=grade,
        )  # fmt: skip
    right = (clustered["truth"] == clustered["quality"]).mean()
    axes.set_title(f"{title}: {100 * right:.0f} % of these named right", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=7)


def main() -> None:
    mpl.use("Agg")
    with tempfile.TemporaryDirectory() as place, plot_style():
        folder = Path(place)
        found = graded(folder)
        figure = Figure(figsize=(11, 5.2), layout="constrained", facecolor="white")
        draw_images(figure, folder, found["pca"])
        draw_scores(figure, found["pca"])
        draw_clusters(figure, found["pca"], 5, "two principal components")
        draw_clusters(figure, found["tsne"], 6, "t-SNE")
        figure.savefig(PICTURE, dpi=90, facecolor="white")


if __name__ == "__main__":
    main()
