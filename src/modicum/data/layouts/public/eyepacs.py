"""EyePACS: Kaggle's Diabetic Retinopathy Detection of 2015."""

import re
from collections.abc import Sequence
from pathlib import Path

from modicum.data.layouts.file_finder import without_ending
from modicum.data.layouts.folder_tables import head_of
from modicum.data.layouts.public.chest_tables import Line, read_lines
from modicum.data.layouts.public.graded_rows import GradedPart, Photographs, grade_of, joined, released_table
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows
from modicum.errors import InputError
from modicum.wording import count_of, listed

_COLUMNS = ("image", "level")
_TRAIN = r"train_?labels.*\.csv"
# The usage of each row is known since the competition has ended; copies call the file as the first or the second.
_SOLUTION = r"(retinopathy_solution|test_?labels).*\.csv"
_NAME = r"(.+)_(left|right)"
_SPLITS = {"public": "val", "private": "test", "": "test"}


def is_eyepacs(folder: Path) -> bool:
    """``trainLabels.csv`` or ``retinopathy_solution.csv`` with ``image``, ``level`` and rows such as ``10_left``."""
    return any(_table(folder, pattern) is not None for pattern in (_TRAIN, _SOLUTION))


def read_eyepacs(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads EyePACS: grade, patient and eye (by the name); Kaggle's Public rows are ``val``, Private ones ``test``.

    The split is that of Huang et al. (Diagnostics 2023, 13, 1664). Without a solution file there is none, and the
    images to test are left out, as their grades are not known.

    Raises:
        InputError: a column is missing, a grade is not in 0..4, or a usage is neither Public nor Private.
    """
    photographs = Photographs(folder)
    parts = []
    strange: list[str] = []
    for pattern, where in ((_TRAIN, "train"), (_SOLUTION, "test")):
        table = _table(folder, pattern)
        if table is None:
            continue
        part = GradedPart(table.name)
        for line in read_lines(table, _COLUMNS, "image"):
            name = without_ending(line["image"])[0]
            whose = re.fullmatch(_NAME, name, re.IGNORECASE)
            if whose is None:
                strange.append(line["image"])
            part.add(
                {
                    "image": photographs.path(line["image"], line.origin, where),
                    "label": grade_of(line["level"], line.origin),
                    "patient": whose[1] if whose else None,
                    "eye": whose[2][0].upper() if whose else None,
                    "split": "train" if where == "train" else _split(line),
                },
                line.origin,
            )
        parts.append(part)
    result = joined(parts, [photographs])
    return _with_notes(result, parts, strange)


def _with_notes(result: LayoutRows, parts: Sequence[GradedPart], strange: Sequence[str]) -> LayoutRows:
    if strange:
        result.notes.append(
            f"{count_of(len(strange), 'row')} without patient and eye: the name is neither NAME_left nor NAME_right "
            f"({listed(strange)})"
        )
    if any("split" in row for row in result.rows):
        result.notes.append("splits are Kaggle's: Public rows validate, Private rows test")
    return result


def _split(line: Line) -> str:
    usage = line.get("Usage")
    if usage.lower() not in _SPLITS:
        raise InputError(f"{line.origin}: Usage is '{usage}'", "write Public or Private")
    return _SPLITS[usage.lower()]


def _table(folder: Path, pattern: str) -> Path | None:
    path = released_table(folder, pattern, _COLUMNS)
    if path is None:
        return None
    names = [without_ending(str(name))[0] for name in head_of(path).get("image", ())]
    return path if any(re.fullmatch(_NAME, name, re.IGNORECASE) for name in names) else None
