"""The manifest's column ``boxes``: of lists, of files, or of one file for all images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modicum.data.boxes.box_file import said_units
from modicum.data.boxes.boxes import Boxes
from modicum.data.boxes.given import EXAMPLE, GivenBoxes, from_cell, is_json, with_units
from modicum.data.boxes.matching import matched_rows
from modicum.data.boxes.options import BoxOptions
from modicum.data.boxes.reading import read_boxes
from modicum.data.boxes.yolo import Names, class_names_for, read_yolo_file
from modicum.data.manifest import Manifest
from modicum.errors import InputError

COLUMN = "boxes"
_FOLDERS = ("", "boxes", "labels")


def with_box_file(
    manifest: Manifest, source: Path | str | Mapping[Any, Any], options: BoxOptions
) -> Manifest:
    """A manifest with the boxes of a file (or a mapping) of all images in its column ``boxes``.

    A column that was called so stays as ``file_boxes``.

    Raises:
        InputError: the file cannot be read, or an image of it is not exactly one of the manifest's.
    """
    box_file = read_boxes(source, options)
    image_of, notes = matched_rows(box_file, manifest, options)
    cells = [
        box_file.images[image_of[row]].to_cell() if row in image_of else np.nan
        for row in range(len(manifest))
    ]
    columns: dict[str, Any] = {COLUMN: cells}
    if COLUMN in manifest.table:
        columns[f"file_{COLUMN}"] = manifest.table[COLUMN]
    return manifest.with_columns([*box_file.notes, *notes], **columns)


def with_box_cells(manifest: Manifest, options: BoxOptions, allow_outside: bool = False) -> Manifest:
    """A manifest whose column ``boxes`` is read: each cell is a list of boxes, or names a file of its image's boxes.

    Raises:
        InputError: a cell is neither, or its file is not there, outside the data's folder, or not readable.
    """
    files = _BoxFiles(manifest, options, allow_outside)
    given = [_of_cell(manifest, row, options, files) for row in range(len(manifest))]
    rows = [row for row, one in enumerate(given) if one is not None]
    settled, units = with_units(
        [one for one in given if one is not None],
        [manifest.describe_row(row) for row in rows],
        manifest.source,
    )
    texts = dict(zip(rows, (one.to_cell() for one in settled), strict=True))
    cells = [texts.get(row, np.nan) for row in range(len(manifest))]
    notes = [] if units is None else [f"column '{COLUMN}': boxes are read as {said_units(units)}"]
    return manifest.with_columns(notes, boxes=cells)


def with_checked_cells(manifest: Manifest, rows: Sequence[Boxes | None]) -> Manifest:
    """A manifest whose column ``boxes`` holds boxes that were checked, in pixels of the upright images."""
    cells = [np.nan if boxes is None else _checked_cell(boxes) for boxes in rows]
    return manifest.with_columns(boxes=cells)


def _checked_cell(boxes: Boxes) -> str:
    scores = None if boxes.scores is None else boxes.scores.astype(np.float64)
    edges = boxes.xyxy.astype(np.float64)
    return GivenBoxes(edges, "pixels", boxes.class_names, scores, upright=True).to_cell()


def given_boxes(manifest: Manifest) -> list[GivenBoxes | None]:
    """The boxes of each row of a manifest that was read; None where the column says nothing.

    Raises:
        InputError: a cell is not JSON, or not boxes.
    """
    if COLUMN not in manifest.table:
        return [None] * len(manifest)
    plain = BoxOptions()
    return [
        None if isinstance(cell, float) else from_cell(cell, manifest.describe_row(row), plain)
        for row, cell in enumerate(manifest.table[COLUMN])
    ]


def _of_cell(manifest: Manifest, row: int, options: BoxOptions, files: "_BoxFiles") -> GivenBoxes | None:
    text = manifest.table[COLUMN].iloc[row]
    if isinstance(text, float):
        return None
    return from_cell(text, manifest.describe_row(row), options) if is_json(text) else files.read(row, text)


class _BoxFiles:
    """Files of boxes, one an image, below a manifest's root."""

    def __init__(self, manifest: Manifest, options: BoxOptions, allow_outside: bool) -> None:
        self._manifest, self._options, self._allow_outside = manifest, options, allow_outside
        self._root = manifest.root.resolve()
        self._names: dict[Path, Names] = {}

    def read(self, row: int, text: str) -> GivenBoxes:
        """The boxes of a file that a cell names."""
        place = self._manifest.describe_row(row)
        path = self._path(text, place)
        if path.suffix.lower() == ".txt":
            if path.parent not in self._names:
                self._names[path.parent] = class_names_for(path.parent)
            return read_yolo_file(path, self._options, self._names[path.parent], text)
        if path.suffix.lower() != ".json":
            raise InputError(
                f"{place}: boxes '{text}' is neither a list nor a file of one image's boxes",
                f"write {EXAMPLE}, or name a .txt (YOLO) or a .json with such a list",
            )
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            raise InputError(f"{place}: boxes '{text}' cannot be read", "write it again as UTF-8") from None
        return from_cell(content, f"{place}: {text}", self._options)

    def _path(self, text: str, place: str) -> Path:
        name = text.replace("\\", "/")
        for folder in _FOLDERS:
            path = self._manifest.root / folder / name
            if path.is_file():
                if not self._allow_outside and not path.resolve().is_relative_to(self._root):
                    raise InputError(
                        f"{place}: boxes '{text}' is outside the data's folder",
                        "move it there, or pass --allow-outside if you trust the table",
                    )
                return path
        raise InputError(
            f"{place}: boxes '{text[:60]}' is neither a list nor a file that is there",
            f"write {EXAMPLE}, or fix the path",
        )
