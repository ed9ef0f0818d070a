"""The image types: a reference to an image, and a decoded image with pixels in [0, 1] and spacing."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from jaxtyping import Float, UInt8

from modicum.data.plane import Grid, Plane

_NUMBERS = ("frame", "axis", "index", "segment")
_PLAIN = re.compile(r"[^./\\:#][^/\\:#]*(/[^./\\:#][^/\\:#]*)*")
"""Relative paths that are their own text form: no part, nothing absolute, hidden, doubled or upwards."""


@dataclass(frozen=True)
class ImageRef:
    """A reference to a 2-D image: a file, and a part of it if the file has several images.

    As text, the part follows a ``#``: ``scans/a.nii.gz#axis=2&index=80``, ``multi.dcm#frame=3``,
    ``data.npz#array=train_images&index=5``, ``seg.dcm#segment=2``. A ``#`` that is not followed by such a
    part belongs to the file's name. A file whose name ends like a part gets one more ``#`` in the text, so that texts are
    unambiguous.

    Attributes:
        path: the file.
        frame: index of the frame (DICOM), page (TIFF), or volume of a series (4-D NIfTI), from 0.
        axis: NIfTI only: axis across which to slice, 0 left-right, 1 back-front, 2 foot-head.
        index: the slice along ``axis`` (NIfTI), or the item of ``array`` (NPZ), from 0.
        array: NPZ only: the array's name.
        segment: DICOM segmentation objects only: the number of the segment that is meant, as 1 and 0.
        onto: the grid of another image that this one is brought onto, as :class:`~modicum.data.plane.Grid` writes it.
        root: the folder that the text form omits; not part of the image's identity.
    """

    path: Path
    frame: int | None = None
    axis: int | None = None
    index: int | None = None
    array: str | None = None
    segment: int | None = None
    onto: str | None = None
    root: Path | None = field(default=None, compare=False, repr=False)
    _text: str | None = field(default=None, init=False, compare=False, repr=False)
    """The text form where it is known already: of many images, paths are a good part of the work."""

    @classmethod
    def parse(cls, text: str, root: Path | None = None) -> "ImageRef":
        """Parses the text form. A relative path is relative to ``root``, if set."""
        name, part = _split(text)
        parsed = cls(path=Path(name) if root is None else root / name, root=root, **part)
        if _PLAIN.fullmatch(text):
            object.__setattr__(parsed, "_text", text)
        return parsed

    def __str__(self) -> str:
        """The text form, with ``/`` between folders, relative to ``root`` if the file is below it."""
        if self._text is not None:
            return self._text
        path = self.path
        if self.root is not None and path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        name = path.as_posix()
        if self.part:
            return name + self.part
        return f"{name}#" if _ambiguous(name) else name

    @property
    def part(self) -> str:
        """The part of the file as text: ``#axis=2&index=80``; empty for the whole file."""
        parts = [] if self.array is None else [f"array={quote(self.array)}"]
        parts += [f"{key}={value}" for key in _NUMBERS if (value := getattr(self, key)) is not None]
        parts += [] if self.onto is None else [f"onto={self.onto}"]
        return f"#{'&'.join(parts)}" if parts else ""


def _part(text: str) -> dict | None:
    """Parses ``axis=2&index=80`` to a dictionary; None for other texts."""
    selection: dict = {}
    for item in text.split("&"):
        key, equals, value = item.partition("=")
        if not equals or key in selection or not value:
            return None
        if key == "array":
            selection[key] = unquote(value)
        elif key == "onto" and Grid.is_text(value):
            selection[key] = value
        elif key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 10:
            selection[key] = int(value)
        else:
            return None
    return selection


def _split(text: str) -> tuple[str, dict]:
    name, mark, rest = text.rpartition("#")
    if mark and not rest and _ambiguous(name):
        return name, {}
    part = _part(rest) if mark and name else None
    return (text, {}) if part is None else (name, part)


def _ambiguous(name: str) -> bool:
    """Whether a file's name would be parsed as a name and a part."""
    while name.endswith("#"):
        name = name[:-1]
    front, mark, rest = name.rpartition("#")
    return bool(mark and front) and _part(rest) is not None


@dataclass(frozen=True)
class Source:
    """Properties of an image in its file.

    Attributes:
        path: the file.
        format: format of the content, independent of the name: png, jpeg, tiff, bmp, webp, gif, pnm, dicom,
            nifti or npz.
        bits: bits per sample as stored.
        mode: the pixel type as named in the file: ``L``, ``RGB``, ``MONOCHROME2``, ``float32``.
        height: rows of the 2-D image, upright, before any reduced decoding.
        width: columns of the same.
        slices: number of frames, pages, slices along the axis, or items in the file.
        mislabelled: whether the file's suffix is of another format than its content.
        orientation: the file's axis codes (NIfTI, for instance ``LAS``) or EXIF orientation (``1`` to ``8``),
            already applied to the pixels.
        spacing_from: the field of the spacing. ``ImagerPixelSpacing`` is measured at the
            detector, so that the body, nearer to the tube, is smaller than it states.
    """

    path: Path
    format: str
    bits: int
    mode: str
    height: int
    width: int
    slices: int = 1
    mislabelled: bool = False
    orientation: str | None = None
    spacing_from: str | None = None


@dataclass(frozen=True, eq=False)
class MedicalImage:
    """A decoded 2-D image.

    Attributes:
        pixels: float32 in [0, 1], C-contiguous; one channel (grey) or three (red, green, blue).
        spacing: millimetres between rows and between columns of the image in its file, or None where not
            known.
        source: what it was in its file.
        value_range: what 0 and 1 stand for in the file's own units (grey levels, Hounsfield units, ...). The
            first is the larger where the file shows large values dark (MONOCHROME1).
        plane: where the image in its file lies in the patient; None where the file does not say.
        palette: of a palette image, the index of each pixel and the colours (red, green, blue), which masks use as codes.
    """

    pixels: Float[np.ndarray, "channels height width"]
    spacing: tuple[float, float] | None
    source: Source
    value_range: tuple[float, float]
    plane: Plane | None = None
    palette: tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "colours 3"]] | None = None

    def values(self) -> Float[np.ndarray, "channels height width"]:
        """The pixels in the file's units. Values clipped by a window stay at its ends."""
        zero, one = self.value_range
        return (zero + self.pixels.astype(np.float64) * (one - zero)).astype(np.float32)
