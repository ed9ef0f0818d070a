"""Reads data sets in many layouts as a checked :class:`~modicum.data.manifest.Manifest`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modicum.data.alignment import with_alignment
from modicum.data.boxes.column import with_box_cells, with_box_file
from modicum.data.boxes.from_masks import with_mask_boxes
from modicum.data.boxes.options import BoxOptions
from modicum.data.layouts.box_source import box_source
from modicum.data.layouts.columns import tidy
from modicum.data.layouts.file_finder import find_files
from modicum.data.layouts.folder_grounds import grounded
from modicum.data.layouts.folders import holds_images, images_manifest, read_folder
from modicum.data.layouts.monai import is_datalist, read_datalist, set_aside_unlabelled
from modicum.data.layouts.npz import is_array_data, read_npz
from modicum.data.layouts.parquet_shards import read_shards, shards_in
from modicum.data.layouts.paths import confine, refuse_repeats, require_files
from modicum.data.layouts.public import LayoutOptions, read_public
from modicum.data.layouts.public.pairs import read_pairs
from modicum.data.layouts.split_lists import apply_split_lists
from modicum.data.layouts.table import (
    TABLE_SUFFIXES,
    named_table_in,
    read_table,
    short_name,
    table_in,
    tables_of,
)
from modicum.data.layouts.unread_files import unread_notes
from modicum.data.manifest import Manifest, name_classes, split_reference
from modicum.data.segments import with_segments
from modicum.data.slice_pairs import with_same_slices
from modicum.data.slices import USUAL, as_segmented, with_slices
from modicum.errors import InputError
from modicum.wording import count_of, listed

__all__ = [
    "LayoutOptions",
    "data_name",
    "images_manifest",
    "load_manifest",
    "read_datalist",
    "read_folder",
    "read_npz",
    "read_table",
]


def load_manifest(
    source: Path | str,
    *,
    columns: Mapping[str, Any] | None = None,
    images: Path | str | None = None,
    split_lists: Path | str | Sequence[Path | str] | None = None,
    classes: Sequence[str] | None = None,
    layout: str | None = None,
    layout_options: LayoutOptions | Mapping[str, Any] | None = None,
    pairs: Sequence[str] | None = None,
    box_options: BoxOptions | Mapping[str, Any] | None = None,
    allow_outside: bool = False,
    missing: Literal["error", "keep"] = "error",
    unlabelled: Literal["drop", "keep"] = "drop",
    class_folders: bool = True,
    slices: str | None = USUAL,
    align_geometry: str = "refuse",
) -> Manifest:
    """Reads a data set, and checks everything that can be checked without opening its images.

    Args:
        source: a CSV, TSV or Parquet table, a MONAI data list, a MedMNIST-style ``.npz``, one image, or a
            folder that contains one of these, a public data set (see ``modicum.data.layouts.public``), or images
            (one folder per class, with or without train, val and test).
        columns: for tables, the column for each role: ``{"image": "file", "label": "dr_grade"}``; several
            for ``labels`` are one finding each; ``""`` ignores the column of that name. Of any data set, ``boxes``
            can be a file of boxes instead, or a mapping of images to boxes; see
            :func:`modicum.data.boxes.read_boxes`. ``masks``: boxes around what is marked in columns ``masks:CLASS``.
        images: for tables, the folder of the images, if not the table's own or ``images`` next to it.
        split_lists: a folder with published split lists (``*train*.txt``, ...), or the lists themselves.
        classes: all allowed labels, if set by the user.
        layout: the name of the public layout to read a folder as, ``folder`` for none; detected by default.
        layout_options: options of layouts and split lists.
        pairs: names of image and target, of folders or volumes: ``("T1", "T2")``.
        box_options: how boxes are read where there is a choice.
        allow_outside: accept references outside the data set's folder.
        missing: ``keep`` keeps rows whose file does not exist, so that they are reported with the broken
            ones.
        unlabelled: ``keep`` keeps rows without a label in a table with labels.
        class_folders: whether folders may be classes; otherwise a folder that nothing describes means all images below.
        slices: of files with several slices of which a row names none: ``middle``, ``all``, ``labelled`` (where a mask
            is not 0) or ``every:N``; see :mod:`modicum.data.slices`. None: ``labelled`` where there are masks.
        align_geometry: ``resample`` brings NIfTI and DICOM files beside the images onto the images' grids; see
            :mod:`modicum.data.alignment`.

    Raises:
        InputError: invalid data; names the row, the value and the remedy.
    """
    source = Path(source)
    options, of_boxes = LayoutOptions.of(layout_options), BoxOptions.of(box_options)
    columns, boxes = box_source(source, columns)
    with _reading(source):
        if pairs is not None or layout not in (None, "folder"):
            manifest = _read_as(source, layout, options, pairs, bool(columns) or images is not None)
        else:
            manifest = _read(
                source,
                columns,
                None if images is None else Path(images),
                layout,
                options,
                split_lists is not None,
                class_folders,
            )
    if unlabelled == "drop" and manifest.source.endswith(".json"):
        manifest = set_aside_unlabelled(manifest)
    if split_lists is not None and "split" in manifest.table:
        # The lists replace the column, so its values need not be valid.
        manifest = replace(manifest, table=manifest.table.drop(columns="split"))
    # An image named by the user is accepted even if a link leads outside; so are all images of a folder.
    allow_outside = allow_outside or _is_image(source) or not (class_folders or manifest.origins)
    manifest = confine(find_files(confine(tidy(manifest, classes), allow_outside)), allow_outside)
    if missing == "error" and split_lists is None:
        require_files(manifest)
    refuse_repeats(manifest)
    if boxes == "masks":
        manifest = with_mask_boxes(manifest)
    elif boxes is not None:
        manifest = with_box_file(manifest, boxes, of_boxes)
    elif "boxes" in manifest.table:
        manifest = with_box_cells(manifest, of_boxes, allow_outside)
    if split_lists is not None:
        lists = Path(split_lists) if isinstance(split_lists, str | Path) else list(map(Path, split_lists))
        with _reading(lists if isinstance(lists, Path) else next(iter(lists), source)):
            manifest = apply_split_lists(manifest, lists, missing=missing, options=options, classes=classes)
        if missing == "error":
            require_files(manifest)
    if unlabelled == "drop":
        manifest = drop_unlabelled(manifest)
    if classes is not None:
        check_labels(manifest, classes)
    manifest = with_same_slices(with_segments(manifest), align_geometry, strict=missing == "error")
    chosen = (
        as_segmented(manifest, align_geometry)
        if slices is None
        else with_slices(manifest, slices, align_geometry)
    )
    if not manifest.table["image"].duplicated().any():  # lists of splits may name an image twice on purpose
        refuse_repeats(chosen)  # a volume may be in one row, and a slice of it in another
    return with_alignment(chosen, align_geometry)


def data_name(source: Path | str) -> str:
    """A short name of a data set from its path: the folder's, the file's, or that of the file's folder."""
    path = Path(source)
    return path.absolute().name if path.is_dir() else short_name(path)


def drop_unlabelled(manifest: Manifest) -> Manifest:
    """Removes rows without a label (or without any known finding), with a note of how many.

    Raises:
        InputError: no row has a label.
    """
    table = manifest.table
    findings = [f"labels:{name}" for name in manifest.findings]
    columns = findings or (["label"] if "label" in table else [])
    if not columns:
        return manifest
    has_label = table[columns].notna().any(axis=1).to_numpy(dtype=bool)
    if has_label.all():
        return manifest
    if not has_label.any():
        raise InputError(
            f"{manifest.source}: no row has a label",
            "fill in the labels, or pass another column with --label COLUMN",
        )
    kept = manifest.subset(has_label)
    kept.notes.append(f"left out: {count_of(int((~has_label).sum()), 'image')} without a label")
    return kept


def check_labels(manifest: Manifest, classes: Sequence[str]) -> None:
    """Raises :class:`~modicum.errors.InputError` for the first label that is not among ``classes``."""
    if "label" not in manifest.table or manifest.findings:
        return
    labels = manifest.table["label"]
    wrong = labels.notna() & ~labels.isin(list(map(str, classes)))
    for row in np.flatnonzero(wrong)[:1]:
        label = labels.iloc[row]
        more = int((labels == label).sum()) - 1
        raise InputError(
            f"{manifest.describe_row(int(row))}: label '{label}' is not in {name_classes(list(classes))}"
            + (f" (nor in {count_of(more, 'other row')})" if more else ""),
            "fix the row, leave its label blank (it is then left out), or train with "
            f"--classes {','.join([*map(str, classes), label])}",
        )


def _read_as(
    source: Path, layout: str | None, options: LayoutOptions, pairs: Sequence[str] | None, for_table: bool
) -> Manifest:
    """Reads a folder as the given layout, or as pairs."""
    if not source.is_dir():
        raise InputError(
            f"'{source}' is not a folder", "pass the data set's folder, or leave out --pairs or the layout"
        )
    if for_table or (layout is not None and pairs is not None):
        raise InputError(
            f"both a layout and {'columns' if for_table else 'pairs'} are given for '{source.name}'",
            "leave out one of the two",
        )
    if pairs is not None:
        if len(pairs) != 2 or not all(pairs):
            raise InputError(
                f"pairs '{','.join(pairs)}' are not two names",
                "pass the names of image and target, for instance T1,T2",
            )
        return read_pairs(source, (pairs[0], pairs[1]), options).manifest(source)
    manifest = read_public(source, options, layout)
    if manifest is None:
        raise InputError(
            f"folder '{source.name}' does not have layout '{layout}'", "leave out the layout to detect it"
        )
    return manifest


def _read(
    source: Path,
    columns: Mapping[str, str | Sequence[str]] | None,
    images: Path | None,
    layout: str | None,
    options: LayoutOptions,
    with_lists: bool,
    class_folders: bool,
) -> Manifest:
    if source.is_dir():
        # Published lists bring the labels that the folders of images do not say.
        by_folders = with_lists or layout == "folder" or not class_folders
        made = _read_folder(source, columns, images, None if layout == "folder" else options, by_folders)
        # A table or a data list says which files it means; a folder means all that it holds.
        return made if made.origins else replace(made, notes=[*made.notes, *unread_notes(source)])
    if _is_image(source):
        return images_manifest([source if source.exists() else str(source)])
    if not source.exists():
        raise InputError(f"'{source}' does not exist", "pass a folder, a table, a data list or an .npz file")
    suffix = source.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return read_table(source, columns, images)
    if columns or images is not None:
        raise InputError(
            f"'{source.name}' is not a table (expected .csv, .tsv, .parquet or .jsonl)",
            "pass a table, or leave out columns and --images",
        )
    if suffix == ".json":
        return read_datalist(source)
    if suffix == ".npz":
        return read_npz(source)
    raise InputError(
        f"'{source.name}' is not a data set that can be read",
        "pass a folder, or a .csv, .tsv, .parquet, .jsonl, .json or .npz file",
    )


def _read_folder(
    folder: Path,
    columns: Mapping[str, str | Sequence[str]] | None,
    images: Path | None,
    options: LayoutOptions | None,
    by_folders: bool,
) -> Manifest:
    """Reads a folder; as a public data set only with options; ``by_folders`` takes folders as classes without a note."""
    if options is not None and not columns and images is None and named_table_in(folder) is None:
        public = read_public(folder, options)
        if public is not None:
            return public
    if images is None and (shards := shards_in(folder)):
        return read_shards(folder, shards, columns)
    table = table_in(folder, columns)
    if table is not None:
        made = read_table(table, columns, images)
        others = [path.name for path in tables_of(folder) if path != table]
        ground = f"read as the table '{table.name}' in the folder" + (
            f"; not read: {listed(others)}" if others else ""
        )
        return replace(made, name=data_name(folder), notes=[ground, *made.notes])
    if columns or images is not None:
        raise InputError(
            f"folder '{folder.name}' contains no table (.csv, .tsv or .parquet)",
            "pass the table, or leave out columns and --images",
        )
    lists = [path for path in sorted(folder.glob("*.json")) if is_datalist(path)]
    arrays = [path for path in sorted(folder.glob("*.npz")) if is_array_data(path)]
    data_files = lists or (arrays if arrays and not holds_images(folder) else [])
    if len(data_files) > 1:
        names = ", ".join(path.name for path in data_files)
        raise InputError(
            f"folder '{folder.name}' contains several data sets ({names})",
            f"pass one of them, for instance {folder / data_files[0].name}",
        )
    if data_files:
        manifest = read_datalist(data_files[0]) if lists else read_npz(data_files[0])
        ground = (
            f"read as the data list '{data_files[0].name}' in the folder"
            if lists
            else f"read as '{data_files[0].name}'"
        )
        return replace(manifest, name=data_name(folder), notes=[ground, *manifest.notes])
    manifest = read_folder(folder)
    return manifest if by_folders else grounded(folder, manifest)


def _is_image(source: Path) -> bool:
    """Whether the source is an image file, or a reference to a part of one."""
    from modicum.data.readers import is_image_file

    file = source if source.exists() else Path(split_reference(str(source))[0])
    return file.is_file() and (is_image_file(file) or file != source)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns errors of the file system into an :class:`InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror})", "check the path and its permissions"
        ) from None
