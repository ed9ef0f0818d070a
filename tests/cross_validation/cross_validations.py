"""Cross-validations of small made data that take seconds."""

from pathlib import Path

import modicum
from modicum.cross_validation.cross_validation import CrossValidation
from modicum.methods.checks import write_made_data

SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "batch_size": 4, "lr": 1e-3,
    "leaks": "allow", "resamples": 10, "workers": 0, "device": "cpu", "warmup_epochs": 0,
}  # fmt: skip


def made(task: str, folder: Path, test_split: bool = False) -> Path:
    """Made data of a task; without the split that they come with, unless its test images are asked for."""
    import pandas as pd

    path = write_made_data(task, folder)
    table = pd.read_csv(path, dtype=str)
    if not test_split:
        table = table.drop(columns=["split", "masks:lesions"], errors="ignore")
        table.to_csv(path, index=False)
    return path


def cross_validate(data: Path, runs: Path, name: str = "x", method: str = "full", **given) -> CrossValidation:
    return modicum.cross_validate(data, method, runs=runs, name=name, **{"folds": 3, **SETTINGS, **given})
