"""Rows of a public data set on their way to a manifest, and the pairing of files by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from modicum.data.image import ImageRef
from modicum.data.layouts.folders import reference_below
from modicum.data.manifest import LABELS_PREFIX, MASKS_PREFIX, Manifest, text_column
from modicum.errors import InputError
from modicum.wording import count_of, listed

Cell = str | float | Path | ImageRef | None
Row = dict[str, Cell]
"""Cells by column. Files are paths or references; findings are 1, 0 or NaN; None is a blank."""


@dataclass
class Found:
    """What a layout's reader found.

    Attributes:
        rows: one an image.
        notes: what it decided or left out.
        places: where each row was read, where that is a table.
        source: the table that was read, for messages; the folder where it is empty.
        not_utf8: those of the places whose report was read as Windows-1252.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    source: str = ""
    not_utf8: set[str] = field(default_factory=set)

    def manifest(self, root: Path) -> Manifest:
        """The rows as a manifest with references below the root.

        Raises:
            InputError: there are none.
        """
        if not self.rows:
            raise InputError(f"folder '{root.name}' holds no images of the data set", "check the copy")
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        columns = {
            name: _column(name, [row.get(name) for row in self.rows], root.absolute()) for name in names
        }
        # What no image has, a kind of lesion or a finding, is still part of the data set.
        kept = {
            n: cells
            for n, cells in columns.items()
            if n.startswith((MASKS_PREFIX, LABELS_PREFIX)) or not cells.isna().all()
        }
        table = pd.DataFrame(kept)
        if "domain" in table and table["domain"].nunique() == 1:
            table = table.drop(columns="domain")
        source = self.source or root.absolute().name
        name, not_utf8 = root.absolute().name, frozenset(self.not_utf8)
        return Manifest(table, root.absolute(), source, name, self.notes, self.places, not_utf8)


def _column(name: str, cells: Sequence[Cell], root: Path) -> pd.Series:
    if name.startswith(LABELS_PREFIX):
        return pd.Series([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return text_column([_text(cell, root) for cell in cells])


def _text(cell: Cell, root: Path) -> str | float | None:
    if isinstance(cell, ImageRef):
        return str(replace(cell, path=cell.path.absolute(), root=root))
    return reference_below(cell.absolute(), root) if isinstance(cell, Path) else cell


def beside(
    images: Mapping[str, Path], files: Mapping[str, Path], what: str, required: bool = False
) -> tuple[dict[str, Path | None], list[str]]:
    """For each image, by key, the file of the same key (a mask, say), and notes.

    Args:
        images: by key.
        files: by key.
        what: to call such a file in messages: ``mask``.
        required: each image must have one, if there are any.

    Raises:
        InputError: an image has none although it is required.
    """
    lacking = [images[key] for key in images if key not in files]
    if required and files and lacking:
        folder = next(iter(files.values())).parent
        raise InputError(
            f"{count_of(len(lacking), 'image')} in '{lacking[0].parent.name}' without a {what} in '{folder.name}' "
            f"({listed(path.name for path in lacking)})",
            "complete the copy, or remove the images",
        )
    spare = [path.name for key, path in files.items() if key not in images]
    notes = (
        [f"left out: {count_of(len(spare), f'{what} file')} without an image ({listed(spare)})"]
        if spare
        else []
    )
    return {key: files.get(key) for key in images}, notes


def prefixed(found: Found, domain: str) -> Found:
    """The same with a domain in each row, and named in each note."""
    rows: list[Row] = [{"domain": domain, **row} for row in found.rows]
    return replace(found, rows=rows, notes=[f"{domain}: {note}" for note in found.notes])
