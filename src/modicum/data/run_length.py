"""Run-length encoded masks, as in competitions.

Pixels are counted down the columns, from the upper left corner. There are two forms:

* *absolute* (most competitions): ``start length start length ...``, starts from 1;
* *relative* (SIIM-ACR pneumothorax): ``skip length skip length ...``, each skip from the end of the previous run, the
  first from the corner. An image without a finding has the marker ``-1``, with a blank before it in the original file;
  several rows of one image are several regions, and its mask is their union.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from modicum.data.long_cells import long_cells
from modicum.errors import InputError
from modicum.wording import listed

Form = Literal["absolute", "relative"]
Mask = Bool[np.ndarray, "height width"]

SIIM_SIZE = (1024, 1024)
"""Height and width of the masks of SIIM-ACR pneumothorax."""
NOTHING = "-1"
"""The marker of an empty mask; an empty text means the same."""


def decoded(text: str, size: tuple[int, int], form: Form, origin: str = "run-length text") -> Mask:
    """Decodes a text to a mask.

    Args:
        text: whole numbers with blanks between, or :data:`NOTHING`.
        size: height and width of the mask.
        form: meaning of the first number of each pair.
        origin: origin of the text for errors, for instance ``masks.csv row 17``.

    Raises:
        InputError: not pairs of whole numbers, a run without length, or one that exceeds the mask. Absolute runs may
            come in any order and overlap.

    >>> decoded("2 2 5 1", (3, 2), "absolute").astype(int).tolist()
    [[0, 0], [1, 1], [1, 0]]
    >>> decoded("1 2 1 1", (3, 2), "relative").astype(int).tolist()
    [[0, 0], [1, 1], [1, 0]]
    """
    height, width = size
    starts, lengths = _runs(text, form, origin)
    changes = np.zeros(height * width + 1, np.int64)
    ends = starts + lengths
    wrong = np.flatnonzero((lengths < 1) | (starts < 0) | (ends > height * width))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{origin}: run {first + 1} has {lengths[first]} pixels from pixel {starts[first] + 1} on, in a mask of "
            f"{height}x{width}",
            f"check the size of the masks, and whether numbers are {form}",
        )
    np.add.at(changes, starts, 1)
    np.add.at(changes, ends, -1)
    return (changes[:-1].cumsum() > 0).reshape(width, height).T


def encoded(mask: Mask, form: Form) -> str:
    """Encodes a mask as the shortest text; :data:`NOTHING` for an empty one."""
    pixels = np.concatenate([[False], mask.T.ravel(), [False]])
    starts, ends = np.flatnonzero(pixels[1:] != pixels[:-1]).reshape(-1, 2).T
    if not len(starts):
        return NOTHING
    first = starts + 1 if form == "absolute" else starts - np.concatenate([[0], ends[:-1]])
    return " ".join(str(number) for pair in zip(first, ends - starts, strict=True) for number in pair)


@dataclass(frozen=True)
class RunLengthRow:
    """One row of a table of masks.

    Attributes:
        text: text of the runs.
        origin: the file and the row, for errors; the header is row 1.
    """

    text: str
    origin: str


def read_run_lengths(
    path: Path, image_column: str = "ImageId", runs_column: str = "EncodedPixels"
) -> dict[str, list[RunLengthRow]]:
    """Reads a table of masks: rows by image, in the order of the file.

    Blanks around names of columns and images are removed, as needed for the original files of SIIM.

    Args:
        path: a CSV file with a header.
        image_column: column with the image's name.
        runs_column: column with the text.

    Raises:
        InputError: a column is missing, a row is too short or names no image, or an image has both a region and the
            marker for none.
    """
    with path.open(newline="", encoding="utf-8-sig") as file, long_cells():
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        indices = [_column(header, name, path) for name in (image_column, runs_column)]
        rows_by_image: dict[str, list[RunLengthRow]] = {}
        for number, row in enumerate(rows, start=2):
            if not any(cell.strip() for cell in row):
                continue
            origin = f"{path.name} row {number}"
            if len(row) <= max(indices) or not row[indices[0]].strip():
                raise InputError(
                    f"{origin}: {len(row)} cells, or no '{image_column}'",
                    f"fill in '{image_column}' and '{runs_column}', or delete the row",
                )
            name, text = (row[index].strip() for index in indices)
            rows_by_image.setdefault(name, []).append(RunLengthRow(text, origin))
    _check_markers(rows_by_image)
    return rows_by_image


def mask_of(rows: Sequence[RunLengthRow], size: tuple[int, int], form: Form) -> Mask:
    """The union of the masks of one image's rows. Arguments and errors as in :func:`decoded`; errors name the row."""
    mask = np.zeros(size, bool)
    for row in rows:
        mask |= decoded(row.text, size, form, row.origin)
    return mask


def _runs(text: str, form: Form, origin: str) -> tuple[Int[np.ndarray, "runs"], Int[np.ndarray, "runs"]]:
    """Parses a text to first pixels (from 0) and lengths."""
    words = text.split()
    if not words or words == [NOTHING]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError) as error:
        wrong = [word for word in words if not word.lstrip("+-").isdigit() or len(word) > 18]
        raise InputError(
            f"{origin}: '{listed(wrong, 1)}' is not a number of pixels",
            "write whole numbers separated by blanks, for instance 10 3 25 4",
        ) from error
    if len(numbers) % 2:
        raise InputError(
            f"{origin}: {len(numbers)} numbers are not pairs of a start and a length",
            "complete the row, for instance 10 3 25 4",
        )
    first, lengths = numbers[::2], numbers[1::2]
    if form == "absolute":
        return first - 1, lengths
    wrong_skips = np.flatnonzero(first < 0)
    if len(wrong_skips):
        raise InputError(
            f"{origin}: a skip of {first[wrong_skips[0]]} pixels", "check whether the numbers are absolute"
        )
    return np.cumsum(first) + np.cumsum(lengths) - lengths, lengths


def _column(header: Sequence[str], name: str, path: Path) -> int:
    if name not in header:
        raise InputError(
            f"{path.name}: no column '{name}' (columns: {', '.join(header)})",
            f"rename the column to '{name}'",
        )
    return header.index(name)


def _check_markers(rows_by_image: dict[str, list[RunLengthRow]]) -> None:
    for rows in rows_by_image.values():
        empty_rows = [row for row in rows if row.text in ("", NOTHING)]
        if empty_rows and len(empty_rows) < len(rows):
            raise InputError(
                f"{empty_rows[0].origin}: the marker for no region, but another row of the image has one",
                "remove one of the two",
            )
