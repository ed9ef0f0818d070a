"""Whether boxes come from a column of the table, or from a file of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from modicum.data.boxes.from_masks import WORD as OF_MASKS
from modicum.data.layouts.table import TABLE_SUFFIXES, table_columns, table_in
from modicum.errors import InputError

ROLE = "boxes"
BoxesGiven = Path | Mapping[Any, Any]
FromMasks = Literal["masks"]


def box_source(
    source: Path, columns: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, BoxesGiven | FromMasks | None]:
    """The columns that a user named without boxes that are no column, and the file (or mapping) of these boxes.

    The name of a column goes before ``masks`` (boxes are made of the columns ``masks:CLASS``), and that before the name
    of a file: a folder beside the data is often called so. A file is looked for as it is given, and beside the data.

    Raises:
        InputError: it is neither.
    """
    if not columns or ROLE not in columns:
        return None if columns is None else dict(columns), None
    others = {role: column for role, column in columns.items() if role != ROLE} or None
    given = columns[ROLE]
    if isinstance(given, Mapping):
        return others, given
    table = _table(source, columns)
    names = [] if table is None else table_columns(table)
    if given in names or (given == "" and names):
        return dict(columns), None
    if given == "":
        return others, None
    if given == OF_MASKS:
        return others, "masks"
    folder = source if source.is_dir() else source.parent
    for path in (Path(given), folder / given):
        if path.exists():
            return others, path
    where = f"a column of {table.name} nor a file" if table is not None else "a file that is there"
    raise InputError(
        f"boxes '{given}' are {'neither' if table is not None else 'not'} {where}",
        "name a column, or a CSV, COCO or JSON file, YOLO's folder of labels, or masks for boxes around those",
    )


def _table(source: Path, columns: Mapping[str, Any]) -> Path | None:
    if source.suffix.lower() in TABLE_SUFFIXES and source.is_file():
        return source
    if not source.is_dir():
        return None
    try:
        return table_in(source, columns)
    except InputError:
        return None  # several, which reading the folder says
