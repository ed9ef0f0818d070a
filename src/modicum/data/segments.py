"""DICOM segmentations in the column ``mask``: what is said of them, and a column a segment where segments overlap.

A mask of codes holds one segment a pixel. Where an object says that its segments overlap, or its frames do, all of the
data set become columns ``masks:LABEL``, by the labels of the segments: multi-label.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, split_reference
from modicum.data.readers import segments_of
from modicum.data.readers.content import format_of_name
from modicum.data.roles import MASKS_PREFIX
from modicum.errors import BrokenImageError
from modicum.progress import track
from modicum.wording import count_of, listed

if TYPE_CHECKING:
    from modicum.data.readers.segmentation import Segments


def with_segments(manifest: Manifest) -> Manifest:
    """A column a segment where segmentation objects in the column ``mask`` overlap, with notes; else as it is.

    It stays as it is too where other masks stand beside them, in the same column or as ``masks:CLASS``: reading an object
    that overlaps is then refused, and a segment can be named (``seg.dcm#segment=2``).
    """
    if "mask" not in manifest.table:
        return manifest
    texts = manifest.table["mask"].tolist()
    objects = _objects(texts, manifest.root)
    if not objects:
        return manifest
    fractional = sum(held.kind == "FRACTIONAL" for held in objects.values())
    notes = []
    if fractional:
        notes.append(
            f"{count_of(fractional, 'DICOM segmentation')} with fractions: what is marked is half of the largest value "
            "(MaximumFractionalValue) and more"
        )
    others = any(isinstance(text, str) and text not in objects for text in texts)
    classes = any(str(name).startswith(MASKS_PREFIX) for name in manifest.table)
    if others or classes or not any(held.overlap for held in objects.values()):
        return manifest.with_columns(notes)
    numbers = {text: _numbers(held) for text, held in objects.items()}
    labels = list(dict.fromkeys(label for one in numbers.values() for label in one))
    columns: dict[str, list[str | float]] = {
        f"{MASKS_PREFIX}{label}": [_cell(text, numbers, label) for text in texts] for label in labels
    }
    overlapping = count_of(sum(held.overlap for held in objects.values()), "DICOM segmentation")
    notes.append(
        f"segments of {overlapping} overlap: a mask each "
        f"({listed([f'masks:{label}' for label in labels])}), several may be marked in a pixel"
    )
    separate = replace(manifest, table=manifest.table.drop(columns="mask"))
    return separate.with_columns(notes, **columns)


def _objects(texts: list[object], root: Path) -> "dict[str, Segments]":
    """The segmentation objects among cells, apart from those of which a part is named."""
    places = list(dict.fromkeys(text for text in texts if isinstance(text, str) and _may_be(text)))
    objects = {}
    for text in track(places, "Looking for segmentations", len(places)) if len(places) > 100 else places:
        try:
            held = segments_of(ImageRef.parse(text, root))
        except BrokenImageError:
            continue  # is said where it is read
        if held is not None:
            objects[text] = held
    return objects


def _may_be(text: str) -> bool:
    name, part = split_reference(text)
    return not part and format_of_name(Path(name)) in ("dicom", None)


def _numbers(held: "Segments") -> dict[str, int]:
    """Numbers by label; labels that several segments have get the number too."""
    names = list(held.labels.values())
    return {
        (label if names.count(label) == 1 else f"{label} {number}"): number
        for number, label in sorted(held.labels.items())
    }


def _cell(text: object, numbers: dict[str, dict[str, int]], label: str) -> str | float:
    number = numbers[text].get(label) if isinstance(text, str) else None
    return float("nan") if number is None else f"{text}#segment={number}"
