"""Reads TIFF and BigTIFF: of several pages the first by default.

Pillow decodes what it represents exactly; OpenCV the rest (16-bit and floating-point colour, 64-bit). Both turn
the image upright by themselves.
"""

from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from modicum.data.image import MedicalImage, Source
from modicum.data.readers.content import format_of_name
from modicum.data.readers.intensity import TURNED
from modicum.data.readers.raster import Decoded, finish, opencv_page, pillow_values
from modicum.data.readers.request import Request, Unreadable

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR, _KIND = (
    256,
    257,
    258,
    259,
    262,
    274,
    277,
    284,
    339,
)
# The standard's default of each (TIFF 6.0, section 8); a size has none.
_DEFAULTS = {
    _WIDTH: 0,
    _HEIGHT: 0,
    _BITS: 1,
    _COMPRESSION: 1,
    _PHOTOMETRIC: 1,
    _ORIENTATION: 1,
    _SAMPLES: 1,
    _PLANAR: 1,
    _KIND: 1,
}
_TYPES = {(1, 32, 1): np.uint32, (2, 8, 1): np.int8}
_MAX_PAGES = 100_000
_RARE = {
    6: "JPEG of before TIFF 6.0",
    22610: "JPEG XR",
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    34676: "SGI LogLuv",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    50001: "WebP",
    50002: "JPEG XL",
}
"""Compressions (tag 259) that decoders are often built without: then they say no more than that something is damaged."""


def read_tiff(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads one page of a TIFF file.

    Raises:
        Unreadable: unusable content; other exceptions come from the decoders and mean damaged data.
    """
    request.allow_only("a TIFF image", "frame")
    directories = _directories(file)
    page = request.choose("frame", request.ref.frame, len(directories), 0)
    tags = directories[page]
    height, width = tags[_HEIGHT], tags[_WIDTH]
    request.check_size(height, width)
    bits = tags[_BITS]
    values: Decoded | None
    try:
        values, mode = _page(file, page, tags)
    except MemoryError:
        raise
    except Exception:
        if (compression := _RARE.get(tags[_COMPRESSION])) is None:
            raise
        values = None
    if values is None:
        raise Unreadable(
            f"is a TIFF whose pixels are compressed as {compression}, which no installed decoder reads: save it with LZW "
            "or without compression"
        )
    orientation = tags[_ORIENTATION]
    if orientation in TURNED:
        height, width = width, height
    source = Source(
        path=request.ref.path,
        format="tiff",
        bits=bits,
        mode=mode,
        height=height,
        width=width,
        slices=len(directories),
        mislabelled=format_of_name(request.ref.path) not in (None, "tiff"),
        orientation=str(orientation) if orientation != 1 else None,
    )
    image = finish(values, source, request)
    if tags[_PHOTOMETRIC] != 0:
        return image
    # Zero is white. Up to 8 bits Pillow has inverted it already.
    pixels = 1 - image.pixels if bits > 8 else image.pixels
    return replace(image, pixels=pixels, value_range=image.value_range[::-1])


def _page(file: BinaryIO, page: int, tags: dict[int, int]) -> tuple[Decoded, str]:
    """The values of a page, and their kind."""
    bits, samples, kind = tags[_BITS], tags[_SAMPLES], tags[_KIND]
    if bits == 64 or (samples > 1 and (bits > 8 or kind == 3)):
        if tags[_PLANAR] == 2:
            raise Unreadable(
                "is a TIFF of more than 8 bits with its colours in separate planes, not supported"
            )
        file.seek(0)
        values = opencv_page(file.read(), page)
        # OpenCV silently converts unknown kinds to 8 bits.
        if values.dtype.itemsize * 8 != bits or values[0, 0].size != samples:
            raise Unreadable(f"is a TIFF of {samples} x {bits} bits a pixel, which is not supported")
        mode = f"{'L' if samples == 1 else 'RGBA'[:samples]};{bits}"
    else:
        values, mode = _pillow_page(file, page, bits)
        # Pillow treats 32-bit integers as signed and 8-bit ones as unsigned, ignoring the file.
        if (kind, bits, samples) in _TYPES:
            values = values.view(_TYPES[kind, bits, samples])
    return values, mode


def size_of_first_page(file: BinaryIO) -> tuple[int, int]:
    """Rows and columns of the page that is read by default, as stored."""
    first = _directories(file)[0]
    return first[_HEIGHT], first[_WIDTH]


def pages_of_one_size(file: BinaryIO) -> int:
    """The number of pages; 1 where they differ in size."""
    pages = _directories(file)
    return len(pages) if len({(page[_HEIGHT], page[_WIDTH]) for page in pages}) == 1 else 1


def _pillow_page(file: BinaryIO, page: int, bits: int) -> tuple[Decoded, str]:
    file.seek(0)
    try:
        image = TiffImagePlugin.TiffImageFile(file)
        if page:
            image.seek(page)
    except SyntaxError:
        # Pillow does not support this combination of bits, byte order and meaning; OpenCV may.
        file.seek(0)
        values = opencv_page(file.read(), page)
        if values.dtype.itemsize * 8 != bits or bits == 8:  # 8 bits would silently be inverted, or not
            raise Unreadable("is a TIFF of a rare kind that is not supported") from None
        return values, str(values.dtype)
    return pillow_values(image)


def _directories(file: BinaryIO) -> list[dict[int, int]]:
    """The required integer tags of each page."""
    file.seek(0)
    head = file.read(16)
    directory = TiffImagePlugin.ImageFileDirectory_v2(
        head if head[2:3] == b"+" or head[3:4] == b"+" else head[:8]
    )
    directories: list[dict[int, int]] = []
    seen: set[int] = set()
    while directory.next and directory.next not in seen and len(directories) < _MAX_PAGES:
        seen.add(directory.next)
        file.seek(directory.next)
        directory.load(file)
        directories.append({tag: _whole(directory.get(tag), default) for tag, default in _DEFAULTS.items()})
    if not directories:
        raise Unreadable("is a TIFF file without any page, or ends too early (truncated)")
    return directories


def _whole(value: object, default: int) -> int:
    """The first number of a tag with one, several, or no numbers."""
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, int) else default
