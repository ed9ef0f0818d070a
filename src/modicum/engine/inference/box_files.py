"""Boxes that were found, as files that ``--boxes`` reads again: a table with a row a box, or COCO's JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from modicum.atomic_files import write_text
from modicum.data.boxes.boxes import Boxes
from modicum.data.placement import Placement
from modicum.engine.inference.guards import COLUMN
from modicum.errors import InputError
from modicum.tasks.box_lists import BoxListTask

COLUMNS = ("image", "x0", "y0", "x1", "y1", "class", "score", "image_width", "image_height", "error")
NUMBERS = ("x0", "y0", "x1", "y1", "score", "image_width", "image_height")
SUFFIXES = (".csv", ".parquet", ".json")


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """The boxes found in one image, or why it could not be read.

    Attributes:
        image: name of the image.
        boxes: in pixels of its file, upright.
        size: its height and width.
        error: why there are none; None for an image that was read.
        unlike: why it is unlike the training images; empty where it is not, None where these are not known.
    """

    image: str
    boxes: Boxes
    size: tuple[int, int] | None = None
    error: str | None = None
    unlike: str | None = None


def found_boxes(
    image: str, task: BoxListTask, outputs: Float[np.ndarray, "k 6"], placement: Placement
) -> FoundBoxes:
    """A network's outputs for one image, in pixels of its file. What lies beside the image is left out."""
    moved = outputs.astype(np.float64)
    moved[:, :4] = placement.source_boxes(moved[:, :4])
    moved = moved[np.isfinite(moved).all(1) & (moved[:, 2:4] > moved[:, :2]).all(1)]
    return FoundBoxes(image, task.boxes(moved), placement.source)


def box_table(images: Sequence[FoundBoxes], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """A row a box; one without numbers for an image in which none was found, or that could not be read."""
    rows = [row for one in images for row in _rows(one)]
    return pd.DataFrame(rows, columns=list(columns))


def _rows(one: FoundBoxes) -> Iterator[dict[str, Any]]:
    height, width = one.size or (np.nan, np.nan)
    shared = {"image": one.image, "image_width": width, "image_height": height, "error": one.error}
    shared[COLUMN] = one.unlike or None
    if not len(one.boxes):
        yield shared
        return
    names, scores = one.boxes.class_names or (), one.boxes.scores
    assert scores is not None
    for edges, name, score in zip(one.boxes.xyxy.tolist(), names, scores.tolist(), strict=True):
        yield {
            **shared,
            **dict(zip(("x0", "y0", "x1", "y1"), edges, strict=True)),
            "class": name,
            "score": score,
        }


def coco_document(found_images: Sequence[FoundBoxes], classes: Sequence[str]) -> dict[str, Any]:
    """The same as a COCO document; images that could not be read are not in it.

    ``bbox`` is left, top, width and height in pixels, categories are numbered from 1. ``unlike_training`` of an image
    says why it is unlike the training images; empty where it is like them, absent where these are not known.
    """
    readable = [one for one in found_images if one.error is None and one.size is not None]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    number = {name: index for index, name in enumerate(classes, start=1)}
    for key, one in enumerate(readable, start=1):
        assert one.size is not None
        images.append({"id": key, "file_name": one.image, "width": one.size[1], "height": one.size[0]})
        if one.unlike is not None:
            images[-1][COLUMN] = one.unlike
        scores = one.boxes.scores if one.boxes.scores is not None else np.ones(len(one.boxes), np.float32)
        for edges, name, score in zip(
            one.boxes.xyxy.astype(np.float64), one.boxes.class_names or (), scores.tolist(), strict=True
        ):
            left, top, right, bottom = edges.tolist()
            box = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": number[name],
                    "bbox": box,
                    "area": round(box[2] * box[3], 3),
                    "iscrowd": 0,
                    "score": round(score, 6),
                }
            )
    categories = [{"id": index, "name": name} for name, index in number.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, found_images: Sequence[FoundBoxes], classes: Sequence[str]) -> None:
    """Writes a COCO document, whole or not at all. Raises :class:`~modicum.errors.ResourceError` on a full disk."""
    write_text(path, json.dumps(coco_document(found_images, classes), ensure_ascii=False, indent=1) + "\n")


def check_box_file(path: Path) -> None:
    """Raises :class:`~modicum.errors.InputError` for a file that boxes are not written as."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"--out '{path}' has an unknown suffix", "end it with .csv, .parquet or .json (COCO) for boxes"
        )
    if not path.parent.is_dir():
        raise InputError(f"--out '{path}': folder '{path.parent}' does not exist", "make it first")
