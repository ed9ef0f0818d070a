"""A small made data set for each task, with all that a method may ask of data."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from modicum.data.boxes import boxes_around
from modicum.data.phantoms import write_chest_dataset, write_fundus_dataset, write_mr_dataset
from modicum.errors import InputError, did_you_mean

SIDE = 40
"""Side of the images in pixels."""
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
_DEALT = {"ill": ("reference", "val", "test"), "healthy": ("val", "test")}
"""The splits of the first patients of each kind; all others train."""


def write_made_data(task: str, folder: Path) -> Path:
    """Writes a data set for a task; returns the path of its table.

    Raises:
        InputError: a task for which nothing can be made.
    """
    if task not in WRITERS:
        raise InputError(
            f"no data can be made for task '{task}'", f"give data=...; {did_you_mean(task, WRITERS)}"
        )
    return WRITERS[task](folder)


def _write_eyes(folder: Path) -> Path:
    """Eyes of 12 healthy and ill patients, some ill in each split.

    Columns ``image``, ``label``, ``patient``, ``eye``, ``domain``, ``split``, ``boxes`` (around lesions) and
    ``masks:lesions``, which only a row of split ``reference`` has. One eye to test on has no fellow.
    """
    table = pd.read_csv(
        write_fundus_dataset(folder, 12, SIDE, seed=5, grade_probabilities=(1, 0, 0, 1, 0)), dtype=str
    )
    table["label"] = table["label"].map({"0": "healthy", "3": "ill"})
    ill = table["label"] == "ill"
    dealt = {kind: iter((*splits, *["train"] * len(table))) for kind, splits in _DEALT.items()}
    for _, rows in table.groupby("patient", sort=True):
        table.loc[rows.index, "split"] = next(dealt["ill" if ill[rows.index].any() else "healthy"])
    table["boxes"] = [
        _boxes_around(folder / mask) if is_ill else ""
        for mask, is_ill in zip(table["lesions"], ill, strict=True)
    ]
    table["masks:lesions"] = table["lesions"].where(ill & (table["split"] == "reference"), "")
    alone = table.index[table["split"] == "test"][-1]
    table = table.drop(index=alone, columns=["mask", "disc", "lesions"])
    return _written(table, folder)


def _write_lesions(folder: Path) -> Path:
    """Eyes of 10 patients with boxes around lesions of two classes; of one eye nothing is said."""
    path = write_fundus_dataset(
        folder, 10, SIDE, seed=5, grade_probabilities=(1, 0, 0, 2, 0), fractions=_SHARES
    )
    table = pd.read_csv(path, dtype=str)
    table["boxes"] = [_boxes_of_classes(folder / mask) for mask in table["lesions"]]
    table.loc[table.index[table["split"] == "train"][-1], "boxes"] = ""
    return _written(table.drop(columns=["label", "mask", "disc", "lesions"]), folder)


def _boxes_of_classes(mask: Path) -> str:
    """Boxes around dark and bright lesions (codes to 2, and above), as a cell of a table."""
    codes = np.asarray(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED))
    parts = {"dark": (codes > 0) & (codes <= 2), "bright": codes > 2}
    by_class = {
        name: boxes_around(np.where(marked, 255, 0).astype(np.uint8)) for name, marked in parts.items()
    }
    names = [name for name, boxes in by_class.items() for _ in boxes]
    return json.dumps({"boxes": np.concatenate(list(by_class.values())).tolist(), "classes": names})


def _boxes_around(mask: Path) -> str:
    """Left, top, right and bottom of the three largest things that are marked, as a cell of a table."""
    marked = (np.asarray(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)) > 0).astype(np.uint8)
    _, _, things, _ = cv2.connectedComponentsWithStats(marked)
    largest = sorted(things[1:].tolist(), key=lambda thing: -thing[cv2.CC_STAT_AREA])[:3]
    boxes = [[left, top, left + width, top + height] for left, top, width, height, _ in largest]
    return json.dumps(boxes) if boxes else ""


def _write_vessels(folder: Path) -> Path:
    """Eyes of 10 patients with masks of their vessels, from two cameras."""
    path = write_fundus_dataset(folder, 10, SIDE, seed=5, fractions=_SHARES, domains=("clinic", "handheld"))
    table = pd.read_csv(path, dtype=str)
    return _written(table.drop(columns=["label", "lesions", "disc"]), folder)


def _write_pairs(folder: Path) -> Path:
    """Heads of 10 patients in two contrasts."""
    return write_mr_dataset(folder, 10, SIDE, seed=5, fractions=_SHARES)


def _write_reports(folder: Path) -> Path:
    """Chest radiographs of 12 patients with their reports."""
    return write_chest_dataset(folder, 12, SIDE, seed=5, fractions=_SHARES, masks=False)


def _written(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "made.csv"
    table.to_csv(path, index=False)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "classification": _write_eyes,
    "detection": _write_lesions,
    "encoder": _write_eyes,
    "segmentation": _write_vessels,
    "image-to-image": _write_pairs,
    "image-text": _write_reports,
}
"""By the task's name."""
