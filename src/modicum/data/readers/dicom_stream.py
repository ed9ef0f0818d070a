"""Checks of a DICOM file's pixel data before a decoder sees them: their size, their kind, their end."""

from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from modicum.data.readers.codestream import declared_size, stream_kind, unusual_jpeg
from modicum.data.readers.request import Unreadable

_FAMILIES = ("JPEG 2000", "JPEG-LS", "JPEG XL", "JPEG")  # the last is part of the others' names


def check_stream(source: Any, start: int, header: Dataset, frame: int, frames: int) -> None:
    """Checks a frame's compressed stream before it is decoded.

    Args:
        source: the file, or its whole data set.
        start: of the pixel data in the file.
        header: of the file.
        frame: which of its frames.
        frames: how many it has.

    Raises:
        Unreadable: it declares another size than the header, or is of another kind than the transfer syntax says.
    """
    if isinstance(source, Dataset):
        buffer: Any = source.PixelData
    else:
        buffer = source
        buffer.seek(start + 12)  # behind tag, kind and undefined length
    table: Any = None
    if "ExtendedOffsetTable" in header:
        table = header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths
    stream = get_frame(buffer, frame, number_of_frames=frames, extended_offsets=table)
    _check_kind(stream, pydicom.uid.UID(header.file_meta.TransferSyntaxUID))
    declared = declared_size(stream)
    if declared is None:
        return
    height, width, samples = declared
    if (height, width) != (header.Rows, header.Columns) or samples > 4:
        raise Unreadable(
            f"its compressed pixel data declare {height} x {width} x {samples} values, "
            f"its header {header.Rows} x {header.Columns}: damaged"
        )


def _check_kind(stream: bytes, syntax: pydicom.uid.UID) -> None:
    """Raises where a stream is of another family than its transfer syntax says: decoders may make anything of it."""
    kind = stream_kind(stream)
    if (
        kind == "JPEG"
        and syntax == pydicom.uid.JPEGBaseline8Bit
        and (what := unusual_jpeg(stream)) is not None
    ):
        raise Unreadable(
            f"its pixel data are {what}, its transfer syntax says '{syntax.name}', which has 8 bits"
        )
    named = next((family for family in _FAMILIES if family in syntax.name), None)
    if kind is not None and named is not None and kind != named:
        raise Unreadable(
            f"its pixel data are {kind}, its transfer syntax says '{syntax.name}': one of the two is wrong"
        )


def check_bare(file: BinaryIO, start: int, syntax: pydicom.uid.UID) -> None:
    """Raises where the pixel data of an uncompressed syntax are in fragments, as compressed ones are (PS3.5, A.4)."""
    file.seek(start)
    head = file.read(2**16)
    if b"\xfe\xff\x00\xe0" not in head[:20]:
        return
    first = (head.find(magic) for magic in (b"\xff\xd8\xff", b"\xff\x4f\xff\x51"))
    kind = next((kind for at in first if at >= 0 and (kind := stream_kind(head[at:]))), "compressed")
    raise Unreadable(f"its pixel data are {kind}, its transfer syntax says '{syntax.name}' (uncompressed)")


def check_end(whole: Dataset, frame: int, frames: int) -> None:
    """Raises Unreadable for a JPEG stream without its end, which GDCM would fill up with grey."""
    stream = get_frame(whole.PixelData, frame, number_of_frames=frames)
    if b"\xff\xd9" not in stream.rstrip(b"\0")[-4:]:  # encoders add a byte or two to make the length even
        raise Unreadable("finds it damaged")
