"""Which slices of files that hold several (volumes, stacks of frames) become images of a data set.

A row that names a file of several slices, and none of them, stands for one of them, the middle one, unless more are asked
for: then it becomes a row a slice, with what lies beside it at the same slice. All slices of a file are of one patient
(:meth:`~modicum.data.manifest.Manifest.patients`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modicum.data.alignment import SEGMENTATION, onto, place_of
from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, path_columns, split_reference
from modicum.data.processes import in_processes, usable_cores
from modicum.data.readers import placed_by, read_image, slices_of
from modicum.data.readers.content import format_of_name
from modicum.data.roles import MASKS_PREFIX
from modicum.errors import BrokenImageError, InputError
from modicum.progress import bar
from modicum.wording import count_of

USUAL = "middle"
ALLOWED = "all, middle, labelled or every:N (such as every:5)"
_EVERY = "every:"
_OF_SEVERAL = (
    "nifti",
    "dicom",
    "tiff",
    "gif",
    "webp",
    None,
)  # by name; a name without an ending may be anything
_FEW = 16  # volumes; for fewer, starting processes takes longer than reading
_NOTHING = 1e-3  # as far as the codes of a mask may be from whole numbers


@dataclass(frozen=True)
class _File:
    """A file, the format of its content, and how many slices the reference leaves open.

    0 of what is brought onto the image's grid, whichever slices it has (:mod:`modicum.data.alignment`).
    """

    ref: ImageRef
    form: str
    count: int

    def slice(self, index: int) -> ImageRef:
        """One of its slices: of a NIfTI volume across its axis, of other files a frame."""
        if self.count == 0:
            return self.ref
        if self.form == "nifti":
            return replace(self.ref, axis=2 if self.ref.axis is None else self.ref.axis, index=index)
        return replace(self.ref, frame=index)


@dataclass(frozen=True)
class _Stack:
    """A row that stands for several slices, and the files beside its image, by column."""

    row: int
    image: _File
    beside: dict[str, _File]
    alignment: str

    def masks_of(self, index: int) -> list[ImageRef]:
        """The masks of one slice."""
        masks = {column: file for column, file in self.beside.items() if _is_mask(column)}
        slices = [file.slice(index) for file in masks.values() if file.count]
        placed = [(column, file) for column, file in masks.items() if not file.count]
        place = place_of(self.image.slice(index)) if placed else None
        if place is not None and place[1] is not None:
            slices += [
                onto(file.ref, column, place[1], place[2], file.form, self.alignment)
                for column, file in placed
            ]
        return slices


def check_slices(words: str) -> str:
    """Returns what was asked for. Raises :class:`~modicum.errors.InputError` unless it is one of :data:`ALLOWED`."""
    number = words.removeprefix(_EVERY)
    if words in ("all", "middle", "labelled") or (
        words.startswith(_EVERY) and number.isdecimal() and int(number) > 0
    ):
        return words
    raise InputError(f"--slices '{words}' is not known", f"use {ALLOWED}")


def with_slices(manifest: Manifest, words: str, alignment: str = "refuse") -> Manifest:
    """A row for each of the slices that are asked for, with a note of how many; other rows stay as they are.

    Args:
        manifest: its files exist, or are reported elsewhere.
        words: one of :data:`ALLOWED`. ``labelled`` are those where a mask holds something else than 0.
        alignment: ``resample`` accepts volumes of other grids beside the images.

    Raises:
        InputError: the words are not known, nothing beside the images says which slices are labelled, no slice is, or a
            file beside an image has another number of slices.
    """
    if check_slices(words) == "middle":
        return manifest
    stacks = [
        stack
        for row in range(len(manifest))
        if (stack := _stack(manifest, row, words, alignment)) is not None
    ]
    if not stacks:
        return manifest
    if words == "labelled":
        indices = _labelled(manifest, stacks)
    else:
        indices = [_spread(stack.image.count, words) for stack in stacks]
    chosen = {
        stack.row: (stack, some) for stack, some in zip(stacks, indices, strict=True) if some is not None
    }
    return _unfolded(manifest, chosen, words)


def as_segmented(manifest: Manifest, alignment: str) -> Manifest:
    """With the slices that segmentation learns from by default, where there are masks; else why it stops."""
    if not any(_is_mask(column) for column in path_columns(manifest.table)):
        return manifest
    try:
        return with_slices(manifest, "labelled", alignment)
    except InputError as error:
        return replace(
            manifest, notes=[*manifest.notes, f"segmentation would stop: {error.problem}; {error.remedy}"]
        )


def slices_asked(ref: ImageRef, words: str) -> list[ImageRef]:
    """The slices of one image that are asked for; itself where it has one, names one, or cannot be read.

    Raises:
        InputError: the words are not known, or ask for labels, which an image alone does not have.
    """
    if check_slices(words) == "labelled":
        raise InputError(
            f"--slices labelled, and nothing says which slices of '{ref}' are labelled",
            "pass --slices all, middle or every:N",
        )
    try:
        form, count = slices_of(ref)
    except BrokenImageError:
        return [ref]
    if words == "middle" or count < 2:
        return [ref]
    return [_File(ref, form, count).slice(index) for index in _spread(count, words)]


def _stack(manifest: Manifest, row: int, words: str, alignment: str) -> _Stack | None:
    """A row that stands for several slices; None for all others, also where its file cannot be read."""
    image = _file(manifest, row, "image")
    if image is None or image.count < 2:
        return None
    beside = {}
    for column in path_columns(manifest.table):
        if column == "image" or isinstance(manifest.table[column].iloc[row], float):
            continue
        file = _file(manifest, row, column, image)
        if file is None:
            return None
        volume = file.form == "nifti" or (file.form == "dicom" and file.count > 1)
        if file.form == SEGMENTATION or (volume and alignment == "resample"):
            beside[column] = replace(file, count=0)
            continue
        if file.count == 1 and words == "labelled":
            return None  # one slice is labelled: the one that the row stands for
        if file.count != image.count:
            raise InputError(
                f"{manifest.describe_row(row)}: its {column} has {count_of(file.count, 'slice')}, "
                f"the image {image.count}",
                f"give a {column} of the image's slices, or pass --slices middle",
            )
        beside[column] = file
    if "boxes" in manifest.table and not isinstance(manifest.table["boxes"].iloc[row], float):
        raise InputError(
            f"{manifest.describe_row(row)}: its boxes do not say of which of {image.count} slices they are",
            "name the slice of the image ('scan.nii.gz#axis=2&index=80'), or pass --slices middle",
        )
    return _Stack(row, image, beside, alignment)


def _file(manifest: Manifest, row: int, column: str, image: _File | None = None) -> _File | None:
    """The file of a cell, sliced as the image is; None where it cannot be read, which is said elsewhere."""
    text = str(manifest.table[column].iloc[row])
    form = format_of_name(Path(split_reference(text)[0]))
    ref = ImageRef.parse(text, manifest.root)
    if form not in _OF_SEVERAL:
        return _File(ref, form or "", 1)
    if image is not None and image.form == form == "nifti" and ref.axis is None and ref.onto is None:
        ref = replace(ref, axis=image.ref.axis)
    try:
        form, count = slices_of(ref)
        if form == "dicom" and column != "image" and placed_by(ref)[0] == SEGMENTATION:
            form = SEGMENTATION
        return _File(ref, form, count)
    except BrokenImageError:
        return None


def _spread(count: int, words: str) -> list[int]:
    """Every slice, or every Nth, with as much left out before the first as after the last."""
    step = 1 if words == "all" else int(words.removeprefix(_EVERY))
    return list(range((count - 1) % step // 2, count, step))


def _labelled(manifest: Manifest, stacks: Sequence[_Stack]) -> list[list[int] | None]:
    """For each stack the slices where a mask holds something; None where its masks cannot be read."""
    masks = [column for column in path_columns(manifest.table) if _is_mask(column)]
    if not masks:
        raise InputError(
            f"{manifest.source}: several slices in {count_of(len(stacks), 'image')}, and no column 'mask' says which of "
            "them are labelled",
            "name the masks with --mask COLUMN, or pass --slices all, middle or every:N",
        )
    workers = 0 if len(stacks) < _FEW else usable_cores()
    labelled: list[list[int] | None] = []
    with bar("looking for labelled slices", len(stacks)) as progress:
        for indices in in_processes(_slices_with_labels, stacks, workers, lambda stack: None, chunk=2):
            labelled.append(indices)
            progress.advance()
    if not any(indices is None or indices for indices in labelled):
        raise InputError(
            f"{manifest.source}: no slice of {count_of(len(stacks), 'volume')} is labelled: all masks are 0 or missing",
            "check the column of the masks, or pass --slices all",
        )
    return labelled


def _slices_with_labels(stack: _Stack) -> list[int] | None:
    count = stack.image.count
    labelled = np.zeros(count, bool)
    try:
        for index in range(count):
            labelled[index] = any(
                (np.abs(read_image(mask, empty=True).values()) > _NOTHING).any()
                for mask in stack.masks_of(index)
            )
    except BrokenImageError:
        return None
    return np.flatnonzero(labelled).tolist()


def _is_mask(column: str) -> bool:
    return column == "mask" or column.startswith(MASKS_PREFIX)


def _unfolded(manifest: Manifest, chosen: Mapping[int, tuple[_Stack, list[int]]], words: str) -> Manifest:
    rows: list[int] = []
    origins: list[str] = []
    cells: dict[str, list[object]] = {
        column: manifest.table[column].tolist() for column in path_columns(manifest.table)
    }
    slices: dict[str, list[object]] = {column: [] for column in cells}
    for row in range(len(manifest)):
        stack, indices = chosen.get(row, (None, []))
        where = manifest.origins[row] if manifest.origins else ""
        if stack is None:
            rows.append(row)
            origins.append(where)
            for column, texts in slices.items():
                texts.append(cells[column][row])
            continue
        rows += [row] * len(indices)
        origins += [f"{where}, slice {index}" for index in indices]
        for column, texts in slices.items():
            file = stack.image if column == "image" else stack.beside.get(column)
            texts += [str(file.slice(index)) if file else cells[column][row] for index in indices]
    made = replace(manifest.subset(rows), origins=origins if manifest.origins else [])
    return made.with_columns([_note([*chosen.values()], words)], **slices)


def _note(chosen: Sequence[tuple[_Stack, list[int]]], words: str) -> str:
    images = sum(len(indices) for _, indices in chosen)
    slices = sum(stack.image.count for stack, _ in chosen)
    empty = sum(not indices for _, indices in chosen)
    text = (
        f"{count_of(len(chosen), 'volume')} of {count_of(slices, 'slice')} became {count_of(images, 'image')} "
        f"(--slices {words}); the slices of a volume are of one patient"
    )
    return f"{text}; {count_of(empty, 'volume')} without a labelled slice left out" if empty else text
