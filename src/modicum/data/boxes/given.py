"""Boxes of an image as a file gives them, before the image's size is known, and as the text of a table's cell."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from modicum.data.boxes.options import BoxOptions
from modicum.errors import InputError, did_you_mean

EXAMPLE = "[[x0, y0, x1, y1], ...]"
# In JSON, by what others call them too.
_KEYS = {
    "boxes": "boxes",
    "xyxy": "boxes",
    "classes": "classes",
    "class_names": "classes",
    "labels": "classes",
    "scores": "scores",
    "units": "units",
    "format": "format",
    "size": "size",
    "upright": "upright",
    "source": "source",
    "numbers": "numbers",
}
# Edges of shares of an image that were rounded may be a little over 1.
_LARGEST_SHARE = 1.01
_SURELY_PIXELS = 2.0
_PLAIN = {int, float}


@dataclass(frozen=True, eq=False)
class GivenBoxes:
    """What a file says of one image's boxes.

    Attributes:
        xyxy: edges x0, y0, x1, y1.
        units: ``pixels`` or ``normalised``; None where the file does not say.
        class_names: of each box, or None.
        scores: of each box, or None.
        size: height and width of the image, where the file says them.
        source: what was read, for messages about a box: ``lesions.csv row``; empty for a manifest's own cell.
        numbers: of each box, to go after ``source``; empty where boxes are counted from 1.
        upright: whether they are surely those of the upright image, whatever its EXIF orientation.
    """

    xyxy: Float64[np.ndarray, "n 4"]
    units: str | None = None
    class_names: tuple[str, ...] | None = None
    scores: Float64[np.ndarray, "n"] | None = None
    size: tuple[int, int] | None = None
    source: str = ""
    numbers: tuple[int | str, ...] = ()
    upright: bool = False

    def __len__(self) -> int:
        return len(self.xyxy)

    def place(self, index: int, row: str) -> str:
        """Where a box comes from, for messages: ``lesions.csv row 17``, or ``labels.csv row 3: box 2``.

        Args:
            index: of the box.
            row: where the manifest's row comes from.
        """
        number = self.numbers[index] if self.numbers else index + 1
        return f"{self.source} {number}" if self.source else f"{row}: box {number}"

    def to_cell(self) -> str:
        """The text of a table's cell that :func:`from_cell` reads."""
        cell: dict[str, Any] = {"boxes": _short(self.xyxy)}
        cell["format"] = "xyxy"
        if self.units is not None:
            cell["units"] = self.units
        if self.class_names is not None:
            cell["classes"] = list(self.class_names)
        if self.scores is not None:
            cell["scores"] = _short(self.scores)
        if self.size is not None:
            cell["size"] = list(self.size)
        if self.source:
            cell["source"] = self.source
        if self.numbers:
            cell["numbers"] = list(self.numbers)
        if self.upright:
            cell["upright"] = True
        return json.dumps(cell, ensure_ascii=False)


def is_json(text: str) -> bool:
    """Whether a cell's text is meant as JSON, and not as a file's name."""
    return text.lstrip().startswith(("[", "{"))


def from_cell(text: str, place: str, options: BoxOptions) -> GivenBoxes:
    """Boxes of the JSON text of a cell, or of a small file.

    Raises:
        InputError: it is not JSON, or not boxes; with the place.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{place}: its boxes are not JSON ({error})", f"write {EXAMPLE}") from None
    return from_value(value, place, options)


def from_value(value: Any, place: str, options: BoxOptions) -> GivenBoxes:
    """Boxes of ``[[x0, y0, x1, y1], ...]``, or of ``{"boxes": [...], "classes": [...], "scores": [...]}``.

    Raises:
        InputError: it is neither; with the place.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Mapping):
        return GivenBoxes(_edges(value, place, options), options.units)
    parts: dict[str, Any] = {}
    for key, part in value.items():
        if key not in _KEYS:
            raise InputError(f"{place}: '{key}' is not known of boxes", did_you_mean(str(key), _KEYS))
        parts[_KEYS[key]] = part.tolist() if isinstance(part, np.ndarray) else part
    if "boxes" not in parts:
        raise InputError(f"{place}: there are no 'boxes'", f'write {{"boxes": {EXAMPLE}}}')
    stated = {name: parts[name] for name in ("units", "format") if parts.get(name) is not None}
    options = BoxOptions.of({**vars(options), **stated})
    edges = _edges(parts["boxes"], place, options)
    names, scores, size = parts.get("classes"), parts.get("scores"), parts.get("size")
    for what, values in (("classes", names), ("scores", scores), ("numbers", parts.get("numbers"))):
        if values is not None and (not isinstance(values, list | tuple) or len(values) != len(edges)):
            count = len(values) if isinstance(values, list | tuple) else "no list of"
            raise InputError(f"{place}: {count} {what} for {len(edges)} boxes", "give one for each box")
    return GivenBoxes(
        edges,
        options.units,
        None if names is None else tuple(str(name) for name in names),
        None if scores is None else np.array([_number(score, place) for score in scores], np.float64),
        None if size is None else image_size(size[0], size[1], place),
        str(parts.get("source", "")),
        tuple(parts.get("numbers", ())),
        parts.get("upright") is True,
    )


def edges_of(numbers: Float64[np.ndarray, "n 4"], format: str) -> Float64[np.ndarray, "n 4"]:
    """x0, y0, x1, y1 of boxes in the formats ``xyxy``, ``xywh`` and ``cxcywh`` (see :class:`BoxOptions`)."""
    if format == "xyxy":
        return numbers
    first, size = numbers[:, :2], numbers[:, 2:]
    if format == "cxcywh":
        first = first - size / 2
    return np.concatenate([first, first + size], axis=1)


def image_size(height: Any, width: Any, place: str) -> tuple[int, int]:
    """An image's height and width as a file of boxes says them.

    Raises:
        InputError: they are not whole numbers above 0.
    """
    sides = [_number(side, place) for side in (height, width)]
    if not all(np.isfinite(side) and side >= 1 and side.is_integer() for side in sides):
        raise InputError(
            f"{place}: the image's size is {width} x {height}", "give its width and height in pixels"
        )
    return int(sides[0]), int(sides[1])


def with_units(
    given: Sequence[GivenBoxes], places: Sequence[str], source: str
) -> tuple[list[GivenBoxes], str | None]:
    """Boxes whose files do not say the units, with what their numbers leave no doubt about; and what that is.

    All edges up to 1 are shares of the image, where some are not whole; an edge above 2 is a pixel's.

    Raises:
        InputError: there is doubt, or some boxes look as if they were in other units than the rest.
    """
    open_ones = [one for one in given if one.units is None and len(one)]
    edges = np.concatenate([one.xyxy for one in open_ones]) if open_ones else np.zeros((0, 4))
    edges = edges[np.isfinite(edges).all(axis=1)]
    units = None
    if len(edges):
        units = _recognised(edges, source)
        if units == "pixels":
            _refuse_shares(given, places)
    return [one if one.units else replace(one, units=units or "pixels") for one in given], units


def _recognised(edges: Float64[np.ndarray, "n 4"], source: str) -> str:
    highest = edges.max()
    if highest > _SURELY_PIXELS:
        return "pixels"
    if highest <= _LARGEST_SHARE and (edges != np.rint(edges)).any():
        return "normalised"
    raise InputError(
        f"{source}: whether its boxes are in pixels or shares of the image is not clear (no edge is above {highest:g})",
        "say it with --box-options units=pixels or units=normalised",
    )


def _refuse_shares(given: Sequence[GivenBoxes], places: Sequence[str]) -> None:
    for one, place in zip(given, places, strict=True):
        if one.units is not None:
            continue
        share = ((one.xyxy >= 0) & (one.xyxy <= 1)).all(axis=1) & (one.xyxy != np.rint(one.xyxy)).any(axis=1)
        for index in np.flatnonzero(share)[:1].tolist():
            box = ", ".join(f"{edge:g}" for edge in one.xyxy[index])
            raise InputError(
                f"{one.place(index, place)}: the box {box} looks like shares of the image, others are in pixels",
                "write all in the same units, or say them with --box-options units=pixels",
            )


def _edges(value: Any, place: str, options: BoxOptions) -> Float64[np.ndarray, "n 4"]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{place}: boxes are '{value}'", f"write {EXAMPLE}")
    numbers = np.zeros((len(value), 4))
    if all(type(box) is list and len(box) == 4 and {*map(type, box)} <= _PLAIN for box in value):
        numbers[:] = np.array(value, np.float64).reshape(-1, 4)  # as most are: many times quicker
        return edges_of(numbers, options.format or "xyxy")
    for index, box in enumerate(value):
        box = box.tolist() if isinstance(box, np.ndarray) else box
        if not isinstance(box, list | tuple) or len(box) != 4:
            raise InputError(
                f"{place}: box {index + 1} is {str(box)[:40]}, not four numbers", f"write {EXAMPLE}"
            )
        numbers[index] = [_number(edge, f"{place}: box {index + 1}") for edge in box]
    return edges_of(numbers, options.format or "xyxy")


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputError(f"{place}: '{value}' is not a number", "write a number")
    return float(value)


def _short(values: np.ndarray) -> list[Any]:
    """Numbers as a person would write them: a ten-thousandth of a pixel is close enough, a share has eight digits."""
    rounded = np.where(np.abs(values) > _SURELY_PIXELS, np.round(values, 4), np.round(values, 8))
    return [
        [_plain(value) for value in row] if isinstance(row, list) else _plain(row) for row in rounded.tolist()
    ]


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value
