"""The manifest: every data set, in any layout, as one table with one row per image.

``image`` is a reference below the root (``scans/a.dcm#frame=3``). What else is known of an image stands in
columns with fixed names (:data:`~modicum.data.roles.ROLES`); findings of multi-label data are columns
``labels:<name>`` with 1, 0 or NaN for unknown; any other column is kept as it is. Every column is text, apart from
the findings: an id such as ``007`` never becomes a number, and a saved manifest reads back exactly.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Integer

from modicum.atomic_files import write_text
from modicum.data.image import ImageRef
from modicum.data.long_cells import long_cells
from modicum.data.roles import LABELS_PREFIX, MASKS_PREFIX, ROLES
from modicum.errors import InputError
from modicum.wording import listed

COLUMNS = tuple(name for name in ROLES if name != "labels")
"""Columns with a meaning, apart from the findings (which are never one column) and from one mask a class."""
SPLITS = ("train", "val", "test")
OTHER_SPLIT = "other_split"
"""The column of words that a table has for splits and that are none of the known ones; no row of them is in a split."""
REFERENCE = "reference"
_MOST_GRADES = 10
"""The split of rows that are neither learned from nor scored: annotated examples that a method asks for."""
# pandas 2 has no text type with NaN for "missing" that every 2.x knows.
_TEXT: Any = "str" if int(pd.__version__.split(".")[0]) >= 3 else object


def path_columns(columns: Iterable[Any]) -> list[str]:
    """Of a table's columns, those that name files: images, and what is seen beside them."""
    pictures = [role for role in ROLES.values() if role.images]
    prefixes = tuple(role.prefix for role in pictures if role.prefix)
    names = {role.name for role in pictures}
    return [str(name) for name in columns if name in names or str(name).startswith(prefixes)]


def split_reference(reference: str) -> tuple[str, str]:
    """A reference's file and its fragment: ``("a.nii.gz", "#axis=2&index=80")``, or an empty fragment."""
    if "#" not in reference:
        return reference, ""
    parsed = ImageRef.parse(reference)
    file = parsed.path.as_posix()
    return file, str(parsed)[len(file) :]


def text_column(values: Iterable[Any]) -> pd.Series:
    """Any values as text: nothing and ``""`` are NaN, whole floats lose their ``.0``, lists join by ``|``.

    Lists of lists, as boxes are, become JSON.
    """
    if isinstance(values, pd.Series) and values.dtype == "str":
        return values.where(values != "").reset_index(drop=True)
    return pd.Series([_text(value) for value in values], dtype=_TEXT)


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value or np.nan
    if isinstance(value, list | tuple | np.ndarray):
        if len(value) and all(isinstance(item, list | tuple | np.ndarray) for item in value):
            return json.dumps([list(item) for item in value], default=float)
        return "|".join(str(_text(item)) for item in value) or np.nan
    if value is None or pd.isna(value):
        return np.nan
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set as a table.

    Args:
        table: one row per image; column ``image`` is required (see the module's docstring for the others).
        root: the folder that the references are relative to.
        source: name of the file or folder that was read, for messages.
        name: short name, for names of runs.
        notes: notes for the user on decisions and omissions of a reader.
        origins: where each row was read (``row 17``), for messages; empty if unknown.
        not_utf8: origins whose text was not UTF-8 and was read as Windows-1252, with U+FFFD for each invalid byte.
    """

    table: pd.DataFrame
    root: Path
    source: str = ""
    name: str = ""
    notes: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    not_utf8: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        table = self.table
        if "image" not in table:
            raise InputError(
                f"{self.source or 'manifest'}: no column 'image'",
                "pass the column of image paths with --image COLUMN",
            )
        columns = {}
        for name in map(str, table.columns):
            if name.startswith(LABELS_PREFIX):
                columns[name] = pd.Series(table[name].to_numpy(dtype=np.float64, na_value=np.nan))
            else:
                columns[name] = text_column(table[name])
        if self.origins and len(self.origins) != len(table):
            raise ValueError(f"{len(self.origins)} origins for {len(table)} rows")
        meaningful = ["image", "label", *(n for n in columns if n.startswith(LABELS_PREFIX)), *COLUMNS[2:]]
        order = [name for name in meaningful if name in columns]
        order += [name for name in columns if name not in set(order)]
        object.__setattr__(self, "table", pd.DataFrame({name: columns[name] for name in order}))

    def __len__(self) -> int:
        return len(self.table)

    def refs(self, column: str = "image") -> list[ImageRef]:
        """References to the images (or files of another column); no cell may be blank."""
        return [ImageRef.parse(text, self.root) for text in self.table[column]]

    @property
    def findings(self) -> list[str]:
        """Names of the multi-label findings, in the table's order; empty if there are none."""
        names = map(str, self.table.columns)
        return [name.removeprefix(LABELS_PREFIX) for name in names if name.startswith(LABELS_PREFIX)]

    def classes(self) -> list[str]:
        """The labels that occur, in the order of :func:`class_order`; the findings of multi-label data."""
        if self.findings or "label" not in self.table:
            return self.findings
        return class_order(self.table["label"].dropna())

    def patients(self) -> list[str]:
        """For each row, the group that must stay together: the patient's id.

        An image without one counts as a separate patient, and so do the frames or slices of one file
        together. Such groups start with ``image:``, patients with ``patient:``, to avoid collisions.
        """
        patient_column = self.table["patient"] if "patient" in self.table else [np.nan] * len(self)
        return [
            f"image:{_one_body(image)}" if isinstance(patient, float) else f"patient:{patient}"
            for patient, image in zip(patient_column, self.table["image"], strict=True)
        ]

    def describe_row(self, row: int) -> str:
        """The origin of a row, for messages: ``labels.csv row 17``."""
        if self.origins:
            return f"{self.source} {self.origins[row]}"
        return f"{self.source or 'manifest'}: image '{self.table['image'].iloc[row]}'"

    def subset(
        self, rows: Bool[np.ndarray, "n"] | Integer[np.ndarray, "m"] | pd.Series | Sequence[int]
    ) -> "Manifest":
        """The rows with these indices, in this order, or where a mask is true."""
        index = np.asarray(rows)
        if index.dtype == bool:
            if len(index) != len(self):
                raise ValueError(f"a mask of {len(index)} for {len(self)} rows")
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        origins = [self.origins[row] for row in index] if self.origins else []
        return replace(self, table=self.table.iloc[index], notes=list(self.notes), origins=origins)

    def part(self, split: str) -> "Manifest":
        """The rows of one split; empty if there are none."""
        if "split" not in self.table:
            return self.subset([])
        return self.subset((self.table["split"] == split).to_numpy(dtype=bool))

    def with_columns(self, notes: Sequence[str] = (), **columns: Iterable[Any]) -> "Manifest":
        """A copy with columns set and notes added."""
        table = self.table.assign(**{name: list(values) for name, values in columns.items()})
        return replace(self, table=table, notes=[*self.notes, *notes])

    def without_extras(self) -> "Manifest":
        """Only the columns with a meaning: others may contain private information, such as names of patients."""
        return replace(self, table=self.table[self._meaningful()])

    def _meaningful(self) -> list[str]:
        names = [name for name in COLUMNS if name in self.table]
        masks = [str(name) for name in self.table if str(name).startswith(MASKS_PREFIX)]
        return names + masks + [LABELS_PREFIX + finding for finding in self.findings]

    def content_hash(self) -> str:
        """SHA-256 over the meaningful columns (:data:`COLUMNS` and the findings) and the order of the rows.

        The root and columns without a meaning are not included, so a data set that was moved keeps its hash.
        """
        digest = hashlib.sha256()
        for name in self._meaningful():
            digest.update(json.dumps([name, self.table[name].tolist()]).encode())
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Writes the table as CSV (UTF-8), atomically."""
        cells = [[str(name), *(_saved(value) for value in self.table[name].tolist())] for name in self.table]
        # A lone carriage return inside a cell is not quoted by csv unless all cells are.
        returns = any("\r" in cell for column in cells for cell in column)
        text = io.StringIO()
        quoting: Any = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
        csv.writer(text, lineterminator="\n", quoting=quoting).writerows(zip(*cells, strict=True))
        write_text(Path(path), text.getvalue())

    @classmethod
    def read_saved(cls, path: Path | str, root: Path, *, source: str = "", name: str = "") -> "Manifest":
        """Reads a table written by :meth:`save`. Files are not checked."""
        path = Path(path)
        try:
            with path.open(encoding="utf-8", newline="") as file, long_cells():
                header, *rows = csv.reader(file)
            cells = list(zip(*rows, strict=True)) or [()] * len(header)
            table = {
                column: [float(v or "nan") for v in values] if column.startswith(LABELS_PREFIX) else values
                for column, values in zip(header, cells, strict=True)
            }
        except FileNotFoundError:
            raise InputError(
                f"manifest '{path}' does not exist", "pass the folder of a complete run"
            ) from None
        except (ValueError, csv.Error):
            remedy = "restore it or fit again"
            raise InputError(f"manifest '{path.name}' is damaged", remedy) from None
        return cls(pd.DataFrame(table), Path(root), source=source or path.name, name=name or path.stem)


def class_order(names: Iterable[str]) -> list[str]:
    """Unique class names, sorted by number if all are whole numbers, otherwise alphabetically."""
    unique = {str(name) for name in names}
    if _are_whole(unique):
        return sorted(unique, key=lambda name: (int(name), name))
    return sorted(unique)


def are_consecutive(names: Sequence[str]) -> bool:
    """Whether class names are whole numbers that follow each other (``0, 1, 2``), as grades are."""
    if not names or not _are_whole(names):
        return False
    first = int(names[0])
    return [int(name) for name in names] == list(range(first, first + len(names)))


def all_grades(names: Sequence[str]) -> list[str]:
    """Grades with those that no image has: 0 to 4 where 3 is missing; empty where none is, or they are not grades."""
    numbers = sorted({int(name) for name in names}) if names and _are_whole(names) else []
    if len(numbers) < 3 or numbers[0] not in (0, 1) or numbers[-1] > _MOST_GRADES:
        return []
    grades = range(numbers[0], numbers[-1] + 1)
    return [] if len(grades) == len(numbers) else [str(number) for number in grades]


def name_classes(names: Sequence[str]) -> str:
    """Classes as text for messages: ``0..4`` for consecutive numbers, otherwise the first eight."""
    if len(names) > 1 and are_consecutive(names):
        return f"{names[0]}..{names[-1]}"
    return listed(names, most=8)


def _are_whole(names: Iterable[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", name) for name in names)


def _one_body(image: str) -> str:
    # Slices of a volume are of one patient; the images in an array file are independent.
    file, fragment = split_reference(image)
    return image if "array=" in fragment else file


def _saved(value: Any) -> str:
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
