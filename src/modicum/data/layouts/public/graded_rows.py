"""Rows of sets of photographs with grades of diabetic retinopathy: grades are checked, photographs found by their ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modicum.data.layouts.file_finder import FileFinder
from modicum.data.layouts.public.chest_tables import table_named
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.layouts.table import table_columns
from modicum.data.readers.content import format_of_name
from modicum.errors import InputError
from modicum.wording import count_of, listed

GRADES = ("0", "1", "2", "3", "4")
"""None, mild, moderate, severe and proliferative retinopathy."""


def released_table(folder: Path, pattern: str, columns: Sequence[str]) -> Path | None:
    """The table of a set as it is released; None where someone has given it a column of labels or splits."""
    path = table_named(folder, pattern, columns)
    if path is None or {"label", "labels", "split"} & {name.lower() for name in table_columns(path)}:
        return None
    return path


@dataclass
class GradedPart:
    """The rows of one table or list.

    Attributes:
        name: of the table.
        rows: one per photograph.
        origins: where each row was read.
        num_found: how many of the photographs are there.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    num_found: int = 0

    def add(self, row: Row, origin: str) -> None:
        """Adds a row; its image is a path."""
        self.rows.append(row)
        self.origins.append(origin)
        self.num_found += Path(str(row["image"])).exists()


class Photographs:
    """The photographs below a folder, found by what tables call them: with their ending or without, in any case.

    Args:
        folder: searched at any depth.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._finder = FileFinder.below(folder)
        self._used: set[str] = set()

    def path(self, name: str, origin: str, part: str = "") -> Path:
        """The file of a photograph; one that is not there is called as the table has it.

        Args:
            name: as in the table.
            origin: of the table's row, for messages.
            part: folder in which it is looked for first.

        Raises:
            InputError: several files have the name.
        """
        inside = f"{part}/{name}" if part else name
        for text in dict.fromkeys((inside, name)):
            matches = self._finder.find(text)
            if len(matches) > 1:
                raise InputError(
                    f"{origin}: '{name}' is the name of several files ({listed(matches)})",
                    "keep one of them in the folder",
                )
            if matches:
                self._used.add(matches[0])
                return self.folder / matches[0]
        return self.folder / inside

    def unnamed(self) -> list[str]:
        """The images that no table has asked for."""
        return [
            path
            for path in self._finder.paths
            if path not in self._used and format_of_name(Path(path)) not in (None, "other", "npz")
        ]


def grade_of(cell: str, origin: str) -> str | None:
    """A grade as text, None of a blank cell; ``2.0`` is 2.

    Raises:
        InputError: it is none of :data:`GRADES`.
    """
    plain = re.sub(r"\.0+$", "", cell)
    if plain and plain not in GRADES:
        raise InputError(
            f"{origin}: grade '{cell}' is not in {GRADES[0]}..{GRADES[-1]}",
            "correct or delete the row, or give the table with --label if its grades are others",
        )
    return plain or None


def joined(parts: Sequence[GradedPart], photographs: Sequence[Photographs] = ()) -> LayoutRows:
    """All rows, without the parts of which not one photograph is there, if there are any of another.

    Where no part is to validate or test on, there is no split.

    Args:
        parts: in order.
        photographs: those that no row names are counted.
    """
    result = LayoutRows([])
    some = any(part.num_found for part in parts)
    for part in parts:
        if some and part.rows and not part.num_found:
            result.notes.append(
                f"left out: {count_of(len(part.rows), 'row')} of {part.name}, none of whose images is there"
            )
            continue
        result.rows += part.rows
        result.origins += part.origins
    if {row.get("split") for row in result.rows} <= {"train", None}:
        for row in result.rows:
            row.pop("split", None)
    unnamed = [name for folder in photographs for name in folder.unnamed()]
    if unnamed:
        tables = listed(part.name for part in parts)
        result.notes.append(
            f"left out: {count_of(len(unnamed), 'image')} without a row in {tables} ({listed(unnamed)})"
        )
    return result
