"""Boxes of a CSV or TSV file with a row a box."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from modicum.data.boxes.box_file import BoxFile, settled
from modicum.data.boxes.columns import BoxColumns, box_columns
from modicum.data.boxes.given import GivenBoxes, edges_of, image_size
from modicum.data.boxes.options import BoxOptions
from modicum.data.table_cells import Cells, read_cells
from modicum.errors import InputError
from modicum.wording import count_of

_BLANK = {"", "nan", "na", "n/a", "none", "null"}


def read_box_table(path: Path, options: BoxOptions) -> BoxFile:
    """Boxes of a table with a row a box; a row without numbers is an image without boxes.

    Raises:
        InputError: no or several columns of boxes, a cell that is not a number; with the row.
    """
    cells, notes = _without_errors(read_cells(path), path.name)
    columns = box_columns(cells.header, path.name, options.format)
    numbers = _numbers(cells, columns.edges, path.name)
    blank = np.array([_is_blank(row, columns.edges) for row in cells.rows], bool)
    edges = edges_of(numbers, columns.format)
    names = _names(cells, columns.class_name, blank, path.name)
    scores = _scores(cells, columns.score, blank, path.name)
    sizes = _sizes(cells, columns, edges, blank, path.name)
    rows_of: dict[str, list[int]] = {}
    for row, line in enumerate(cells.rows):
        image = line[columns.image]
        if not image:
            raise InputError(
                f"{path.name} row {cells.numbers[row]} names no image", "fill in the cell or delete the row"
            )
        rows_of.setdefault(image, []).append(row)
    images: dict[str, GivenBoxes] = {}
    for image, rows in rows_of.items():
        kept = [row for row in rows if not blank[row]]
        images[image] = GivenBoxes(
            edges[kept],
            options.units,
            None if names is None else tuple(names[row] for row in kept),
            None if scores is None else scores[kept],
            _one_size(sizes, rows, cells, path.name),
            f"{path.name} row",
            tuple(cells.numbers[row] for row in kept),
        )
    edge_names = ", ".join(cells.header[index] for index in columns.edges)
    note = f"{path.name}: boxes are in the columns {edge_names} ({_MEANING[columns.format]})"
    places = {image: f"{path.name} row {cells.numbers[rows[0]]}" for image, rows in rows_of.items()}
    return settled(BoxFile(path.name, images, places, [*cells.notes, *notes, note]))


def _without_errors(cells: Cells, name: str) -> tuple[Cells, list[str]]:
    """The rows of images that whoever wrote the table could read (column ``error``), and a note of the others."""
    at = next((index for index, column in enumerate(cells.header) if column.lower() == "error"), None)
    kept = [index for index, row in enumerate(cells.rows) if at is None or row[at].lower() in _BLANK]
    if len(kept) == len(cells.rows):
        return cells, []
    note = f"{name}: left out: {count_of(len(cells.rows) - len(kept), 'row')} with an error"
    rows, numbers = [cells.rows[index] for index in kept], [cells.numbers[index] for index in kept]
    return replace(cells, rows=rows, numbers=numbers), [note]


_MEANING = {
    "xyxy": "left, top, right and bottom edge",
    "xywh": "left and top edge, width and height",
    "cxcywh": "centre, width and height",
}


def _is_blank(row: list[str], columns: tuple[int, ...]) -> bool:
    return all(row[index].lower() in _BLANK for index in columns)


def _numbers(cells: Cells, columns: tuple[int, ...], name: str) -> Float64[np.ndarray, "rows columns"]:
    """Numbers of cells; NaN where nothing stands."""
    numbers = np.full((len(cells.rows), len(columns)), np.nan)
    for row, line in enumerate(cells.rows):
        for at, index in enumerate(columns):
            if line[index].lower() in _BLANK:
                continue
            try:
                numbers[row, at] = float(line[index])
            except ValueError:
                raise InputError(
                    f"{name} row {cells.numbers[row]}: {cells.header[index]} is '{line[index]}'",
                    "write a number, with a point for decimals",
                ) from None
    return numbers


def _scores(
    cells: Cells, column: int | None, blank: np.ndarray, name: str
) -> Float64[np.ndarray, "rows"] | None:
    if column is None:
        return None
    scores = _numbers(cells, (column,), name)[:, 0]
    for row in np.flatnonzero(~blank & np.isnan(scores)).tolist():
        raise InputError(
            f"{name} row {cells.numbers[row]}: the box has no {cells.header[column]}", "fill in the cell"
        )
    return scores


def _names(cells: Cells, column: int | None, blank: np.ndarray, name: str) -> list[str] | None:
    if column is None:
        return None
    for row in np.flatnonzero(~blank).tolist():
        if not cells.rows[row][column]:
            raise InputError(
                f"{name} row {cells.numbers[row]}: the box has no {cells.header[column]}", "fill in the cell"
            )
    return [line[column] for line in cells.rows]


def _sizes(
    cells: Cells, columns: BoxColumns, edges: Float64[np.ndarray, "rows 4"], blank: np.ndarray, name: str
) -> Float64[np.ndarray, "rows 2"] | None:
    """Height and width of each row's image, where the table says them."""
    if columns.size is None:
        return None
    width, height = columns.size
    sizes = _numbers(cells, (height, width), name)
    if columns.beside_corners and not blank.all():
        box_sizes = edges[:, [3, 2]] - edges[:, [1, 0]]
        if np.allclose(sizes[~blank], box_sizes[~blank], atol=1e-3, equal_nan=True):
            return None  # the boxes' own, once more
    return sizes


def _one_size(
    sizes: Float64[np.ndarray, "rows 2"] | None, rows: list[int], cells: Cells, name: str
) -> tuple[int, int] | None:
    if sizes is None:
        return None
    given = sizes[rows]
    complete = np.flatnonzero(np.isfinite(given).all(axis=1)).tolist()
    for at in complete:
        if (given[at] != given[complete[0]]).any():
            raise InputError(
                f"{name} row {cells.numbers[rows[at]]}: width and height are {given[at, 1]:g} x {given[at, 0]:g}, "
                f"in row {cells.numbers[rows[complete[0]]]} of the same image {given[complete[0], 1]:g} x "
                f"{given[complete[0], 0]:g}",
                "call them w and h if they are the boxes', image_width and image_height if they are the image's",
            )
    if not complete:
        return None
    height, width = given[complete[0]].tolist()
    return image_size(height, width, f"{name} row {cells.numbers[rows[complete[0]]]}")
