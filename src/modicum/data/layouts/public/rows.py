"""Rows of a public data set before they become a manifest, and matching of files by name."""

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
"""Cells by column. Files are paths or references; findings are 1, 0 or NaN; None is blank."""


@dataclass
class LayoutRows:
    """The rows that a layout's reader found.

    Attributes:
        rows: one per image.
        notes: notes on decisions and omissions.
        origins: where each row was read, if from a table.
        source: name of the table, for messages; that of the folder if empty.
        not_utf8: origins whose report was read as Windows-1252.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    source: str = ""
    not_utf8: set[str] = field(default_factory=set)

    def manifest(self, root: Path) -> Manifest:
        """Converts the rows to a manifest with references below the root.

        Raises:
            InputError: there are no rows.
        """
        if not self.rows:
            raise InputError(f"folder '{root.name}' contains no images of the data set", "complete the copy")
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        columns = {
            name: _column(name, [row.get(name) for row in self.rows], root.absolute()) for name in names
        }
        # Masks and findings that no image has are still part of the data set.
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
        return Manifest(table, root.absolute(), source, name, self.notes, self.origins, not_utf8)


def _column(name: str, cells: Sequence[Cell], root: Path) -> pd.Series:
    if name.startswith(LABELS_PREFIX):
        return pd.Series([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return text_column([_text(cell, root) for cell in cells])


def _text(cell: Cell, root: Path) -> str | float | None:
    if isinstance(cell, ImageRef):
        return str(replace(cell, path=cell.path.absolute(), root=root))
    return reference_below(cell.absolute(), root) if isinstance(cell, Path) else cell


def files_for(
    images: Mapping[str, Path], files: Mapping[str, Path], what: str, required: bool = False
) -> tuple[dict[str, Path | None], list[str]]:
    """Finds for each image, by key, the file with the same key (such as a mask); also returns notes.

    Args:
        images: by key.
        files: by key.
        what: kind of file, for messages: ``mask``.
        required: each image must have one, if any has.

    Raises:
        InputError: an image has none although required.
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


def prefixed(layout_rows: LayoutRows, domain: str) -> LayoutRows:
    """Adds a domain to each row, and as a prefix to each note."""
    rows: list[Row] = [{"domain": domain, **row} for row in layout_rows.rows]
    return replace(layout_rows, rows=rows, notes=[f"{domain}: {note}" for note in layout_rows.notes])
