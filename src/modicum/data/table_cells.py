"""Cells of CSV and TSV files, and text of any file, whatever program wrote them."""

import codecs
import csv
import gzip
import io
import re
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modicum.data.long_cells import long_cells
from modicum.errors import InputError
from modicum.wording import listed

if TYPE_CHECKING:
    import pandas as pd

# Appended as a last line: an unclosed quotation mark would swallow it into its cell.
_END = "end of the table"


# What spreadsheets take for a formula, and cells that were made safe and look like it.
_FORMULA = re.compile(r"'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def spreadsheet_safe(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet runs as a formula: with an apostrophe before ``=``, ``+``, ``-``, ``@``.

    Numbers stay. :func:`as_written` takes the apostrophe away again.

    >>> spreadsheet_safe("=1+1"), spreadsheet_safe("-1.5"), as_written(spreadsheet_safe("=1+1"))
    ("'=1+1", '-1.5', '=1+1')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _is_number(cell) else cell


def safe_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with every text, also the columns' names, made :func:`spreadsheet_safe`; numbers stay."""
    from pandas.api.types import is_object_dtype, is_string_dtype

    texts = [column for column in table if is_object_dtype(table[column]) or is_string_dtype(table[column])]
    safe = table.copy()
    for column in texts:
        safe[column] = [spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in table[column]]
    return safe.rename(columns=lambda name: spreadsheet_safe(str(name)))


def as_written(cell: str) -> str:
    """The text that :func:`spreadsheet_safe` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip() == cell


@dataclass(frozen=True)
class Cells:
    """A table as it stands in its file.

    Attributes:
        header: names of the columns.
        rows: cells, without blanks at their ends.
        numbers: of each row, as a spreadsheet counts them.
        not_utf8: those of the numbers whose text was not UTF-8, in any cell, and was read as Windows-1252.
        notes: what was guessed.
    """

    header: list[str]
    rows: list[list[str]]
    numbers: list[int]
    not_utf8: frozenset[int]
    notes: list[str]


def read_cells(path: Path) -> Cells:
    """The cells of a CSV or TSV file; it may be zipped (``.csv.gz``).

    Raises:
        InputError: it is empty, not a table, or ragged, or a quotation mark is not closed.
    """
    text, guessed, notes = _read(path)
    lines: list[list[str]] = []
    ends: list[int] = []
    try:
        reader = csv.reader(chain(io.StringIO(text, newline=""), [_END]), delimiter=delimiter_of(path, text))
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
    # A row with line breaks in its cells has several lines; the row of a line is the first that ends there or later.
    not_utf8 = frozenset(bisect_left(ends, number) + 1 for number in guessed)
    return Cells(header, rows, numbers, not_utf8, notes)


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file, line ends untouched, and notes where the encoding is a guess."""
    text, _, notes = _read(path)
    return text, notes


def _read(path: Path) -> tuple[str, list[int], list[str]]:
    """Text, the numbers of the lines whose encoding is a guess, and notes of them."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise InputError(f"{path.name} is damaged or cut short", "copy or download it again") from None
    text, guessed, lost = decode(data)
    notes = []
    if guessed:
        what = "line is not UTF-8 and was" if len(guessed) == 1 else "lines are not UTF-8 and were"
        notes.append(f"{path.name}: {len(guessed):,} {what} read as Windows-1252 ({_lines(guessed)})")
    if lost:
        notes.append(f"{path.name}: bytes that are not valid in Windows-1252 were replaced ({_lines(lost)})")
    return text, guessed, notes


def _lines(numbers: Sequence[int]) -> str:
    return f"{'line' if len(numbers) == 1 else 'lines'} {listed(numbers)}"


def decode(data: bytes) -> tuple[str, list[int], list[int]]:
    """Text, the lines that were read as Windows-1252, and those of them with bytes that it does not know.

    Line by line, as one line that another program has put into a file of UTF-8 says nothing of the others.
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


def delimiter_of(path: Path, text: str) -> str:
    """The separator that the header holds most of; German and French spreadsheets write semicolons."""
    header = text.lstrip().split("\n", 1)[0]
    if path.suffix.lower() == ".tsv" and "\t" in header:
        return "\t"
    counts = [header.count(mark) for mark in ",;\t"]
    return ",;\t"[int(np.argmax(counts))]
