"""What a file of boxes says: of which images, and which boxes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modicum.data.boxes.given import EXAMPLE, GivenBoxes, from_value, with_units
from modicum.data.boxes.options import BoxOptions
from modicum.errors import InputError


@dataclass(frozen=True, eq=False)
class BoxFile:
    """Boxes by image.

    Attributes:
        name: of the file, for messages.
        images: boxes by what the file calls the image: a path, a name, or a name without ending.
        places: where each image is first named, for messages.
        notes: what was decided or left out.
    """

    name: str
    images: dict[str, GivenBoxes]
    places: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def place(self, image: str) -> str:
        """Where an image is first named."""
        return self.places.get(image, self.name)


def settled(box_file: BoxFile) -> BoxFile:
    """The same with units for all boxes, and a note where these were recognised by the numbers.

    Raises:
        InputError: they cannot be.
    """
    given, units = with_units(
        list(box_file.images.values()), [box_file.place(image) for image in box_file.images], box_file.name
    )
    notes = [] if units is None else [f"{box_file.name}: boxes are read as {said_units(units)}"]
    images = dict(zip(box_file.images, given, strict=True))
    return replace(box_file, images=images, notes=[*box_file.notes, *notes])


def said_units(units: str) -> str:
    """Units in words."""
    return "pixels" if units == "pixels" else "shares of the image's width and height"


def read_mapping(document: Mapping[Any, Any], name: str, options: BoxOptions) -> BoxFile:
    """Boxes of a mapping: ``{image: [[x0, y0, x1, y1], ...]}``, or ``{image: {"boxes": [...], "classes": [...]}}``.

    Args:
        document: the mapping.
        name: of it, for messages.
        options: how it is read.

    Raises:
        InputError: it is no such mapping, with the image.
    """
    images: dict[str, GivenBoxes] = {}
    for image, value in document.items():
        place = f"{name}: image '{image}'"
        if isinstance(value, Mapping) and not value.keys() & {"boxes", "xyxy"}:
            raise InputError(
                f"{place} has no 'boxes'", f"give one mapping of image to {EXAMPLE}, for all images together"
            )
        boxes = from_value(value, place, options)
        images[str(image)] = replace(boxes, source=boxes.source or f"{place} box")
    return settled(BoxFile(name, images, {image: f"{name}: image '{image}'" for image in images}))
