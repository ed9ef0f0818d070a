"""Boxes of COCO's JSON: annotations, or results of a detector (https://cocodataset.org/#format-data)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modicum.data.boxes.box_file import BoxFile
from modicum.data.boxes.boxes import count_of_boxes
from modicum.data.boxes.given import GivenBoxes, edges_of, image_size
from modicum.data.boxes.options import BoxOptions
from modicum.errors import InputError

_REMEDY = "see cocodataset.org/#format-data for the format"
# Of each annotation: what it is called in messages, and its content.
_Annotations = list[tuple[str, Mapping[str, Any]]]


def is_coco(document: Any) -> bool:
    """Whether a JSON document has COCO's annotations, or is a list of a detector's results."""
    if isinstance(document, list):
        return bool(document) and all(
            isinstance(one, Mapping) and {"image_id", "bbox"} <= one.keys() for one in document
        )
    return isinstance(document, Mapping) and all(
        isinstance(document.get(key), list) for key in ("images", "annotations")
    )


def read_coco(document: Any, name: str, options: BoxOptions) -> BoxFile:
    """Boxes of a COCO document: ``bbox`` is x, y, width, height in pixels, measured from the image's outer corner.

    A list of results has no names of images: there the ``image_id`` counts as the name without its ending. Boxes around
    crowds (``iscrowd``) are left out and counted.

    Raises:
        InputError: it contradicts the format; with the annotation.
    """
    results = isinstance(document, list)
    images, sizes = ({}, {}) if results else _images(document["images"], name)
    classes = None if results else _categories(document.get("categories"), name)
    of_image: dict[str, _Annotations] = {image: [] for image in images.values()}
    crowds = 0
    for number, one in enumerate(document if results else document["annotations"]):
        if not isinstance(one, Mapping):
            raise InputError(f"{name}: annotation number {number + 1} is '{one}'", _REMEDY)
        what = f"annotation {one['id']}" if "id" in one else f"entry {number + 1}"
        if one.get("iscrowd"):
            crowds += 1
            continue
        of_image.setdefault(_image_of(one, images, results, f"{name} {what}"), []).append((what, one))
    by_image = {
        image: _boxes(some, sizes.get(image), classes, name, options) for image, some in of_image.items()
    }
    _refuse_shares(by_image, name, options)
    notes = [f"{name}: left out: {count_of_boxes(crowds)} around crowds (iscrowd)"] if crowds else []
    return BoxFile(name, by_image, {image: f"{name} image '{image}'" for image in by_image}, notes)


def _images(entries: Sequence[Any], name: str) -> tuple[dict[Any, str], dict[str, tuple[int, int]]]:
    """Names of images by their ids, and heights and widths by their names."""
    images: dict[Any, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    named: dict[str, Any] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or "id" not in entry or not isinstance(entry.get("file_name"), str):
            raise InputError(f"{name}: an image is {str(entry)[:60]}, without id or file_name", _REMEDY)
        key, file = entry["id"], entry["file_name"]
        if key in images:
            raise InputError(f"{name}: two images have the id {key}", "give each its own")
        if file in named:
            raise InputError(
                f"{name}: images {named[file]} and {key} are both '{file}'", "keep one image a file"
            )
        images[key], named[file] = file, key
        if entry.get("height") is not None and entry.get("width") is not None:
            sizes[file] = image_size(entry["height"], entry["width"], f"{name} image {key}")
    return images, sizes


def _categories(entries: Any, name: str) -> dict[Any, str]:
    """Names of classes by their ids; empty where the document names none."""
    classes: dict[Any, str] = {}
    for entry in entries or ():
        if not isinstance(entry, Mapping) or "id" not in entry:
            raise InputError(f"{name}: a category is {str(entry)[:60]}, without id", _REMEDY)
        if entry["id"] in classes:
            raise InputError(f"{name}: two categories have the id {entry['id']}", "give each its own")
        classes[entry["id"]] = str(entry.get("name", entry["id"]))
    return classes


def _image_of(one: Mapping[str, Any], images: Mapping[Any, str], results: bool, place: str) -> str:
    key = one.get("image_id")
    if results:
        return str(key)
    if key not in images:
        raise InputError(f"{place}: there is no image of id {key}", "add the image, or delete the annotation")
    return images[key]


def _boxes(
    annotations: _Annotations,
    size: tuple[int, int] | None,
    classes: Mapping[Any, str] | None,
    name: str,
    options: BoxOptions,
) -> GivenBoxes:
    numbers, names = np.zeros((len(annotations), 4)), []
    for at, (what, one) in enumerate(annotations):
        box = one.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise InputError(f"{name} {what}: its bbox is {str(box)[:60]}", "write [x, y, width, height]")
        numbers[at] = box
        names.append(_class_of(one, classes, f"{name} {what}"))
    scores = [one.get("score") for _, one in annotations]
    named = [name for name in names if name is not None]
    if len(named) not in (0, len(names)):
        raise InputError(f"{name}: some boxes have no category_id", "give one to each, or to none")
    if (given := sum(score is not None for score in scores)) not in (0, len(scores)):
        raise InputError(f"{name}: {len(scores) - given} boxes have no score", "give one to each, or to none")
    return GivenBoxes(
        edges_of(numbers, options.format or "xywh"),
        options.units or "pixels",
        tuple(named) if named else None,
        np.array(scores, np.float64) if scores and given else None,
        size,
        name,
        tuple(what for what, _ in annotations),
    )


def _class_of(one: Mapping[str, Any], classes: Mapping[Any, str] | None, place: str) -> str | None:
    key = one.get("category_id")
    if key is None or not classes:
        return None if key is None else str(key)
    if key not in classes:
        raise InputError(f"{place}: there is no category of id {key}", "add it to the categories")
    return classes[key]


def _refuse_shares(images: Mapping[str, GivenBoxes], name: str, options: BoxOptions) -> None:
    """COCO's boxes are in pixels; a file of shares would give images full of boxes of one pixel."""
    edges = [one.xyxy for one in images.values() if len(one)]
    if options.units is not None or not edges:
        return
    every = np.concatenate(edges)
    if np.nanmax(every, initial=-np.inf) <= 1 and (every != np.rint(every)).any():
        raise InputError(
            f"{name}: no box reaches beyond 1, as if they were shares of the image, and COCO's are pixels",
            "say what they are with --box-options units=normalised or units=pixels",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
