"""Reads tables of chest radiographs: rows with their origins, uncertain findings, views, files by name."""

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modicum.data.layouts.public.contents import names_in
from modicum.data.layouts.public.options import PUBLISHED, LayoutOptions
from modicum.data.layouts.table import table_columns
from modicum.data.readers import is_image_file
from modicum.data.table_cells import read_cells
from modicum.errors import InputError, did_you_mean

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The observations that CheXpert's labeller finds in reports, in the order of CheXpert's table."""
CHEXPERT_ORDER = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The five findings that are evaluated, in the order of the official validation."""


@dataclass(frozen=True)
class Line:
    """A row of a table by column, its origin (``train.csv row 17``), and whether it is UTF-8 (or ASCII)."""

    cells: Mapping[str, str]
    origin: str
    is_utf8: bool = True

    def __getitem__(self, name: str) -> str:
        return self.cells[name]

    def get(self, name: str) -> str:
        """A cell; blank if the table has no such column."""
        return self.cells.get(name, "")


def read_lines(path: Path, required: Sequence[str], key: str) -> list[Line]:
    """Reads the rows of a CSV file, zipped or not, without blanks around names and cells.

    Args:
        path: the file.
        required: columns that must exist.
        key: the column that must not be blank.

    Raises:
        InputError: it is not a table, lacks a column, or a row has no key.
    """
    read = read_cells(path)
    for name in required:
        if name not in read.header:
            raise InputError(f"{path.name}: no column '{name}'", did_you_mean(name, read.header))
    lines = [
        Line(
            dict(zip(read.header, row, strict=True)),
            f"{path.name} row {number}",
            number not in read.not_utf8,
        )
        for row, number in zip(read.rows, read.numbers, strict=True)
    ]
    for line in lines:
        if not line[key]:
            raise InputError(f"{line.origin}: '{key}' is blank", "fill in the cell or delete the row")
    return lines


def table_named(folder: Path, pattern: str, columns: Iterable[str]) -> Path | None:
    """The first file of a folder that matches a pattern and has these columns."""
    for name in names_in(folder):
        path = folder / name
        if re.fullmatch(pattern, name, re.IGNORECASE) and path.is_file() and {*columns} <= {*_columns(path)}:
            return path
    return None


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() != ".gz":
        return table_columns(path)
    try:
        return read_cells(path).header
    except InputError:
        return []


def chosen_findings(options: LayoutOptions, allowed: Sequence[str] = FINDINGS) -> list[str]:
    """The findings set in the options, or the five that are evaluated.

    Raises:
        InputError: an unknown finding, also in the policies.
    """
    policies = options.uncertain
    for name in policies if isinstance(policies, Mapping) else ():
        if name not in allowed:
            raise InputError(
                f"layout option uncertain: unknown finding '{name}'", did_you_mean(name, allowed)
            )
    for name in options.findings or ():
        if name not in allowed:
            raise InputError(f"layout option findings: unknown finding '{name}'", did_you_mean(name, allowed))
    return list(options.findings or CHEXPERT_ORDER)


def finding_value(cell: str, finding: str, origin: str, options: LayoutOptions) -> float | None:
    """Parses a cell with 1, 0, -1 (uncertain) or blank (not mentioned) to 1, 0 or None (unknown).

    Raises:
        InputError: another value, or -1 for a finding without a policy.
    """
    plain = re.sub(r"\.0+$", "", cell)
    if plain in ("0", "1"):
        return float(plain)
    if plain == "":
        return 0.0 if options.unmentioned == "zeros" else None
    if plain != "-1":
        raise InputError(
            f"{origin}: finding '{finding}' is '{cell}'", "write 1, 0, -1 or leave the cell blank"
        )
    policy = _policy(finding, options)
    if policy is None:
        raise InputError(
            f"{origin}: finding '{finding}' is uncertain (-1), and no policy is set for it",
            f"set layout option uncertain to ones, zeros or ignore, or for this finding: {{'{finding}': 'ignore'}}",
        )
    return {"ones": 1.0, "zeros": 0.0, "ignore": None}[policy]


def _policy(finding: str, options: LayoutOptions) -> str | None:
    """The policy for an uncertain finding: that of the options, otherwise the published one, or None."""
    uncertain = options.uncertain
    return uncertain if isinstance(uncertain, str) else (uncertain or {}).get(finding, PUBLISHED.get(finding))


def policy_note(findings: Sequence[str], options: LayoutOptions) -> str:
    """A note on what uncertain findings count as."""
    if isinstance(options.uncertain, str):
        return f"uncertain findings count as {options.uncertain}"
    policies = {name: _policy(name, options) for name in findings}
    named = [f"{name} {policy}" for name, policy in policies.items() if policy is not None]
    return f"uncertain findings count as: {', '.join(named)}"


def view_of(word: str) -> str | None:
    """``frontal`` or ``lateral`` for any of their usual names.

    >>> [view_of(word) for word in ("PA", "AP Supine", "Lateral", "LL", "")]
    ['frontal', 'frontal', 'lateral', 'lateral', None]
    """
    if re.match(r"(ap|pa|frontal|antero|postero)\b", word, re.IGNORECASE):
        return "frontal"
    return "lateral" if re.match(r"(l|ll|rl|lateral|left lateral)\b", word, re.IGNORECASE) else None


def is_wanted(word: str, options: LayoutOptions) -> bool:
    """Whether images of a view are selected; unknown views only if all are."""
    return options.views == "all" or view_of(word) == options.views


def files_below(folder: Path, without: Container[str] = ()) -> dict[str, Path]:
    """Image files below a folder by name; of equal names the first in the order of folders.

    Args:
        folder: folder to search.
        without: names of folders to skip.
    """
    return {path.name: path for path in reversed(list(_walk(folder, without)))}


def _walk(folder: Path, without: Container[str]) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in without)
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and path.suffix and is_image_file(path):
                yield path
