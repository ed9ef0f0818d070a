"""Brings what lies beside images (masks, targets, ...) onto their grids, by references that name the grid.

DICOM segmentation objects always: their frames are matched with the images by where they lie, as they leave out what is
empty. Everything else of NIfTI or DICOM where ``resample`` is asked for; else what does not lie where its image does is
refused later (:mod:`modicum.data.same_place`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, path_columns, split_reference
from modicum.data.plane import Grid, Plane, misplaced
from modicum.data.readers import placed_by
from modicum.data.readers.content import format_of_name
from modicum.data.roles import MASKS_PREFIX
from modicum.errors import BrokenImageError, InputError, did_you_mean
from modicum.progress import bar
from modicum.wording import count_of

ALIGNMENTS = ("refuse", "resample")
SEGMENTATION = "segmentation"
RESAMPLED = ("nifti", "dicom")
"""Formats that are resampled where it is asked for."""
# By name; a name without an ending may be anything.
_PLACED = {"refuse": ("dicom", None), "resample": ("nifti", "dicom", None)}
Place = tuple[str, Plane | None, tuple[int, int]]


def check_alignment(word: str) -> str:
    """Returns the word. Raises :class:`~modicum.errors.InputError` unless it is one of :data:`ALIGNMENTS`."""
    if word not in ALIGNMENTS:
        raise InputError(f"--align-geometry '{word}' is unknown", did_you_mean(word, ALIGNMENTS))
    return word


def place_of(ref: ImageRef) -> Place | None:
    """Where an image lies; None where it cannot be read, which is said elsewhere."""
    try:
        return placed_by(ref)
    except BrokenImageError:
        return None


def is_labels(column: str) -> bool:
    """Whether the values of a column's images stand for something."""
    return column in ("mask", "fov") or column.startswith(MASKS_PREFIX)


def onto(
    ref: ImageRef, column: str, plane: Plane, size: tuple[int, int], form: str, alignment: str
) -> ImageRef:
    """A file of a format on the grid of an image."""
    moved = form == SEGMENTATION and alignment == "resample"
    grid = Grid(plane, *size, labels=is_labels(column), resampled=moved)
    # Of a volume all slices are looked at, whichever the reference named.
    return replace(ref, axis=None, index=None, onto=str(grid))


def with_alignment(manifest: Manifest, alignment: str) -> Manifest:
    """References onto the images' grids, with a note of how many; others stay as they are.

    Raises:
        InputError: the word is unknown, or a segmentation object lies beside an image that does not say where it lies.
    """
    check_alignment(alignment)
    forms = _PLACED[alignment]

    def concerns(text: object) -> bool:
        return isinstance(text, str) and format_of_name(Path(split_reference(text)[0])) in forms

    beside = [column for column in path_columns(manifest.table) if column != "image"]
    columns = [column for column in beside if any(map(concerns, manifest.table[column]))]
    if not columns:
        return manifest
    changed = {column: manifest.table[column].tolist() for column in columns}
    counts = dict.fromkeys((SEGMENTATION, *RESAMPLED), 0)
    kinds: dict[ImageRef, Place | None] = {}
    with bar("comparing geometry", len(manifest)) as progress:
        for row, image in enumerate(manifest.refs()):
            for column in columns:
                text = changed[column][row]
                if concerns(text):
                    ref = ImageRef.parse(text, manifest.root)
                    aligned = _aligned(manifest.describe_row(row), image, ref, column, alignment, kinds)
                    if aligned is not None:
                        changed[column][row] = str(aligned[0])
                        counts[aligned[1]] += 1
            progress.advance()
    notes = _notes(counts)
    return manifest.with_columns(notes, **changed) if notes else manifest


def _aligned(
    place: str,
    image: ImageRef,
    ref: ImageRef,
    column: str,
    alignment: str,
    kinds: dict[ImageRef, Place | None],
) -> tuple[ImageRef, str] | None:
    """The reference on the image's grid, and what it is; None where it stays as it is."""
    if ref.onto is not None:
        return None
    if ref not in kinds:
        kinds[ref] = place_of(ref)
    beside = kinds[ref]
    if beside is None or not (
        beside[0] == SEGMENTATION or (beside[0] in RESAMPLED and alignment == "resample")
    ):
        return None
    if image not in kinds:
        kinds.clear()  # images come once, and what lies beside may be of many of them
        kinds[ref] = beside
        kinds[image] = place_of(image)
    image_kind = kinds[image]
    if image_kind is None:
        return None
    form, plane, size = beside
    if image_kind[1] is None or (form == "dicom" and plane is None):
        if form != SEGMENTATION:
            return None
        raise InputError(
            f"{place}: its {column} is a DICOM segmentation, and the image does not say where it lies",
            "name the frame of the image ('seg.dcm#frame=0'), or give DICOM or NIfTI images",
        )
    if (
        plane is not None
        and size == image_kind[2]
        and misplaced((image_kind[1], None), (plane, None), size) is None
    ):
        return None
    return onto(ref, column, image_kind[1], image_kind[2], form, alignment), form


def _notes(counts: dict[str, int]) -> Sequence[str]:
    notes = []
    if counts[SEGMENTATION]:
        notes.append(
            f"{count_of(counts[SEGMENTATION], 'image')} matched with frames of DICOM segmentations by where they lie; "
            "codes are the numbers of segments"
        )
    if resampled := sum(counts[form] for form in RESAMPLED):
        notes.append(
            f"{count_of(resampled, 'file')} beside images resampled to their grids (--align-geometry resample)"
        )
    return notes
