"""Small made fundus photographs with all that the toys ask of data, and settings that train in seconds."""

from pathlib import Path

import modicum
from modicum.methods.checks import write_made_data

TOYS = (
    "toy_bank", "toy_boxes", "toy_draws", "toy_eyes", "toy_partner", "toy_pretext", "toy_reference", "toy_three",
)  # fmt: skip
"""Names of the methods in ``tests/toys``."""
SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 2, "batch_size": 4, "lr": 1e-3,
    "leaks": "allow", "resamples": 10, "workers": 0, "device": "cpu", "warmup_epochs": 0,
}  # fmt: skip


def write_toy_data(folder: Path) -> Path:
    """Eyes of healthy and ill patients; see :mod:`modicum.methods.checks.made_data`."""
    return write_made_data("classification", folder)


def fit(data: Path, method: str, runs: Path, name: str = "", **settings) -> modicum.Run:
    """A run of a method on small made data, without a report unless it is asked for."""
    given = {"write_report": False, **SETTINGS, **settings}
    return modicum.fit(data, method, name=name or method, runs=runs, **given)
