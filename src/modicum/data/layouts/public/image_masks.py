"""Images and masks in two folders of common names: ``images`` and ``masks``, ``imagesTr`` and ``labelsTr``."""

import re
from collections.abc import Mapping
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.file_finder import comparable, without_ending
from modicum.data.layouts.monai import is_datalist
from modicum.data.layouts.public.contents import images_in, inside, names_in, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row, files_for
from modicum.data.layouts.table import table_in
from modicum.data.readers.content import format_of_name
from modicum.errors import InputError
from modicum.wording import count_of

_IMAGES = r"images?|imgs?|jpegimages"
_MASKS = (
    r"masks?|labels?|annotations?|segmentations?|segmentationclass|segs?|gts?|ground[_ ]?truths?|labelmaps?"
)
_ENDINGS = re.compile(r"[_-](masks?|segmentation|seg|gt|labels?|groundtruth)$")
_CHANNEL = re.compile(r"_(\d{4})$")


def is_image_masks(folder: Path) -> bool:
    """``images`` and ``masks`` (or other usual names), directly or in ``train`` and ``test``, of common names.

    A table with a column of images says more, and is not overruled.
    """
    if not any(_is_part(part) for part in (folder, *_parts(folder))):
        return False
    return table_in(folder) is None and not any(is_datalist(path) for path in folder.glob("*.json"))


def read_image_masks(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Rows with a mask each; a part that has no masks at all, as published test sets have none, is set aside."""
    rows = LayoutRows([])
    parts = [part for part in _parts(folder) if inside(part, _IMAGES)]
    for part in parts if not _is_part(folder) else [folder]:
        images, masks = _keyed(inside(part, _IMAGES)), _keyed(inside(part, _MASKS))
        if not masks:
            rows.notes.append(f"left out: {count_of(len(images), 'image')} of '{part.name}', without masks")
            continue
        split = split_of(part.name) if part != folder else None
        _add(rows, images, masks, split)
    return rows


def is_images_tr(folder: Path) -> bool:
    """``imagesTr`` and ``labelsTr`` of the Decathlon and nnU-Net, without a data list that says more."""
    both = inside(folder, "imagesTr") is not None and inside(folder, "labelsTr") is not None
    return both and not any(is_datalist(path) for path in folder.glob("*.json"))


def read_images_tr(folder: Path, options: LayoutOptions) -> LayoutRows:
    """``imagesTr`` with ``labelsTr`` to train; ``imagesTs`` to test where ``labelsTs`` is there, else set aside.

    Raises:
        InputError: cases have several channels, which cannot be read yet.
    """
    rows = LayoutRows([])
    for end, split in (("Tr", "train"), ("Ts", "test")):
        images, masks = _keyed(inside(folder, f"images{end}")), _keyed(inside(folder, f"labels{end}"))
        if images and not masks:
            rows.notes.append(f"left out: {count_of(len(images), 'image')} of 'images{end}', without labels")
        elif images:
            _add(rows, _without_channel(images), masks, split)
    return rows


def _add(rows: LayoutRows, images: Mapping[str, Path], masks: Mapping[str, Path], split: str | None) -> None:
    paired, notes = files_for(images, masks, "mask", required=True)
    rows.notes += notes
    for key, mask in paired.items():
        first = key.partition("/")[0] if "/" in key else ""
        row: Row = {"image": images[key], "mask": mask}
        split_name = split or split_of(first)
        rows.rows.append({**row, "split": split_name} if split_name else row)


def _without_channel(images: Mapping[str, Path]) -> dict[str, Path]:
    """Cases of nnU-Net: ``case_0000.nii.gz`` is the first channel of ``case``."""
    if not all(_CHANNEL.search(key) for key in images):
        return dict(images)
    for key, path in images.items():
        if not key.endswith("_0000"):
            raise InputError(
                f"'{path.name}' is a further channel of its case; several channels cannot be read yet",
                "give a folder with the channel to use (_0000) alone",
            )
    return {key.removesuffix("_0000"): path for key, path in images.items()}


def _is_part(folder: Path) -> bool:
    images, masks = inside(folder, _IMAGES), inside(folder, _MASKS)
    if images is None or masks is None or images == masks or not (images.is_dir() and masks.is_dir()):
        return False
    first = [path for path in (images, *_parts(images)) if _names(path)]
    second = [path for path in (masks, *_parts(masks)) if _names(path)]
    return any(_names(a) & _names(b) for a in first for b in second)


def _names(folder: Path) -> set[str]:
    return {_key(name) for name in names_in(folder) if format_of_name(Path(name)) not in (None, "other")}


def _keyed(folder: Path | None) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        return {}
    return {_key(path.relative_to(folder).as_posix()): path for path in images_in(folder, deep=True)}


def _key(name: str) -> str:
    return _ENDINGS.sub("", without_ending(comparable(name))[0])


def _parts(folder: Path) -> list[Path]:
    return [part for part in subfolders(folder) if split_of(part.name)]
