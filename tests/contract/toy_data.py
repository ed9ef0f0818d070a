"""Small made fundus photographs with all that the toys ask of data, and settings that train in seconds."""

from pathlib import Path

import pandas as pd

import modicum
from modicum.data.phantoms import write_fundus_dataset

TOYS = ("toy_bank", "toy_draws", "toy_eyes", "toy_partner", "toy_pretext", "toy_reference", "toy_three")
"""Names of the methods in ``tests/toys``."""
SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 2, "batch_size": 4, "lr": 1e-3,
    "leaks": "allow", "resamples": 10, "workers": 0, "device": "cpu", "warmup_epochs": 0,
}  # fmt: skip
_SPLITS = {"ill": ("reference", "val", "test", "train"), "healthy": ("val", "test", "train")}


def write_toy_data(folder: Path, patients: int = 12) -> Path:
    """Both eyes of healthy and ill patients, ill ones in each split.

    One eye of the tests has no fellow. A patient of split ``reference`` has a mask of the lesions of one eye.
    """
    written = write_fundus_dataset(folder, patients, 40, seed=5, grade_probabilities=(1, 0, 0, 1, 0))
    table = pd.read_csv(written, dtype=str)
    table["label"] = table["label"].map({"0": "healthy", "3": "ill"})
    table = table.rename(columns={"lesions": "masks:lesions"}).drop(columns=["mask", "disc"])
    dealt = {kind: iter((*splits, *["train"] * patients)) for kind, splits in _SPLITS.items()}
    for _, rows in table.groupby("patient", sort=True):
        kind = "ill" if (rows["label"] == "ill").any() else "healthy"
        table.loc[rows.index, "split"] = next(dealt[kind])
    marked = table.index[(table["split"] == "reference") & (table["label"] == "ill")][0]
    table.loc[table.index != marked, "masks:lesions"] = ""
    table = table.drop(index=table.index[table["split"] == "test"][-1])
    path = folder / "toys.csv"
    table.to_csv(path, index=False)
    return path


def fit(data: Path, method: str, runs: Path, name: str = "", **settings) -> modicum.Run:
    """A run of a method on small made data."""
    return modicum.fit(data, method, name=name or method, runs=runs, **{**SETTINGS, **settings})
