"""Reads tables as manifests: CSV, TSV and Parquet, as written by people and other programs."""

import codecs
import csv
import gzip
import io
import os
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.layouts.columns import arrange, finding_columns, uncertain_notes
from modicum.data.layouts.paths import prefix_images
from modicum.data.long_cells import long_cells
from modicum.data.manifest import Manifest, text_column
from modicum.errors import InputError
from modicum.wording import listed

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# Appended as a last line: an unclosed quotation mark would swallow it into its cell.
_END = "end of the table"
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
    """Reads a CSV, TSV or Parquet file as a manifest.

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
        table, origins = _read_parquet(path)
    else:
        read = read_cells(path)
        cells = list(zip(*read.rows, strict=True)) or [()] * len(read.header)
        columns_read = zip(read.header, cells, strict=True)
        table = pd.DataFrame({name: text_column(values) for name, values in columns_read})
        origins, notes = [f"row {number}" for number in read.numbers], read.notes
        not_utf8 = frozenset(f"row {number}" for number in read.not_utf8)
    if table.empty:
        raise InputError(f"{path.name} has no rows", "pass a table with one row per image")
    table = arrange(table, columns, path.name)
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


def table_columns(path: Path) -> list[str]:
    """The column names of a table, without reading all of it; empty if it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return [str(name) for name in pq.read_schema(path).names]
        with path.open("rb") as file:
            # Any header fits in 64 KiB. The cut may split a character, but only in a later line.
            text = _decode(file.read(65536))[0]
        return [
            name.strip()
            for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text)))
        ]
    except (OSError, ValueError, pa.ArrowException, csv.Error, StopIteration):
        return []


def short_name(path: Path) -> str:
    """A name for runs: the file's, or its folder's if the file has a generic name such as ``labels``."""
    path = path.absolute()
    stem = path.name.split(".")[0]
    return path.parent.name if stem.lower() in _PLAIN_STEMS else stem


def _read_parquet(path: Path) -> tuple[pd.DataFrame, list[str]]:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path.name} cannot be read as Parquet ({reason})", "write it again, or pass a CSV file"
        ) from None
    table.columns = [str(name) for name in table.columns]
    if not table.columns.is_unique:
        raise InputError(f"{path.name} has two columns with the same name", "rename one of them")
    table = pd.DataFrame({name: text_column(table[name]) for name in table.columns})
    return table, [f"row {number + 1}" for number in range(len(table))]


@dataclass(frozen=True)
class Cells:
    """The cells of a table file.

    Attributes:
        header: names of the columns.
        rows: cells, without blanks at their ends.
        numbers: number of each row, as in a spreadsheet.
        not_utf8: numbers of rows whose text was not UTF-8, in any cell, and was read as Windows-1252.
        notes: notes on guesses.
    """

    header: list[str]
    rows: list[list[str]]
    numbers: list[int]
    not_utf8: frozenset[int]
    notes: list[str]


def read_cells(path: Path) -> Cells:
    """Reads the cells of a CSV or TSV file; it may be zipped (``.csv.gz``).

    Raises:
        InputError: it is empty, not a table, or ragged, or a quotation mark is not closed.
    """
    text, guessed, notes = _read(path)
    lines: list[list[str]] = []
    ends: list[int] = []
    try:
        reader = csv.reader(chain(io.StringIO(text, newline=""), [_END]), delimiter=_delimiter(path, text))
        with long_cells():
            for line in reader:
                lines.append(line)
                ends.append(reader.line_num)
    except csv.Error as error:
        raise InputError(
            f"{path.name} is not a table ({error})", "pass a .csv, .tsv or .parquet file"
        ) from None
    if lines.pop() != [_END]:
        raise InputError(
            f"{path.name} row {len(lines) + 1} has an unclosed quotation mark",
            "close it, or write it twice within quotes",
        )
    if not lines:
        raise InputError(f"{path.name} is empty", "pass a table with a header and one row per image")
    header = [name.strip() for name in lines[0]]
    # Columns without a name and without content come from trailing delimiters; an unnamed index is kept.
    header = [name or f"column_{index + 1}" for index, name in enumerate(header)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path.name} has two columns '{twice[0]}'", "rename one of them")
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line]
        if not any(cells):
            continue
        if len(cells) > len(header) and not any(cells[len(header) :]):
            cells = cells[: len(header)]
        if len(cells) != len(header):
            raise InputError(
                f"{path.name} row {number} has {len(cells)} cells, the header has {len(header)}",
                "put quotes around cells that hold the separator",
            )
        rows.append(cells)
        numbers.append(number)
    # A row with line breaks in its cells has several lines; a line's row is the first that ends there or later.
    not_utf8 = frozenset(bisect_left(ends, number) + 1 for number in guessed)
    return Cells(header, rows, numbers, not_utf8, notes)


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file with its line ends, and notes if the encoding was guessed."""
    text, _, notes = _read(path)
    return text, notes


def _read(path: Path) -> tuple[str, list[int], list[str]]:
    """The text, the numbers of lines whose encoding was guessed, and notes on them."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise InputError(f"{path.name} is damaged or cut short", "copy or download it again") from None
    text, guessed, lost = _decode(data)
    notes = []
    if guessed:
        what = "line is not UTF-8 and was" if len(guessed) == 1 else "lines are not UTF-8 and were"
        notes.append(f"{path.name}: {len(guessed):,} {what} read as Windows-1252 ({_lines(guessed)})")
    if lost:
        notes.append(f"{path.name}: bytes that are not valid in Windows-1252 were replaced ({_lines(lost)})")
    return text, guessed, notes


def _lines(numbers: Sequence[int]) -> str:
    return f"{'line' if len(numbers) == 1 else 'lines'} {listed(numbers)}"


def _decode(data: bytes) -> tuple[str, list[int], list[int]]:
    """The text, the lines that were read as Windows-1252, and those of them with bytes that are invalid in it.

    Line by line, as another program may have added a single line to a UTF-8 file.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), [], []
    try:
        return data.decode("utf-8-sig"), [], []
    except UnicodeDecodeError:
        pass
    lines: list[str] = []
    guessed: list[int] = []
    lost: list[int] = []
    # Lines of bytes end where those of csv.reader do: at a line feed, a carriage return, or both.
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = line.decode("cp1252", errors="replace")
            guessed.append(number)
            if "\ufffd" in text:
                lost.append(number)
        lines.append(text)
    return "".join(lines), guessed, lost


def _delimiter(path: Path, text: str) -> str:
    """The most frequent separator in the header; German and French spreadsheets use semicolons."""
    header = text.lstrip().split("\n", 1)[0]
    if path.suffix.lower() == ".tsv" and "\t" in header:
        return "\t"
    counts = [header.count(mark) for mark in ",;\t"]
    return ",;\t"[int(np.argmax(counts))]


def table_in(folder: Path, columns: Mapping[str, str | Sequence[str]] | None = None) -> Path | None:
    """The table of a folder: ``manifest.*``, ``labels.*``, or the only one with an image column.

    Raises:
        InputError: several tables match.
    """
    named = named_table_in(folder)
    if named is not None:
        return named
    image = (columns or {}).get("image", "image")
    fitting = [path for path in _tables(folder) if image in table_columns(path) or _has_image_column(path)]
    return _only(fitting, folder)


def named_table_in(folder: Path) -> Path | None:
    """The table of a folder that is named ``manifest.*`` or ``labels.*``.

    Raises:
        InputError: there are several.
    """
    return _only([path for path in _tables(folder) if path.stem.lower() in ("manifest", "labels")], folder)


def _tables(folder: Path) -> list[Path]:
    return [
        Path(entry.path)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file() and not entry.name.startswith(".") and entry.name.lower().endswith(TABLE_SUFFIXES)
    ]


def _only(tables: Sequence[Path], folder: Path) -> Path | None:
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise InputError(
            f"folder '{folder.name}' contains several tables ({names})",
            f"pass one of them, for instance {tables[0]}",
        )
    return tables[0] if tables else None


def _has_image_column(path: Path) -> bool:
    return any(name.lower() == "image" for name in table_columns(path))
