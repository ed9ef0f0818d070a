"""Rows in which one of image and mask names a slice of its file, and the other leaves it open: both mean the same."""

from dataclasses import replace
from pathlib import Path

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, path_columns, text_column
from modicum.data.readers import placed_by, slices_of
from modicum.data.readers.content import format_of_name
from modicum.errors import BrokenImageError, InputError
from modicum.wording import count_of

_Opened = dict[ImageRef, tuple[str, int]]


def with_same_slices(manifest: Manifest, alignment: str = "refuse", strict: bool = True) -> Manifest:
    """References that leave the slice open take that of the other, with a note of how many.

    Args:
        manifest: its files exist, or are reported elsewhere.
        alignment: ``resample``: volumes beside images are brought onto them wherever they lie, and stay as they are.
        strict: whether files of different numbers of slices are refused.

    Raises:
        InputError: the two have different numbers of slices.
    """
    beside = [column for column in path_columns(manifest.table) if column != "image"]
    cells = {column: manifest.table[column].tolist() for column in ["image", *beside]}
    changed = dict.fromkeys(cells, 0)
    opened: _Opened = {}
    for row in range(len(manifest)):
        for column in beside:
            texts = cells["image"][row], cells[column][row]
            if not isinstance(texts[1], float) and any("#" in text for text in texts):
                image, other = (ImageRef.parse(text, manifest.root) for text in texts)
                which = _open_one(image, other, column, alignment)
                if which is None:
                    continue
                pair = (image, other) if which == "image" else (other, image)
                taken = _same_slice(*pair, opened, f"{manifest.describe_row(row)}: its {column}", strict)
                if taken is not None:
                    cells[which][row] = str(taken)
                    changed[which] += 1
    if not any(changed.values()):
        return manifest
    notes = [
        f"column '{column}': {count_of(count, 'file')} of several slices read at the slice that the "
        f"{'image' if column != 'image' else 'file beside it'} names"
        for column, count in changed.items()
        if count
    ]
    return manifest.with_columns(
        notes, **{name: text_column(cells[name]).tolist() for name in changed if changed[name]}
    )


def _open_one(image: ImageRef, other: ImageRef, column: str, alignment: str) -> str | None:
    """Which of the two leaves its slice open where the other names one: ``image``, or the other's column."""
    if any(
        ref.onto is not None or ref.segment is not None or ref.array is not None for ref in (image, other)
    ):
        return None
    numbers = _slice_number(image), _slice_number(other)
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    if alignment == "resample" and format_of_name(Path(other.path.name)) in ("nifti", "dicom", None):
        return None
    return "image" if numbers[0] is None else column


def _slice_number(ref: ImageRef) -> int | None:
    if ref.index is not None:
        return ref.index
    return None if format_of_name(ref.path) == "nifti" else ref.frame  # there a frame is a volume of a series


def _same_slice(ref: ImageRef, named: ImageRef, opened: _Opened, what: str, strict: bool) -> ImageRef | None:
    """A reference at the slice that another names; None where its file has one slice, or says itself where it lies."""
    try:
        form, count = _count(ref, opened)
        if count < 2 or (form == "dicom" and placed_by(ref)[0] == "segmentation"):
            return None
        other_form, other_count = _count(replace(named, index=None, frame=_series(named)), opened)
    except BrokenImageError:
        return None
    number = _slice_number(named)
    if form == "nifti" and other_form == "nifti" and ref.axis is None:
        ref = replace(ref, axis=2 if named.axis is None else named.axis)
        count = _count(ref, opened)[1]
    if count != other_count:
        if strict:
            raise InputError(
                f"{what} and the image have different numbers of slices ({count} and {other_count}), and one of them "
                "names none",
                "name the slice of both ('#frame=0', of NIfTI '#axis=2&index=0')",
            )
        return None
    return replace(ref, index=number) if form == "nifti" else replace(ref, frame=number)


def _series(ref: ImageRef) -> int | None:
    return ref.frame if format_of_name(ref.path) == "nifti" else None


def _count(ref: ImageRef, opened: _Opened) -> tuple[str, int]:
    if ref not in opened:
        opened[ref] = slices_of(ref)
    return opened[ref]
