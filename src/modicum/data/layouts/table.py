"""Reads tables as manifests: CSV, TSV, Parquet and JSON lines, as written by people and other programs."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.layouts.columns import arrange, finding_columns, uncertain_notes
from modicum.data.layouts.file_finder import FileFinder
from modicum.data.layouts.folder_tables import (
    IMAGE_NAMES,
    has_label,
    head_of,
    image_column,
    inferred_roles,
    plain_name,
)
from modicum.data.layouts.json_lines import SUFFIX, read_lines
from modicum.data.layouts.parquet_table import holds_images, read_parquet
from modicum.data.layouts.paths import prefix_images
from modicum.data.manifest import Manifest, text_column
from modicum.data.table_cells import decode, delimiter_of, read_cells
from modicum.errors import InputError
from modicum.wording import listed

# How a data URL, PNG, JPEG, GIF and TIFF begin in base64, and what no name of a file is: a long run of its signs.
_BASE64 = re.compile(r"data:image/|(iVBORw0KGgo|/9j/|R0lGOD|SUkqA|TU0AK)[A-Za-z0-9+/]{40}|[A-Za-z0-9+/]{300}")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
# Uninformative names; the folder's name is used instead.
_PLAIN_STEMS = {
    "manifest",
    "labels",
    "data",
    "dataset",
    "datalist",
    "images",
    "index",
    "metadata",
    "train",
    "table",
}


def read_table(
    path: Path, columns: Mapping[str, str | Sequence[str]] | None = None, images: Path | None = None
) -> Manifest:
    """Reads a CSV, TSV, Parquet or JSON lines file as a manifest.

    Cells stay text. Commas, semicolons or tabs, any line ends, a byte-order mark, UTF-8, UTF-16 and
    (line by line) Windows-1252 are supported. Rows in messages are numbered as in a spreadsheet: the header is row 1.

    Args:
        path: the table; references are relative to its folder.
        columns: the column of each role (see :func:`~modicum.data.layouts.load_manifest`).
        images: the folder of the images, if they are not next to the table.

    Raises:
        InputError: not a table, ragged rows, no image column, unknown columns.
    """
    notes: list[str] = []
    not_utf8: frozenset[str] = frozenset()
    if path.suffix.lower() == ".parquet":
        table, origins, columns, notes = read_parquet(path, columns)
    elif path.suffix.lower() == SUFFIX:
        table, origins = read_lines(path)
    else:
        read = read_cells(path)
        cells = list(zip(*read.rows, strict=True)) or [()] * len(read.header)
        columns_read = zip(read.header, cells, strict=True)
        table = pd.DataFrame({name: text_column(values) for name, values in columns_read})
        origins, notes = [f"row {number}" for number in read.numbers], read.notes
        not_utf8 = frozenset(f"row {number}" for number in read.not_utf8)
    if table.empty:
        raise InputError(f"{path.name} has no rows", "pass a table with one row per image")
    columns, inferred = _with_inferred(table, columns, path, images)
    notes += inferred
    table = arrange(table, columns, path.name)
    _refuse_base64(table, path.name)
    manifest = Manifest(
        finding_columns(table, origins, path.name),
        path.absolute().parent,
        source=path.name,
        name=short_name(path),
        notes=[*notes, *uncertain_notes(table)],
        origins=origins,
        not_utf8=not_utf8,
    )
    return prefix_images(manifest, images)


def _refuse_base64(table: pd.DataFrame, source: str) -> None:
    """Raises InputError where the cells are images written as text."""
    first = next(iter(table["image"].dropna()), "")
    if _BASE64.match(first):
        raise InputError(
            f"{source}: column 'image' holds images as text (base64), not names of files",
            "write them as files, or as bytes into a Parquet table",
        )


def _with_inferred(
    table: pd.DataFrame,
    columns: Mapping[str, str | Sequence[str]] | None,
    path: Path,
    images: Path | None,
) -> tuple[Mapping[str, str | Sequence[str]] | None, list[str]]:
    """The columns, with those for image, label and patient that are called as public tables call them, and notes.

    Only where no column is called ``image``: a table that follows the convention says itself what is what.
    """
    given = dict(columns or {})
    if "image" in given or any(str(name).lower() == "image" for name in table):
        return columns, []
    folders = [path.parent / images, images] if images is not None else [path.parent]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None or not any(plain_name(str(name)) in IMAGE_NAMES for name in table):
        return columns, []
    column = image_column(table, FileFinder.below(folder))
    if column is None:
        return columns, []
    roles, notes = inferred_roles(table, given)
    roles = {"image": column, **roles}
    named = listed(f"{role} from column '{name}'" for role, name in roles.items())
    return {**given, **roles}, [f"{path.name}: {named}", *notes]


def table_columns(path: Path) -> list[str]:
    """The column names of a table, without reading all of it; empty if it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return [str(name) for name in pq.read_schema(path).names]
        if path.suffix.lower() == SUFFIX:
            return list(map(str, read_lines(path, most=1)[0]))
        with path.open("rb") as file:
            # 64 KiB hold any header. The cut may fall inside a character, which is of a later line.
            text = decode(file.read(65536))[0]
        return [
            name.strip()
            for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(path, text)))
        ]
    except (OSError, ValueError, pa.ArrowException, csv.Error, StopIteration, InputError):
        return []


def short_name(path: Path) -> str:
    """A name for runs: the file's, or its folder's if the file has a generic name such as ``labels``."""
    path = path.absolute()
    stem = path.name.split(".")[0]
    return path.parent.name if stem.lower() in _PLAIN_STEMS else stem


def table_in(folder: Path, columns: Mapping[str, str | Sequence[str]] | None = None) -> Path | None:
    """The table of a folder: ``manifest.*``, ``labels.*``, or the only one with an image column.

    Raises:
        InputError: several tables match.
    """
    named = named_table_in(folder)
    if named is not None:
        return named
    image = (columns or {}).get("image", "image")
    fitting = [path for path in tables_of(folder) if image in table_columns(path) or _has_image_column(path)]
    if fitting or "image" in (columns or {}):
        return _only(fitting, folder)
    usual = [
        path
        for path in tables_of(folder)
        if "submission" not in path.stem.lower() and {*map(plain_name, table_columns(path))} & {*IMAGE_NAMES}
    ]
    if not usual:
        return None
    finder = FileFinder.below(folder)
    usual = [path for path in usual if image_column(head_of(path), finder) is not None]
    labelled = [path for path in usual if has_label(path)]
    # The table of a test set whose labels are kept back says less than that of the training set.
    return _only(labelled or usual, folder)


def named_table_in(folder: Path) -> Path | None:
    """The table of a folder that is named ``manifest.*`` or ``labels.*``.

    Raises:
        InputError: there are several.
    """
    return _only([path for path in tables_of(folder) if path.stem.lower() in ("manifest", "labels")], folder)


def tables_of(folder: Path) -> list[Path]:
    """The tables of a folder by name, without those that predictions were written to."""
    tables = [
        Path(entry.path)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file() and not entry.name.startswith(".") and entry.name.lower().endswith(TABLE_SUFFIXES)
    ]
    return [path for path in tables if not is_prediction_table(path)]


def is_prediction_table(path: Path) -> bool:
    """Whether a table in a folder is one of ``modicum predict``, which says nothing new of the images in it."""
    columns = table_columns(path)
    return len(columns) > 2 and columns[0] == "image" and columns[-1] == "error"


def _only(tables: Sequence[Path], folder: Path) -> Path | None:
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise InputError(
            f"folder '{folder.name}' contains several tables ({names})",
            f"pass one of them, for instance {tables[0]}",
        )
    return tables[0] if tables else None


def _has_image_column(path: Path) -> bool:
    if any(name.lower() == "image" for name in table_columns(path)):
        return True
    return path.suffix.lower() == ".parquet" and holds_images(path)
