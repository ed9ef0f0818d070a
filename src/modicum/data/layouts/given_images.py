"""Images named by the user for prediction: files, folders and data sets, in any mixture.

A folder, table or list means here what it means for every other command (:func:`~modicum.data.layouts.load_manifest`):
where a table, a data list or a known layout says which files are the images, those are; masks and targets are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.layouts.asked_split import rows_of_split
from modicum.data.layouts.files_read import files_beside, files_read
from modicum.data.layouts.npz import is_array_data
from modicum.data.layouts.parquet_shards import shards_in
from modicum.data.layouts.public import layout_of
from modicum.data.layouts.table import TABLE_SUFFIXES, table_columns, table_in
from modicum.data.manifest import Manifest
from modicum.data.slices import USUAL, slices_asked
from modicum.errors import InputError

FACTS = ("patient", "eye", "domain")
"""What predictions that are decided over a set of images go by."""
FIELD = "fov"
"""Of pictures: the file of the field of view, an :class:`ImageRef`, or None."""


@dataclass(frozen=True)
class GivenReading:
    """How the data sets among the sources are read, as for other commands.

    Attributes:
        columns: of tables, the column of each role.
        usual_columns: the same, where a table has such a column and ``columns`` does not say otherwise.
        images: folder that a table's image paths are relative to.
        split_lists: folder with lists of train/val/test images.
        pairs: words that tell sources from targets in a folder.
        usual_pairs: the same, where a folder has both.
        split: rows to take; all by default.
        slices: of files with several slices, those that are images; see :mod:`modicum.data.slices`. The middle one (of
            a picture's task, all of them) by default.
        align_geometry: ``resample`` brings fields of view onto the images' grids.
        allow_outside: accept references outside the data set's folder.
    """

    columns: Mapping[str, Any] | None = None
    usual_columns: Mapping[str, Any] | None = None
    images: str | Path | None = None
    split_lists: str | Path | None = None
    pairs: tuple[str, str] | None = None
    usual_pairs: tuple[str, str] | None = None
    split: str | None = None
    slices: str | None = None
    align_geometry: str | None = None
    allow_outside: bool = False


@dataclass(frozen=True)
class GivenImages:
    """Images to predict, in their order.

    Attributes:
        names: for a table: relative to the folder or table if it is the only source; with several, they begin with
            its path.
        refs: where they are.
        facts: what data sets say of each image: columns ``patient``, ``eye`` and ``domain``.
        tables: the files that were read to find the images: tables, data lists, array files, lists of splits.
        named_files: masks, targets and the like that data sets name beside the images.
        notes: what the readers of data sets had to say.
    """

    names: list[str]
    refs: list[ImageRef]
    facts: pd.DataFrame
    tables: list[Path]
    named_files: list[Path]
    notes: list[str]


def given_images(sources: Sequence[str | Path], reading: GivenReading = GivenReading()) -> GivenImages:
    """Lists images of files, folders and data sets.

    Raises:
        InputError: a path does not exist, there is no image at all, or a data set cannot be read.
    """
    names: list[str] = []
    refs: list[ImageRef] = []
    tables: list[Path] = []
    named_files: list[Path] = []
    notes: list[str] = []
    facts: list[pd.DataFrame] = []
    for item in sources:
        path = Path(item)
        if path.is_dir() and len(sources) > 1 and not any(path.iterdir()):
            continue  # the others may have images
        if path.is_dir() or _is_data_set(path):
            manifest = data_set(path, reading)
            folder = path if path.is_dir() else path.parent
            names += _named(manifest.refs(), folder if len(sources) > 1 else None)
            refs += manifest.refs()
            tables += files_read(path, manifest, reading.split_lists, reading.columns)
            named_files += files_beside(manifest)
            notes += manifest.notes
            facts.append(_facts(len(manifest), manifest.table).assign(**{FIELD: fields_given(manifest)}))
            continue
        ref = ImageRef.parse(str(item), None)
        if not ref.path.exists():
            raise InputError(f"image '{item}' does not exist", "check the path")
        if reading.split not in (None, "all", ""):
            raise InputError(
                f"'{item}' is an image, which has no split '{reading.split}'",
                "pass a table or folder that has one, or leave out --split",
            )
        some = [ref] if reading.slices is None else slices_asked(ref, reading.slices)
        names += [str(item)] if some == [ref] else list(map(str, some))
        refs += some
        facts.append(_facts(len(some)))
    if not refs:
        raise InputError("no images found", "pass image files, a folder of images, or a table")
    joined = pd.concat(facts, ignore_index=True)
    return GivenImages(names, refs, joined, tables, named_files, notes)


def images_of(
    sources: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, allow_outside: bool = False
) -> tuple[list[str], list[ImageRef]]:
    """Names and references of :func:`given_images`."""
    images = given_images(sources, GivenReading(columns=columns, allow_outside=allow_outside))
    return images.names, images.refs


def data_set(path: Path, reading: GivenReading, class_folders: bool = False) -> Manifest:
    """The images of a folder, table, data list or array file, with all that is said of them.

    Args:
        path: of the data set.
        reading: how it is read.
        class_folders: whether folders may be classes; by default all images below a folder that nothing describes are
            meant, and nothing is said of them.

    Raises:
        InputError: it cannot be read.
    """
    pairs, columns = reading.pairs, _columns_of(path, reading)
    images = None
    if path.is_dir() or path.suffix.lower() in TABLE_SUFFIXES:
        images = reading.images
    if pairs is None and reading.usual_pairs is not None and path.is_dir() and not columns and images is None:
        pairs = reading.usual_pairs if _holds_pairs(path, reading.usual_pairs) else None
    manifest = load_manifest(
        path,
        columns=columns or None,
        images=images,
        split_lists=reading.split_lists,
        pairs=pairs,
        allow_outside=reading.allow_outside,
        missing="keep",
        unlabelled="keep",
        class_folders=class_folders,
        slices=reading.slices or USUAL,
        align_geometry=reading.align_geometry or "refuse",
    )
    return rows_of_split(manifest, reading.split)[0]


def _columns_of(path: Path, reading: GivenReading) -> dict[str, Any]:
    """The columns for a table, or for the table of a folder; nothing where there is none."""
    given = dict(reading.columns or {})
    if not path.is_dir():
        table: Path | None = path if path.suffix.lower() in TABLE_SUFFIXES else None
    elif layout_of(path) is not None and not given:
        table = None
    elif shards := shards_in(path):
        table = shards[0][0]
    else:
        table = _table_of(path, given or reading.usual_columns)
    if table is None:
        return {}
    there = set(table_columns(table)) if reading.usual_columns else set()
    usual = {role: name for role, name in (reading.usual_columns or {}).items() if name in there}
    return {**usual, **given}


def _table_of(folder: Path, columns: Mapping[str, Any] | None) -> Path | None:
    try:
        return table_in(folder, columns)
    except InputError:  # several: said when the folder is read
        return None


def _holds_pairs(folder: Path, pairs: tuple[str, str]) -> bool:
    """Whether a folder can be read as pairs of images and targets."""
    try:
        load_manifest(folder, pairs=pairs, missing="keep", unlabelled="keep")
    except InputError:
        return False
    return True


def _facts(count: int, table: pd.DataFrame | None = None) -> pd.DataFrame:
    facts = pd.DataFrame(index=range(count), columns=[*FACTS, FIELD], dtype=object)
    facts[FIELD] = pd.Series([None] * count, dtype=object)
    for name in FACTS:
        if table is not None and name in table:
            facts[name] = table[name].to_numpy(dtype=object)
    return facts


def fields_given(manifest: Manifest) -> pd.Series:
    """The file of each image's field of view, where the table names one; else None."""
    texts = manifest.table[FIELD] if FIELD in manifest.table else [None] * len(manifest)
    files = [ImageRef.parse(text, manifest.root) if isinstance(text, str) else None for text in texts]
    return pd.Series(files, dtype=object)


def _is_data_set(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return is_array_data(path)
    return suffix in (*TABLE_SUFFIXES, ".json") and path.is_file()


def _named(refs: Sequence[ImageRef], folder: Path | None) -> list[str]:
    return [str(ref) if folder is None else (folder / str(ref)).as_posix() for ref in refs]
