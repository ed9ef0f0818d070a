"""Small pictures whose brightness is their grade: a data set that a tiny network grades in seconds."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

import modicum

GRADES = 4
SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 6, "batch_size": 8, "lr": 1e-2,
    "augment": "none", "workers": 0, "resamples": 30, "device": "cpu",
}  # fmt: skip


def write_grades(folder: Path, images: int = 64, test_seed: int = 1, shift: float = 0.0) -> Path:
    """Writes pictures and ``labels.csv`` (grade, patient, split) and returns the table.

    Args:
        folder: to be made.
        images: half of them for training, a quarter each for validation and test.
        test_seed: of the test pictures alone; the others are always the same.
        shift: added to the brightness of every picture, in levels.
    """
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(images):
        split = ("train", "train", "val", "test")[number % 4]
        generator = np.random.default_rng([number, test_seed if split == "test" else 0])
        grade = (number // 4) % GRADES
        picture = generator.normal(60 + 40 * grade + shift, 12, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        name = f"images/{number:03d}.png"
        cv2.imwrite(str(folder / name), picture)
        rows.append({"image": name, "grade": grade, "patient": f"p{number:03d}", "split": split})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def fit(data, runs, name, **settings):
    """A run on them, by full fine-tuning."""
    return modicum.fit(
        data, name=name, runs=runs, label="grade", **{"method": "full", **SETTINGS, **settings}
    )


def table_of(run, split="test"):
    """The predictions of an evaluation."""
    return pd.read_csv(run.path / "evaluations" / split / "predictions.csv")
