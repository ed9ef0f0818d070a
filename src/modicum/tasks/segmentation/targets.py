"""What the values of masks mean.

A mask file holds one whole number a pixel, its *code*. :class:`MaskCodes` says which codes belong to which class, and
turns masks into the channels that networks learn:

=============  =====================================================================================================
``binary``     one channel; without further word every code but 0 belongs to the class
``multi-class``  one channel a class, exclusive; channel 0 is the background
``multi-label``  one channel a class, which may overlap: ranges of codes of one file, or one binary file a class
=============  =====================================================================================================

Codes that no class and not the background claims are errors, never silently background: a resized mask has such codes
at its edges. Codes that are *ignored* count nowhere, neither in losses nor in metrics.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from modicum.errors import InputError
from modicum.tasks.segmentation.class_names import BACKGROUND
from modicum.wording import listed

Kind = Literal["binary", "multi-class", "multi-label"]
Range = tuple[int, int]
"""First and last code, both included."""

LEVELS = 256
EXAMPLE = "codes such as {'cup': '0-50', 'disc': '0-200', 'background': '201-255'}"
"""What a user may write, for messages."""


@dataclass(frozen=True)
class MaskCodes:
    """Which codes belong to which class.

    Args:
        kind: ``binary``, ``multi-class`` or ``multi-label``.
        classes: names of the channels, in order; for ``multi-class`` the first is the background.
        codes: the ranges of each class. The background's are under :data:`BACKGROUND`, where it has codes of its own.
        ignored: ranges of codes that count nowhere.

    Raises:
        InputError: a class without codes, codes beyond 0 to 255, or codes of two exclusive classes.
    """

    kind: Kind
    classes: tuple[str, ...]
    codes: Mapping[str, tuple[Range, ...]]
    ignored: tuple[Range, ...] = field(default=())

    def __post_init__(self) -> None:
        without = [name for name in self.classes if not self.codes.get(name)]
        if without:
            raise InputError(
                f"class '{without[0]}' has no codes in the masks", f"name its codes, such as {EXAMPLE}"
            )
        unknown = [name for name in self.codes if name not in (*self.classes, BACKGROUND)]
        if unknown:
            raise InputError(
                f"codes of '{unknown[0]}' belong to no class", f"the classes are {', '.join(self.classes)}"
            )
        if self.kind != "multi-label":
            claims = np.stack([among(ranges) for ranges in (*self.codes.values(), self.ignored)]).sum(0)
            if claims.max() > 1:
                code = int(claims.argmax())
                raise InputError(
                    f"code {code} of the masks has two meanings",
                    "give each code one class, or use kind 'multi-label', whose classes may overlap",
                )

    @property
    def exclusive(self) -> bool:
        """A pixel belongs to exactly one channel (softmax), the first of which is the background."""
        return self.kind == "multi-class"

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the predicted classes, without the background."""
        return self.classes[1:] if self.exclusive else self.classes

    @cached_property
    def table(self) -> Bool[np.ndarray, "256 channels"]:
        """Which code is in which channel."""
        return np.stack([among(self.codes[name]) for name in self.classes], axis=1)

    @cached_property
    def counted(self) -> Bool[np.ndarray, "256"]:
        """Which codes have a meaning and are not ignored."""
        background = among(self.codes.get(BACKGROUND, ()))
        return (self.table.any(1) | background) & ~among(self.ignored)

    @cached_property
    def unknown(self) -> Bool[np.ndarray, "256"]:
        """Which codes have no meaning and are not ignored."""
        return ~self.counted & ~among(self.ignored)

    def check(self, mask: UInt8[np.ndarray, "height width"], place: str) -> None:
        """Raises :class:`~modicum.errors.InputError` for a code without meaning.

        Args:
            mask: codes as the file has them.
            place: description of the mask for messages, for instance ``data.csv row 17: mask 'a.png'``.
        """
        present = np.bincount(mask.ravel(), minlength=LEVELS) > 0
        self.validate_label_values(present, place)

    def validate_label_values(self, held: Bool[np.ndarray, "256"], place: str) -> None:
        """As :meth:`check`, from the codes that occur in a mask."""
        unknown = np.flatnonzero(held & self.unknown)
        if len(unknown):
            meant = "; ".join(f"{name} {_shown(ranges)}" for name, ranges in self.codes.items())
            raise InputError(
                f"{place} has pixels of code {listed(unknown)}, which has no meaning ({meant})",
                "name all codes with the option 'codes', or ignore some with 'ignored'; a mask that was resized must "
                "be resized again, with nearest-neighbour interpolation",
            )

    def channels(
        self, mask: UInt8[np.ndarray, "height width"], place: str = "the mask"
    ) -> tuple[Bool[np.ndarray, "channels height width"], Bool[np.ndarray, "height width"]]:
        """The channels of one mask, and where it counts. Raises as :meth:`check`."""
        self.check(mask, place)
        return np.ascontiguousarray(self.table.T)[:, mask], self.counted[mask]

    def assembled(
        self, codes: UInt8[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b channels h w"], Bool[Tensor, "b 1 h w"]]:
        """The channels of checked masks as float32, and where they count, on the masks' own device.

        Pixels that do not count, and those whose code has no meaning, are 0 in every channel.
        """
        values = codes[:, 0].long()
        table = torch.from_numpy(self.table).to(codes.device, torch.float32)
        counted = torch.from_numpy(self.counted).to(codes.device)
        table = table * counted.unsqueeze(1)
        return table[values].permute(0, 3, 1, 2).contiguous(), counted[values].unsqueeze(1)

    def as_dict(self) -> dict[str, Any]:
        """For a run folder; :meth:`from_dict` is the inverse."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "codes": {name: [list(pair) for pair in ranges] for name, ranges in self.codes.items()},
            "ignored": [list(pair) for pair in self.ignored],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaskCodes":
        return cls(
            values["kind"],
            tuple(values["classes"]),
            {name: tuple((pair[0], pair[1]) for pair in ranges) for name, ranges in values["codes"].items()},
            tuple((pair[0], pair[1]) for pair in values["ignored"]),
        )


def written_mask(
    regions: Bool[np.ndarray, "channels height width"], kind: str
) -> UInt8[np.ndarray, "height width"]:
    """Predicted regions as one mask to write.

    ``binary``: 0 and 255. ``multi-class``: the number of the class. ``multi-label``: the sum of 1, 2, 4, ... of the
    classes at a pixel.

    Raises:
        InputError: more than 8 classes that may overlap.
    """
    if kind == "binary":
        return regions[0].astype(np.uint8) * np.uint8(255)
    if kind == "multi-class":
        return regions.argmax(0).astype(np.uint8)
    if len(regions) > 8:
        raise InputError(
            f"{len(regions)} classes that may overlap do not fit into one mask of 8 bits",
            "train on at most 8, or on classes that exclude each other",
        )
    return np.packbits(regions, axis=0, bitorder="little")[0]


def among(ranges: Iterable[Range]) -> Bool[np.ndarray, "256"]:
    """Which codes are in any of the ranges. Raises :class:`~modicum.errors.InputError` for ends beyond 0 to 255."""
    inside = np.zeros(LEVELS, bool)
    for first, last in ranges:
        if not 0 <= first <= last < LEVELS:
            raise InputError(
                f"codes {first} to {last} of masks",
                f"give whole numbers from 0 to {LEVELS - 1}, the smaller first",
            )
        inside[first : last + 1] = True
    return inside


def _shown(ranges: Iterable[Range]) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def many_levels(held: Bool[np.ndarray, "rows 256"]) -> list[str]:
    """A caution where fields of view hold dark and bright levels, as after JPEG, whose noise counts as inside."""
    noisy = int((held[:, 1:128].any(1) & held[:, 128:].any(1)).sum())
    if not noisy:
        return []
    return [
        f"caution: {noisy} of {len(held)} fields of view hold levels between 0 and their brightest, as JPEG makes them: "
        "whatever is not 0 counts as inside (save them as PNG with two levels)"
    ]
