"""What an evaluation of boxes leaves in its folder besides scores: the boxes as files, and pictures of some images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from modicum.data.manifest import Manifest
from modicum.data.placement import placement_of
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference.box_files import COLUMNS, box_table, found_boxes, write_coco
from modicum.engine.inference.evaluation_table import write_table
from modicum.engine.inference.guards import COLUMN
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.pictures import fitted_picture, write_png
from modicum.engine.run_folder import write_json
from modicum.progress import say
from modicum.tasks.base import Example
from modicum.tasks.box_lists import BoxListScores, BoxListTask

BOX_TABLE, COCO = "boxes.csv", "boxes.json"


def write_found_boxes(
    folder: Path,
    task: BoxListTask,
    scores: BoxListScores,
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    unlike: Sequence[str] | None = None,
) -> None:
    """Writes all boxes found in the rows that were scored, in pixels of their files: ``boxes.csv`` and ``boxes.json``.

    Args:
        unlike: why each of these rows is unlike the training images; None where that is not known.
    """
    images = []
    for number, row in enumerate(scores.rows().tolist()):
        placement = placement_of(store.facts[store_positions[row]], store.settings)
        if placement is None:
            say("the store of images is of an earlier version: boxes are not written as files")
            return
        found = found_boxes(str(manifest.table["image"].iloc[row]), task, scores.found(row), placement)
        images.append(replace(found, unlike=None if unlike is None else unlike[number]))
    columns = [*COLUMNS[:-1], *([] if unlike is None else [COLUMN])]
    write_table(folder / BOX_TABLE, box_table(images, columns))
    write_coco(folder / COCO, images, task.box_classes)


def write_box_examples(
    folder: Path,
    task: BoxListTask,
    scores: BoxListScores,
    examples: Sequence[Example],
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
) -> None:
    """Writes ``examples.json`` and, for each example, its pictures, as the network saw the image."""
    records = []
    for number, example in enumerate(examples):
        unit = to_unit_range(torch.from_numpy(store.get(store_positions[[example.row]])))[0].numpy()
        grey = np.repeat(unit, 3, axis=0) if len(unit) == 1 else unit[:3]
        picture = np.ascontiguousarray((255 * grey).round().astype(np.uint8).transpose(1, 2, 0))
        panels = []
        drawn = task.render(picture, scores.found(example.row), scores.truth(example.row))
        for name, one in drawn.items():
            file = f"{number:03d}_{name}.png"
            write_png(folder / file, fitted_picture(one))
            panels.append({"name": name, "picture": file})
        records.append(
            {
                "image": str(manifest.table["image"].iloc[example.row]),
                "kind": example.kind,
                "truth": example.truth,
                "prediction": example.prediction,
                "panels": panels,
            }
        )
    write_json(folder / "examples.json", records)
