"""Retinal vessels: DRIVE, STARE, CHASE_DB1 and HRF as released, and prepared ``image``, ``mask``, ``roi``.

Files are matched by name without the suffixes of their kind, never by order.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import (
    any_name,
    images_in,
    inside,
    keyed,
    names_in,
    stem_of,
    subfolders,
)
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row, files_for

_DRIVE = r"\d\d_(?:training|test)\.(?:tiff?|png|jpg)"
_STARE = r"(im\d{4})"
_CHASE = r"image_(\d\d[lr])"
_HRF = r"(\d\d_(?:h|g|dr))"
# Suffixes after the common name of an image, its mask and its field of view.
_ENDINGS = r"(?:_training|_test|_manual\d|_mask|_1stHO|_2ndHO|\.ah|\.vk|_roi|_fov|_gt)*"
_NAME = rf"(.+?){_ENDINGS}"
IMAGE_FOLDER, MASK_FOLDER, FIELD_FOLDER = "image", "mask", "roi|fov"


def is_drive(folder: Path) -> bool:
    """``training/images/21_training.tif``."""
    parts = [inside(folder, part, "images") for part in ("training", "test")]
    return any(part is not None and any_name(part, _DRIVE) for part in parts)


def read_drive(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads DRIVE: 20 training and 20 test images; newer downloads have no masks of the test images."""
    result = LayoutRows([])
    for part, split in (("training", "train"), ("test", "test")):
        images = inside(folder, part, "images")
        if images is not None:
            rows, notes = _paired(
                images_in(images),
                {
                    "mask": (inside(folder, part, "1st_manual"), True),
                    "fov": (inside(folder, part, "mask"), True),
                    "mask_second_annotator": (inside(folder, part, "2nd_manual"), False),
                },
            )
            result.rows += [{**row, "split": split} for row in rows]
            result.notes += notes
    return _named("DRIVE", result)


def is_stare(folder: Path) -> bool:
    """``im0001.ppm`` and ``im0001.ah.ppm``, together or in folders ``stare-images``, ``labels-ah``, ``labels-vk``."""
    labels = r"im\d{4}\.(ah|vk)\..+"
    return any_name(folder, labels) or any(
        any_name(folder / name, labels)
        for name in names_in(folder)
        if re.fullmatch("labels-(ah|vk)", name, re.I)
    )


def read_stare(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads STARE: the 20 images with vessels, of the first annotator (``ah``), otherwise the second (``vk``)."""
    files = images_in(folder, deep=True)
    images = keyed(files, _STARE)
    first, second = keyed(files, rf"{_STARE}\.ah"), keyed(files, rf"{_STARE}\.vk")
    notes = []
    rows: list[Row] = []
    for key, path in images.items():
        if key in first or key in second:
            rows.append(
                {
                    "image": path,
                    "mask": first.get(key) or second[key],
                    "mask_second_annotator": second.get(key),
                }
            )
    if len(rows) < len(images):
        notes.append(f"left out: {len(images) - len(rows)} images without vessels")
    if any(key in images and key not in first for key in second):
        notes.append("vessels are the second annotator's (vk) where the first's (ah) are missing")
    return _named("STARE", LayoutRows(_halved(rows, "STARE"), notes))


def is_chase(folder: Path) -> bool:
    """``Image_01L.jpg`` next to ``Image_01L_1stHO.png``."""
    return any_name(folder, rf"{_CHASE}_1stHO\.png") and any_name(folder, rf"{_CHASE}\.(jpe?g|tiff?|png)")


def read_chase(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads CHASE_DB1: both eyes of 14 children; as usual, the first 20 images train and the last 8 test."""
    files = images_in(folder)
    images = keyed(files, _CHASE)
    masks, notes = files_for(images, keyed(files, rf"{_CHASE}_1stHO"), "mask", required=True)
    second, _ = files_for(images, keyed(files, rf"{_CHASE}_2ndHO"), "second mask")
    rows: list[Row] = [
        {"image": path, "mask": masks[key], "mask_second_annotator": second[key]}
        for key, path in images.items()
    ]
    if len(rows) == 28:
        rows = [{**row, "split": "train" if at < 20 else "test"} for at, row in enumerate(rows)]
        notes.append("split as usual: the first 20 images train, the last 8 test")
    return _named("CHASE_DB1", LayoutRows(rows, notes))


def is_hrf(folder: Path) -> bool:
    """``images/01_dr.JPG`` and ``manual1/01_dr.tif``."""
    images, manual = inside(folder, "images"), inside(folder, "manual1")
    return images is not None and manual is not None and any_name(images, rf"{_HRF}\.jpe?g")


def read_hrf(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads HRF: 15 healthy eyes, 15 with glaucoma, 15 with diabetic retinopathy; the first five of each train."""
    rows, notes = _paired(
        [
            path
            for path in images_in(inside(folder, "images") or folder)
            if re.fullmatch(_HRF, stem_of(path), re.I)
        ],
        {"mask": (inside(folder, "manual1"), True), "fov": (inside(folder, "mask"), False)},
    )
    if len(rows) == 45:
        first = [int(stem_of(Path(str(row["image"])))[:2]) <= 5 for row in rows]
        rows = [
            {**row, "split": "train" if is_first else "test"}
            for row, is_first in zip(rows, first, strict=True)
        ]
        notes.append("split as usual: the first five of each group train, the others test")
    return _named("HRF", LayoutRows(rows, notes))


def is_prepared(folder: Path) -> bool:
    """Folders ``image`` and ``mask`` (and ``roi``), directly or in ``train`` and ``test``, with equal file names."""
    for part in [folder, *_parts(folder)]:
        images, masks = inside(part, IMAGE_FOLDER), inside(part, MASK_FOLDER)
        if images is not None and masks is not None and set(_keys(images)) & set(_keys(masks)):
            return True
    return False


def read_prepared(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads ``{train,test}/{image,mask,roi}``; the 20 images of STARE without parts are split in the middle."""
    result = LayoutRows([])
    parts = [part for part in _parts(folder) if inside(part, IMAGE_FOLDER)]
    for part in parts or [folder]:
        rows, notes = read_part(part)
        split = split_of(part.name) if parts else None
        result.rows += [{**row, "split": split} for row in rows]
        result.notes += notes
    name = usual_name(folder.absolute().name)
    if name == "STARE" and not parts:
        result.rows = _halved(result.rows, "STARE")
    return _named(name, result)


def read_part(folder: Path) -> tuple[list[Row], list[str]]:
    """Reads one folder with ``image``, ``mask`` and optionally ``roi``; returns rows and notes."""
    images = inside(folder, IMAGE_FOLDER)
    return _paired(
        images_in(images) if images is not None else [],
        {"mask": (inside(folder, MASK_FOLDER), True), "fov": (inside(folder, FIELD_FOLDER), True)},
    )


def usual_name(name: str) -> str:
    """A data set's usual name, from that of its folder."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    usual_names = {"chase": "CHASE_DB1", "chasedb1": "CHASE_DB1", "chasedb": "CHASE_DB1"}
    return usual_names.get(plain, name.upper() if plain in ("drive", "stare", "hrf") else name)


def _parts(folder: Path) -> list[Path]:
    return [part for part in subfolders(folder) if split_of(part.name)]


def _keys(folder: Path) -> list[str]:
    names = [re.fullmatch(_NAME, stem_of(Path(name)), re.IGNORECASE) for name in names_in(folder)]
    return [match[1].lower() for match in names if match]


def _paired(
    images: Sequence[Path], folders: Mapping[str, tuple[Path | None, bool]]
) -> tuple[list[Row], list[str]]:
    """Rows of images with their masks: for each column its folder, and whether each image must have a file."""
    rows: dict[Path, Row] = {path: {"image": path} for path in images}
    notes = []
    for column, (folder, required) in folders.items():
        files = images_in(folder) if folder is not None else []
        if not files:
            continue
        # Suffixes are removed only if necessary: they may be part of the names.
        same = {stem_of(path).lower() for path in images} <= {stem_of(path).lower() for path in files}
        names = "(.+)" if same else _NAME
        keys = keyed(images, names)
        files_by_key, more_notes = files_for(
            keys, keyed(files, names), column.replace("fov", "field of view"), required
        )
        notes += more_notes
        for key, path in files_by_key.items():
            rows[keys[key]][column] = path
    return list(rows.values()), notes


def _halved(rows: Sequence[Row], name: str) -> list[Row]:
    """The usual split of 20 images in natural order: ten train, ten test."""
    if len(rows) != 20:
        return list(rows)
    return [{**row, "split": "train" if at < 10 else "test"} for at, row in enumerate(rows)]


def _named(name: str, result: LayoutRows) -> LayoutRows:
    """Adds the domain, and patient and eye if the names contain them."""
    rows: list[Row] = []
    for row in result.rows:
        eyes = re.match(_CHASE, stem_of(Path(str(row["image"]))), re.IGNORECASE)
        whose: Row = {"patient": f"{name}-{eyes[1][:2]}", "eye": eyes[1][2].upper()} if eyes else {}
        rows.append({**row, **whose, "domain": name})
    result.rows = rows
    return result
