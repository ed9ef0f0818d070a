"""What is said of files of several slices of which one stands for all."""

from collections.abc import Sequence
from pathlib import Path

from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts
from modicum.data.manifest import Manifest
from modicum.data.readers import nifti_header
from modicum.errors import BrokenImageError
from modicum.wording import count_of


def slice_notes(manifest: Manifest, facts: Sequence[ImageFacts | None]) -> list[str]:
    """What is left out of files of which one slice stands for all; nothing where there are none.

    Args:
        manifest: the images.
        facts: of each row's image; None of unreadable ones.
    """
    counts = [
        fact.slices
        for text, fact in zip(manifest.table["image"], facts, strict=True)
        if fact is not None and fact.slices > 1 and names_no_slice(text, fact)
    ]
    series = _series_notes(manifest, facts)
    if not counts:
        return series
    return [
        *series,
        f"{_holding(len(counts), len(manifest))} several slices ({sum(counts)} together), of which one "
        "each is read: the middle one (of a TIFF or GIF the first page); --slices all, labelled or every:N reads others",
    ]


def _series_notes(manifest: Manifest, facts: Sequence[ImageFacts | None]) -> list[str]:
    """What is left out of NIfTI series (of times, of weightings) of which no volume is named."""
    paths: dict[Path, None] = {}
    for text, fact in zip(manifest.table["image"], facts, strict=True):
        if fact is not None and fact.format == "nifti":
            ref = ImageRef.parse(text, manifest.root)
            if ref.frame is None and ref.array is None:
                paths[ref.path] = None
    counts = []
    for path in paths:
        try:
            shape = nifti_header(path).shape
        except BrokenImageError:
            continue  # is said where it is read
        if len(shape) > 3 and shape[3] > 1:
            counts.append(shape[3])
    if not counts:
        return []
    return [
        f"{count_of(len(counts), 'file')} hold series of volumes ({sum(counts)} together), of which the first one each "
        "is read: name others ('#frame=1')"
    ]


def names_no_slice(text: str, facts: ImageFacts) -> bool:
    """Whether a reference leaves open which slice of its file is meant."""
    return leaves_slice_open(ImageRef.parse(text), facts.format)


def leaves_slice_open(ref: ImageRef, form: str) -> bool:
    """Whether a reference into a file of a format names none of its slices."""
    if ref.index is not None or ref.array is not None or ref.onto is not None:
        return False
    return ref.frame is None or form == "nifti"  # there a frame is a volume of a series


def _holding(count: int, total: int) -> str:
    return f"{count_of(count, 'image')} of {total} {'holds' if count == 1 else 'hold'}"


def middle_note(count: int, total: int) -> list[str]:
    """What is said of images whose middle slice stands for all in a prediction; nothing where there are none."""
    if not count:
        return []
    return [
        f"{_holding(count, total)} several slices, of which one each is predicted: the middle one (of "
        "a TIFF or GIF the first page); --slices all or every:N predicts others"
    ]
