"""Reads the reports of a manifest: their texts, and which could not be used.

A cell of the report column is the text itself, or the path of a text file below the manifest's root. One bad report
among thousands is not an error: it is set aside, with its origin and a reason that quotes none of its content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary, WeakValueDictionary

from modicum.data.file_content import file_state
from modicum.data.manifest import Manifest
from modicum.data.reports.decoding import LONGEST, clean, decode_report
from modicum.data.reports.kept_files import KeptFiles, KeptText
from modicum.data.reports.placeholders import normalise_placeholders
from modicum.data.reports.sections import select_sections
from modicum.errors import InputError
from modicum.progress import track
from modicum.wording import count_of, listed

TEXT_SUFFIXES = (".txt", ".text", ".rpt")
"""A cell of one line with this suffix is the path of a file."""

# Far more than any report: a volume named by mistake is not read into memory.
_LARGEST_FILE = 1 << 20
_NOT_UTF8 = "it is not UTF-8 and was read as Windows-1252"
# By manifest and column, reports that someone still holds: task, targets and fingerprint of one run read each file once.
_held: WeakKeyDictionary[Manifest, WeakValueDictionary[str, "Reports"]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Unusual:
    """A report that was set aside or changed.

    Attributes:
        row: row of the manifest.
        origin: where it was read, for messages: ``reports.csv row 17``.
        reason: why, without any of its content.
    """

    row: int
    origin: str
    reason: str


@dataclass(frozen=True)
class Reports:
    """The reports of a manifest.

    Attributes:
        texts: one for each row; None if there is none or it was set aside.
        set_aside: rows whose report cannot be used.
        changed: rows whose report was shortened or read in another encoding.
        origins: where each row was read, for messages.
    """

    texts: list[str | None]
    set_aside: list[Unusual] = field(default_factory=list)
    changed: list[Unusual] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def present(self, rows: Sequence[int] | None = None) -> list[str]:
        """The texts of these rows or of all, without missing ones."""
        chosen = self.texts if rows is None else [self.texts[row] for row in rows]
        return [text for text in chosen if text is not None]

    def notes(self) -> list[str]:
        """Notes on reports that were set aside or changed, one for each reason with the first origins."""
        return [
            f"{count_of(len(origins), 'report')} {what}: {reason} ({listed(origins)})"
            for (what, reason), origins in self.by_reason().items()
        ]

    def by_reason(self) -> dict[tuple[str, str], list[str]]:
        """Origins of reports that were ``set aside`` or ``changed``, by these words and the reason."""
        origins_by_reason: dict[tuple[str, str], list[str]] = {}
        for what, unusual in (("set aside", self.set_aside), ("changed", self.changed)):
            for item in unusual:
                origins_by_reason.setdefault((what, item.reason), []).append(item.origin)
        return origins_by_reason

    def select(self, names: Sequence[str] = ("findings", "impression")) -> "Reports":
        """Selects sections of each report; reports with none of them are set aside."""
        return self._map(lambda text: select_sections(text, names), f"it has no section {' or '.join(names)}")

    def _map(self, change: Callable[[str], str | None], reason: str) -> "Reports":
        texts = [None if text is None else change(text) for text in self.texts]
        lost = [
            Unusual(row, self.origins[row] if self.origins else f"row {row}", reason)
            for row, (old, new) in enumerate(zip(self.texts, texts, strict=True))
            if old is not None and new is None
        ]
        return replace(self, texts=texts, set_aside=[*self.set_aside, *lost])


def read_reports(manifest: Manifest, column: str = "report", stores: Path | None = None) -> Reports:
    """Reads the report of every row.

    Control characters are removed, removed words written as ``___``, and texts cut at :data:`LONGEST` characters, at a
    blank. A row without a report is not listed; a cell of blanks is an empty report. As long as the result is held, the
    same manifest's files are not read again.

    Args:
        manifest: the data set.
        column: texts, or paths of text files below the manifest's root.
        stores: folder where texts of files are kept, so that files that have not changed are not opened again by another
            run; None to open all.

    Raises:
        InputError: there is no such column.
    """
    if column not in manifest.table:
        raise InputError(
            f"{manifest.source or 'manifest'}: no column '{column}' with reports",
            f"pass for instance --report COLUMN (columns: {listed(manifest.table.columns, most=8)})",
        )
    held = _held.setdefault(manifest, WeakValueDictionary())
    if (read := held.get(column)) is None:
        held[column] = read = _read_reports(manifest, column, stores)
    return read


def _read_reports(manifest: Manifest, column: str, stores: Path | None) -> Reports:
    texts: list[str | None] = []
    set_aside: list[Unusual] = []
    changed: list[Unusual] = []
    origins = [manifest.describe_row(row) for row in range(len(manifest))]
    cells = manifest.table[column].tolist()
    root = manifest.root.resolve()
    has_files = any(isinstance(cell, str) and names_file(cell) for cell in cells)
    kept = KeptFiles(stores, root)
    for row, cell in enumerate(track(cells, "Reading reports") if has_files else cells):
        text = None
        if isinstance(cell, str):
            try:
                is_utf8 = not manifest.origins or manifest.origins[row] not in manifest.not_utf8
                text, changes = _report_of(cell, root, is_utf8, kept)
                changed += [Unusual(row, origins[row], change) for change in changes]
            except _UnusableReportError as error:
                set_aside.append(Unusual(row, origins[row], str(error)))
        texts.append(text)
    kept.save()
    return Reports(texts, set_aside, changed, origins)


class _UnusableReportError(Exception):
    """Why one report is set aside; ``of_content``: it will be for as long as its file does not change."""

    def __init__(self, reason: str, of_content: bool = True) -> None:
        super().__init__(reason)
        self.of_content = of_content


def _report_of(cell: str, root: Path, is_utf8: bool, kept: KeptFiles) -> tuple[str, list[str]]:
    """The text of a cell, and how it was changed; ``is_utf8`` is whether its row was valid UTF-8."""
    if names_file(cell):
        return _report_of_file(root / cell.strip(), root, kept)
    changes = []
    if not is_utf8 and not cell.isascii():  # otherwise it was another cell
        if "\ufffd" in cell:
            raise _UnusableReportError("it is not text")
        changes.append(_NOT_UTF8)
    return _usable(cell, changes)


def _report_of_file(file: Path, root: Path, kept: KeptFiles) -> tuple[str, list[str]]:
    """The text of a file, read or as it was kept, and how it was changed."""
    file = file.resolve()
    if not file.is_relative_to(root):
        raise _UnusableReportError("its file is outside the data's folder")
    state = file_state(file)
    known = None if state is None else kept.get(file, state)
    if known is None:
        try:
            text, encoding = _read_file(file)
            known = KeptText(*_usable(text, [_NOT_UTF8] if encoding == "cp1252" else []), "")
        except _UnusableReportError as error:
            if not error.of_content:
                raise
            known = KeptText(None, [], str(error))
        if state is not None:
            kept.add(file, state, known)
    if known.text is None:
        raise _UnusableReportError(known.reason)
    return known.text, known.changes


def _usable(text: str, changes: list[str]) -> tuple[str, list[str]]:
    """A text without control characters and marks of removed words, not longer than reports are."""
    text = normalise_placeholders(clean(text))
    if not any(character.isalnum() for character in text):
        raise _UnusableReportError("it is empty")
    if len(text) > LONGEST:
        text = text[: LONGEST + 1].rsplit(maxsplit=1)[0][:LONGEST]
        changes = [*changes, f"it was cut at {LONGEST:,} characters"]
    return text, changes


def names_file(cell: str) -> bool:
    """Whether a cell is the path of a text file, rather than a text.

    >>> names_file("files/p10/s50.txt"), names_file("Effusion. See scan.txt"), names_file("Normal.")
    (True, False, False)
    """
    cell = cell.strip()
    return cell.lower().endswith(TEXT_SUFFIXES) and "\n" not in cell and ". " not in cell and len(cell) < 1000


def _read_file(path: Path) -> tuple[str, str]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise _UnusableReportError("its file is larger than 1 MB")
        return decode_report(path.read_bytes())
    except FileNotFoundError:
        raise _UnusableReportError("its file is missing", of_content=False) from None
    except OSError as error:
        raise _UnusableReportError(
            f"its file cannot be read ({type(error).__name__})", of_content=False
        ) from None
    except UnicodeError:
        raise _UnusableReportError("its file is not text") from None
