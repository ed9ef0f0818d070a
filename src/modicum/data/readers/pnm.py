"""Reads PBM, PGM and PPM (the family PNM), binary and plain, also zipped (``im0001.ppm.gz``, as in STARE).

Decisions: the header's maximum value is white, as the format specifies, unless the image is grey with more than
8 bits (see :mod:`modicum.data.readers.intensity`). In PBM 1 is black. Of a file with several images the first is read.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from modicum.data.image import MedicalImage, Source
from modicum.data.readers.content import format_of_name
from modicum.data.readers.intensity import to_unit
from modicum.data.readers.raster import finish
from modicum.data.readers.request import Request, Unreadable

_HEADER = 1024  # bytes; room for the usual comments of programs
_TOKEN = re.compile(rb"(?:#[^\r\n]*|\s)*([^\s#]+)")
_DAMAGED = "the PNM data are damaged or incomplete"
_SHORT = "ends too early: the PNM data are truncated"


def read_pnm(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads a PBM, PGM or PPM file.

    Raises:
        Unreadable: the header is invalid, or there are fewer pixels than it declares.
    """
    request.allow_only("such an image", "frame")
    request.choose("frame", request.ref.frame, 1, 0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if packed:
        with gzip.GzipFile(fileobj=file) as inside:
            return _read(inside.read, request)
    return _read(file.read, request)


def _read(read: Callable[[int], bytes], request: Request) -> MedicalImage:
    head = read(_HEADER)
    kind = head[1:2].decode()
    height, width, white, start = _header(head, kind)
    request.check_size(height, width)
    samples = 3 if kind in "36" else 1
    # Not more than a plain file of this size can need: the rest is another image.
    limit = 8 * (height * width * samples + _HEADER)
    data = head[start:] + read(limit)
    shape = (height, width, samples) if samples > 1 else (height, width)
    values = _plain(data, shape, kind) if kind in "123" else _binary(data, shape, kind, white)
    if int(values.max()) > white:
        raise Unreadable(_DAMAGED)
    if kind in "14":
        values = 1 - values
    bits = white.bit_length()
    source = Source(
        path=request.ref.path,
        format="pnm",
        bits=bits,
        mode=f"P{kind}",
        height=height,
        width=width,
        mislabelled=format_of_name(request.ref.path) not in (None, "pnm"),
    )
    if bits > 8 and samples == 1:
        return finish(values, source, request)
    ends = (0.0, float(white))
    return MedicalImage(to_unit(values, *ends), None, source, ends)


def _header(head: bytes, kind: str) -> tuple[int, int, int, int]:
    """Height, width, the value of white, and the offset of the pixels."""
    numbers = []
    start = 2
    for _ in range(2 if kind in "14" else 3):
        token = _TOKEN.match(head, start)
        if not token or not token[1].isdigit() or len(token[1]) > 9:
            raise Unreadable(_DAMAGED)
        numbers.append(int(token[1]))
        start = token.end()
    width, height, white = numbers if len(numbers) == 3 else (*numbers, 1)
    if not 0 < white < 65536:
        raise Unreadable(_DAMAGED)
    return height, width, white, start + 1  # one blank after the header


def _binary(data: bytes, shape: tuple[int, ...], kind: str, white: int) -> Shaped[np.ndarray, "..."]:
    if kind == "4":  # eight pixels per byte, each row begins with a new byte
        height, width = shape
        row = -(-width // 8)
        packed = np.frombuffer(_enough(data, height * row), np.uint8).reshape(height, row)
        return np.unpackbits(packed, axis=1, count=width)
    dtype = np.dtype(">u2" if white > 255 else np.uint8)
    count = int(np.prod(shape))
    values = np.frombuffer(_enough(data, count * dtype.itemsize), dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _enough(data: bytes, wanted: int) -> bytes:
    if len(data) < wanted:
        raise Unreadable(_SHORT)
    return data[:wanted]


def _plain(data: bytes, shape: tuple[int, ...], kind: str) -> Shaped[np.ndarray, "..."]:
    """Parses numbers as text; in PBM the digits need no blanks between them."""
    text = re.sub(rb"#[^\r\n]*", b"", data)
    words = _digits(text) if kind == "1" else text.split()
    numbers: list[int] = []
    for word in words:
        if len(numbers) == np.prod(shape):
            break
        if not word.isdigit() or len(word) > 5:
            raise Unreadable(_DAMAGED)
        numbers.append(int(word))
    if len(numbers) < np.prod(shape):
        raise Unreadable(_SHORT)
    if max(numbers) > 65535:
        raise Unreadable(_DAMAGED)
    return np.array(numbers, np.uint16 if max(numbers) > 255 else np.uint8).reshape(shape)


def _digits(text: bytes) -> Iterator[bytes]:
    return (text[at : at + 1] for at in range(len(text)) if not text[at : at + 1].isspace())
