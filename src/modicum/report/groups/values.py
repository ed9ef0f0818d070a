"""The values of a column for the images of an evaluation: from the run's manifest, the data, or a table of the user's."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from modicum.data.manifest import path_columns, split_reference, text_column
from modicum.errors import InputError, did_you_mean
from modicum.progress import say
from modicum.report.files import Evaluation, RunFiles, as_mapping
from modicum.report.groups.bands import asked_column
from modicum.wording import count_of

_OF_TRAINING = ("train", "val", "test")
_NAMES = ("patient", "image", "sha256", "near_hash", "report", "boxes")
_IMAGE = ("image", "image_id", "image_name", "image_file", "file_name", "filename", "file", "path", "img")
_PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")


def values_of(
    run: RunFiles, evaluation: Evaluation, specs: Sequence[str], table: Path | None = None
) -> list[tuple[str, tuple[float, ...], list[str]]]:
    """For each asked column its name, its cut points, and its value for every row of the predictions.

    Args:
        run: the run's files.
        evaluation: with its predictions.
        specs: columns, with or without cut points.
        table: of the user's, with a column of images (or of patients); by default the run's manifest, then the data where
            the training found them.

    Raises:
        InputError: a column that is nowhere, or names images or patients; a table of other images.
    """
    predictions = evaluation.predictions
    if predictions is None or "image" not in predictions:
        raise InputError(
            f"evaluation '{evaluation.name}' has no predictions.csv", "evaluate again with `modicum evaluate`"
        )
    manifest = run.manifest if evaluation.name in _OF_TRAINING else None
    near = list(map(str, manifest.columns)) if manifest is not None else []
    source: pd.DataFrame | None = None if table is None else read_columns(table)
    found = []
    for spec in specs:
        known = near if source is None else [str(name) for name in source.columns]
        column, cuts = asked_column(spec, known)
        if column in _NAMES or column in path_columns([column]):
            raise InputError(
                f"column '{column}' names images or patients, not groups",
                "name a column such as sex, site or scanner",
            )
        if source is None and manifest is not None and column in manifest:
            joined = _joined(predictions, manifest, "the run's manifest", "image", "patient")
        else:
            if source is None:
                source = _original(run, evaluation, column)
                column, cuts = asked_column(spec, [str(name) for name in source.columns])
            if column not in source:
                raise InputError(
                    f"there is no column '{column}' in the table",
                    did_you_mean(column, [str(name) for name in source.columns]),
                )
            columns = as_mapping(run.recipe_data.get("columns"))
            joined = _joined(predictions, source, "the table", columns.get("image"), columns.get("patient"))
        values = joined[column].fillna("").astype(str).tolist()
        found.append((column, cuts, values))
    return found


def read_columns(path: Path) -> pd.DataFrame:
    """A table as text, or that of a folder. Raises :class:`~modicum.errors.InputError` where there is none."""
    if path.is_dir():
        from modicum.data.layouts.table import table_in

        path = table_in(path) or path
    if not path.is_file():
        raise InputError(f"table '{path}' does not exist", "pass a .csv, .tsv or .parquet file with --table")
    if path.suffix.lower() == ".parquet":
        frame = pd.read_parquet(path)
        return pd.DataFrame({str(name): text_column(frame[name]) for name in frame})
    from modicum.data.table_cells import read_cells

    read = read_cells(path)
    cells = list(zip(*read.rows, strict=True)) or [()] * len(read.header)
    return pd.DataFrame({name: list(values) for name, values in zip(read.header, cells, strict=True)})


def _original(run: RunFiles, evaluation: Evaluation, column: str) -> pd.DataFrame:
    source = run.recipe_data.get("source")
    path = Path(str(source)) if isinstance(source, str) else None
    remedy = f"pass --table FILE with the columns image and {column}"
    if evaluation.name not in _OF_TRAINING:
        raise InputError(
            f"the run does not keep where the data of evaluation '{evaluation.name}' are, which have column '{column}'",
            remedy,
        )
    if (
        path is None
        or not (path.is_dir() or path.suffix.lower() in (".csv", ".tsv", ".parquet"))
        or not path.exists()
    ):
        raise InputError(
            f"column '{column}' is not in the run's manifest, and the table that it was trained with is not to be found",
            remedy,
        )
    return read_columns(path)


def _joined(
    predictions: pd.DataFrame, table: pd.DataFrame, what: str, image: object, patient: object
) -> pd.DataFrame:
    """The table's row for each prediction; blank rows where there is none."""
    by_image, by_patient = _named(table, image, _IMAGE), _named(table, patient, _PATIENT)
    if by_image is not None:
        ours, theirs = predictions["image"], table[by_image].fillna("").astype(str)
        rows = _matched([_file(name) for name in ours], [_file(name) for name in theirs], table, by_image)
        key = by_image
    elif by_patient is not None and "patient" in predictions:
        theirs = table[by_patient].fillna("").astype(str).str.strip()
        rows = _unique(predictions["patient"].tolist(), theirs.tolist(), table, by_patient)
        key = by_patient
    else:
        raise InputError(
            f"{what} has no column of images (or of patients) to join by", "name its column of images 'image'"
        )
    missing = sum(row is None for row in rows)
    if missing == len(rows):
        raise InputError(
            f"none of the {count_of(len(rows), 'image')} of the evaluation is in column '{key}' of {what}",
            "pass the table that names these images",
        )
    if missing:
        say(
            f"{missing} of {count_of(len(rows), 'image')} of the evaluation are not in {what}: a group 'not known'"
        )
    positions = [-1 if row is None else row for row in rows]
    blank = pd.DataFrame([dict.fromkeys(table.columns, "")])
    return pd.concat([table, blank], ignore_index=True).iloc[positions].reset_index(drop=True)


def _named(table: pd.DataFrame, given: object, usual: Sequence[str]) -> str | None:
    if isinstance(given, str) and given in table:
        return given
    plain = {str(name).lower().replace(" ", "_"): str(name) for name in table.columns}
    return next((plain[name] for name in usual if name in plain), None)


def _file(reference: str) -> str:
    file, _ = split_reference(str(reference).strip().replace("\\", "/"))
    return PurePosixPath(file).as_posix()


def _matched(ours: list[str], theirs: list[str], table: pd.DataFrame, key: str) -> list[int | None]:
    """By the whole reference, else by the file's name, else by its name without ending: what finds most."""
    forms: list[Mapping[str, str]] = [
        {name: name for name in {*ours, *theirs}},
        {name: PurePosixPath(name).name for name in {*ours, *theirs}},
        {name: PurePosixPath(name).name.partition(".")[0] for name in {*ours, *theirs}},
    ]
    best: list[int | None] = []
    for form in forms:
        there = {form[name] for name in theirs}
        if sum(form[name] in there for name in ours) > sum(row is not None for row in best):
            best = _unique([form[name] for name in ours], [form[name] for name in theirs], table, key)
    return best or [None] * len(ours)


def _unique(ours: list[str], theirs: list[str], table: pd.DataFrame, key: str) -> list[int | None]:
    """The first row of each name. Raises InputError where several rows of a wanted name say different things."""
    first: dict[str, int] = {}
    wanted = set(ours)
    cells: np.ndarray | None = None
    for row, name in enumerate(theirs):
        if name in first and name in wanted:
            cells = table.drop(columns=key).fillna("").astype(str).to_numpy() if cells is None else cells
            if (cells[row] != cells[first[name]]).any():
                raise InputError(
                    f"column '{key}' of the table has several rows for one name, which differ (rows {first[name] + 2} "
                    f"and {row + 2})",
                    "keep one row for each image",
                )
        first.setdefault(name, row)
    return [first.get(name) if name else None for name in ours]
