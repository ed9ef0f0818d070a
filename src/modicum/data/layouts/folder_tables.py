"""The table that describes a folder of images, found by what its cells name rather than by what it is called."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.layouts.file_finder import FileFinder, shares_found
from modicum.data.layouts.json_lines import SUFFIX, read_lines
from modicum.data.manifest import text_column
from modicum.data.readers.parquet import is_image_type
from modicum.data.table_cells import decode, delimiter_of
from modicum.errors import InputError
from modicum.wording import listed

IMAGE_NAMES = (
    *("image_id", "image_name", "image_file", "image_path", "image_index", "imageid", "imagename"),
    *("img", "img_id", "img_name", "img_path", "id_code", "isic_id", "dicom_id"),
    *("file_name", "filename", "file_path", "filepath"),
)
"""Columns that name images where no column is called ``image``, as public data sets call them."""
LABEL_NAMES = (
    *("label", "class", "class_name", "target", "category", "finding"),
    *("dx", "diagnosis", "disease", "grade", "level", "dr_grade"),
)
PATIENT_NAMES = ("patient", "patient_id", "patientid", "subject", "subject_id", "lesion_id")
_PROBES = 20
_HEAD = 1 << 18  # bytes: more than the first rows of any table need
_MOST_NAMED = 0.5  # of the first rows: a data set in parts may lack some of them


def head_of(path: Path) -> pd.DataFrame:
    """The first rows of a table as text; empty where it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            file = pq.ParquetFile(path)
            # Images inside the table may be many megabytes.
            names = [field.name for field in file.schema_arrow if not is_image_type(field.type)]
            first = next(file.iter_batches(batch_size=_PROBES, columns=names), None)
            frame = pd.DataFrame() if first is None else first.to_pandas()
            return pd.DataFrame({str(name): text_column(frame[name]) for name in frame})
        if path.suffix.lower() == SUFFIX:
            return read_lines(path, most=_PROBES)[0]
        with path.open("rb") as stream:
            data = stream.read(_HEAD)
        text = decode(data)[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(path, text))
        header, *rows = islice(reader, _PROBES + 1)
    except (OSError, ValueError, pa.ArrowException, csv.Error, InputError):
        return pd.DataFrame()
    rows = [row for row in rows if len(row) == len(header)]
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame(
        {
            name.strip(): text_column(cell.strip() for cell in cells)
            for name, cells in zip(header, columns, strict=True)
        }
    )


def image_column(table: pd.DataFrame, finder: FileFinder, names_only: bool = True) -> str | None:
    """The column whose cells name files, among those with a usual name for it, or among all.

    Args:
        table: the rows, or the first of them.
        finder: of the folder's files.
        names_only: consider only columns called as in :data:`IMAGE_NAMES`.
    """
    usual = [str(name) for name in table if plain_name(str(name)) in IMAGE_NAMES]
    others = [] if names_only else [str(name) for name in table if str(name) not in usual]
    shares = {
        name: shares_found(finder, map(str, table[name].dropna().head(_PROBES))) for name in (*usual, *others)
    }
    best = max(shares, key=shares.__getitem__, default=None)
    return best if best is not None and shares[best] >= _MOST_NAMED else None


def inferred_roles(table: pd.DataFrame, columns: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Columns for label and patient where a table calls them as public data sets do, and notes.

    Several that could be the label leave it open, which is noted.
    """
    roles: dict[str, str] = {}
    notes = []
    lower = {plain_name(str(name)): str(name) for name in table}
    if not {"label", "labels"} & {*columns, *lower} and not any(
        str(name).startswith("labels:") for name in table
    ):
        labels = [lower[name] for name in LABEL_NAMES if name in lower]
        if len(labels) == 1:
            roles["label"] = labels[0]
        elif labels:
            notes.append(f"columns {listed(labels)} could be the label: name one with --label")
    patients = [lower[name] for name in PATIENT_NAMES if name in lower]
    if "patient" not in columns and patients:
        roles["patient"] = patients[0]
    return roles, notes


def has_label(path: Path) -> bool:
    """Whether a table has a column with a usual name for labels."""
    return any(plain_name(str(name)) in (*LABEL_NAMES, "labels") for name in head_of(path))


def plain_name(column: str) -> str:
    """``Image Index`` and ``image-index`` as ``image_index``."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def naming_table(tables: Sequence[Path], finder: FileFinder) -> tuple[Path, str] | None:
    """The first table with any column that names files of the finder's folder, and the column."""
    for path in tables:
        column = image_column(head_of(path), finder, names_only=False)
        if column is not None:
            return path, column
    return None
