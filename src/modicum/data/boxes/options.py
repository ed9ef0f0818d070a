"""How boxes are read where there is a choice."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from modicum.errors import InputError, did_you_mean

_CHOICES = {
    "units": ("pixels", "normalised"),
    "format": ("xyxy", "xywh", "cxcywh"),
    "exif": ("applied", "ignored"),
    "outside": ("refuse", "drop"),
    "unmatched": ("refuse", "drop"),
}

_NUMBERS = {"min_side": "1", "max_side": "128", "border": "5", "above_score": "0.8"}


@dataclass(frozen=True)
class BoxOptions:
    """How boxes are read where there is a choice.

    Attributes:
        units: ``pixels``, or ``normalised``: shares of the image's width and height. None: what the format prescribes
            (COCO: pixels, YOLO: normalised), else recognised by the numbers where these leave no doubt.
        format: what the four numbers of a box are: ``xyxy``, ``xywh`` (the corner at the top left, width, height) or
            ``cxcywh`` (the centre). None: what the format prescribes (COCO: xywh, YOLO: cxcywh), what a table's columns
            are called, and xyxy for lists.
        exif: whether boxes were drawn with an image's EXIF orientation ``applied``, as viewers show it, or ``ignored``,
            on the pixels as they lie in the file. Where a file of boxes says the image's width and height, these decide.
        outside: a box that is wholly outside its image, has no area or holds NaN is an error (``refuse``), or is left
            out and counted (``drop``).
        unmatched: boxes of an image that the data do not have are an error (``refuse``), or are left out and counted.
        min_side: boxes of which a side is shorter than this many pixels of the stored image are left out and counted.
        max_side: boxes of which a side is longer than this many pixels of the stored image; None keeps all.
        border: boxes that come as near as this many pixels to the edge of the stored image; None keeps all.
        above_score: boxes whose score is this or lower; None keeps all. Boxes without a score are kept.
    """

    units: str | None = None
    format: str | None = None
    exif: str = "applied"
    outside: str = "refuse"
    unmatched: str = "refuse"
    min_side: float | int = 1.0
    max_side: float | int | None = None
    border: float | int | None = None
    above_score: float | int | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed and not (value is None and name in ("units", "format")):
                raise InputError(f"box option {name} is '{value}'", f"use one of {', '.join(allowed)}")
        for name, example in _NUMBERS.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise InputError(f"box option {name} is {value}", f"give a number, such as {example}")

    @classmethod
    def of(cls, given: "BoxOptions | Mapping[str, Any] | None") -> "BoxOptions":
        """Options from a mapping, as a recipe holds them.

        Raises:
            InputError: an option or its value is not known.
        """
        if isinstance(given, BoxOptions):
            return given
        names = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in names:
                raise InputError(f"'{name}' is not a box option", did_you_mean(str(name), names))
        return cls(**(given or {}))

    @classmethod
    def parse(cls, text: str) -> dict[str, Any]:
        """``outside=drop,min_side=2`` as a mapping that :meth:`of` takes.

        Raises:
            InputError: it is not such a text, or an option or its value is not known.
        """
        options: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not value:
                raise InputError(f"box option '{part}' is not KEY=VALUE", "write for instance outside=drop")
            options[name] = value
        for key, example in _NUMBERS.items():
            if key in options:
                try:
                    options[key] = float(options[key])
                except ValueError:
                    raise InputError(
                        f"box option {key} is '{options[key]}'", f"give a number, such as {example}"
                    ) from None
        cls.of(options)
        return options
