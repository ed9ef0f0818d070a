"""Facts of an image without its pixels: file, size, statistics of grey levels, thumbnail."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from modicum.data.fundus_crop import Box
from modicum.data.grey_levels import grey_levels, quantised
from modicum.data.image import ImageRef, MedicalImage, Source
from modicum.data.resize import resized

THUMBNAIL = 32
_MOST_VALUES = 100_000
_Bytes = bytes  # the name is a field below


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one image.

    Attributes:
        ref: the image's reference in the manifest.
        sha256: hash of the file's content; for a part of a file, of the file's hash and the part.
        bytes: size of the file.
        format, bits, mode, height, width, slices, mislabelled: see :class:`modicum.data.image.Source`.
        mean, std: of the grey levels, in [0, 1].
        low, high: their 1st and 99th percentile.
        spacing: millimetres between rows and between columns, or None if unknown.
        thumbnail: 32 x 32 grey levels of 8 bits, row by row, each the mean over its area.
        orientation: the EXIF orientation (1 to 8) that reading has applied; 1 where the file has none. None in facts of
            earlier versions, which did not keep it, as of the next two.
        decoded: height and width that the image was decoded at.
        cropped: the part that was cut out of it before resizing, in pixels as decoded: left, top, right, bottom. None
            for all of it.
        plane: the nine numbers of the image's :class:`~modicum.data.plane.Plane`; None where the file has none.
    """

    ref: str
    sha256: str
    bytes: int
    format: str
    bits: int
    mode: str
    height: int
    width: int
    slices: int
    mislabelled: bool
    mean: float
    std: float
    low: float
    high: float
    spacing: tuple[float, float] | None
    thumbnail: _Bytes
    orientation: int | None = None
    decoded: tuple[int, int] | None = None
    cropped: tuple[int, int, int, int] | None = None
    plane: tuple[float, ...] | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "ImageFacts":
        """From a row of a file, where tuples are lists; what it does not have is not known."""
        lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
        # A set of 400,000 images has a handful of formats: one text each instead of one an image.
        words = {name: sys.intern(row[name]) for name in ("format", "mode") if type(row.get(name)) is str}
        return cls(**{**row, **lists, **words})

    def as_row(self) -> dict[str, Any]:
        """The fields by name, without copies of their values; the inverse of :meth:`of_row`."""
        return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(field.name for field in fields(ImageFacts))


def facts_of(
    image: MedicalImage, ref: str, file_sha256: str, file_bytes: int, cropped: Box | None = None
) -> ImageFacts:
    """The facts of an image that was read, perhaps at a reduced size (``at_least`` of ``read_image``).

    Args:
        image: the image.
        ref: its reference in the manifest.
        file_sha256: hash of the content of its file, in hexadecimal.
        file_bytes: size of the file.
        cropped: the part that was cut out, in pixels of ``image``.
    """
    part = ImageRef.parse(ref).part
    digest = hashlib.sha256((file_sha256 + part).encode()).hexdigest() if part else file_sha256
    grey = grey_levels(image.pixels)
    # Evenly spaced values of a large image give the same percentiles, faster.
    few = grey.ravel()[:: max(1, grey.size // _MOST_VALUES)]
    low, high = np.percentile(few, (1, 99))
    source = image.source
    return ImageFacts(
        ref=ref,
        sha256=digest,
        bytes=file_bytes,
        format=source.format,
        bits=source.bits,
        mode=source.mode,
        height=source.height,
        width=source.width,
        slices=source.slices,
        mislabelled=source.mislabelled,
        mean=float(grey.mean(dtype=np.float64)),
        std=float(grey.std(dtype=np.float64)),
        low=float(low),
        high=float(high),
        spacing=image.spacing,
        thumbnail=picture_of(grey, THUMBNAIL).tobytes(),
        orientation=exif_orientation_of(source),
        decoded=(image.pixels.shape[1], image.pixels.shape[2]),
        cropped=None if cropped is None else (cropped.left, cropped.top, cropped.right, cropped.bottom),
        plane=None if image.plane is None else image.plane.numbers(),
    )


def exif_orientation_of(source: Source) -> int:
    """1 to 8; 1 where the format has none (that of a volume is a matter of its axes)."""
    orientation = source.orientation
    return int(orientation) if orientation is not None and orientation.isdigit() else 1


def picture_of(grey: Float32[np.ndarray, "height width"], side: int) -> UInt8[np.ndarray, "{side} {side}"]:
    """Resizes to a square 8-bit image by area averaging; the aspect ratio is not kept."""
    return quantised(resized(grey[None], side, side))[0]
