"""Reads a frame of a DICOM file, as a viewer would show it first.

Decisions: stored values go through the modality transformation (rescale or table), then through the requested
window, or the file's VOI table, or the first of its windows, or otherwise the frame's own range (up to 8 bits:
the type's range). MONOCHROME1 is inverted, so that large values are bright in every image. Padding is black and does
not count for the range. Of several frames the middle one is read by default: it shows most of a volume. Overlays are
ignored. Only the tags listed here are read: no patient information enters the program.

Sections (C....) are of the DICOM standard, PS3.3.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from jaxtyping import Float64, Shaped
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, get_decoder, iter_pixels, pixel_array

from modicum.data.image import MedicalImage, Source
from modicum.data.plane import Plane
from modicum.data.readers import gdcm_process
from modicum.data.readers.content import format_of_name
from modicum.data.readers.dicom_stream import check_bare, check_end, check_stream
from modicum.data.readers.dicom_values import grey_pixels, is_empty, numbers, own_units, section, whole_number
from modicum.data.readers.gdcm_process import DECODERS, UNSUPPORTED, WHOLE_FILE
from modicum.data.readers.intensity import to_unit
from modicum.data.readers.request import Request, Unreadable

Stored = Shaped[np.ndarray, "height width *samples"]
_TAGS: list[Any] = [
    *(
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "PlanarConfiguration",
    ),
    *(
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
    ),
    *("Modality", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(
        f"{c}PaletteColorLookupTable{part}"
        for c in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
]
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_PLACE = (
    ("ImagePositionPatient", "PlanePositionSequence", 3),
    ("ImageOrientationPatient", "PlaneOrientationSequence", 6),
    ("PixelSpacing", "PixelMeasuresSequence", 2),
)
_CANNOT, _DAMAGED = "cannot read it", "finds it damaged"
_LAYOUT = ("SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
DEFLATED_BYTES = 2**31  # more than any image whose header alone is asked for
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")


def read_dicom(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads one frame of a DICOM file.

    Raises:
        Unreadable: unusable content; other exceptions come from pydicom and mean damaged data.
    """
    header, frame, stored = _frame(file, request)
    height, width = int(header.Rows), int(header.Columns)
    kind = _photometric(header)
    if kind in ("MONOCHROME1", "MONOCHROME2") and stored.ndim == 2:
        pixels, value_range = grey_pixels(stored, header, frame, request)
        if kind == "MONOCHROME1":
            value_range = value_range[::-1]
    elif kind == "PALETTE COLOR" and stored.ndim == 2:
        colours = apply_color_lut(stored, header)
        value_range = (0.0, float(np.iinfo(colours.dtype).max))
        pixels = to_unit(colours[..., :3], *value_range)
    elif kind in _COLOUR and stored.ndim == 3:
        value_range = (0.0, float(2 ** int(header.BitsStored) - 1))
        pixels = to_unit(stored, *value_range)
    else:
        photometric = kind if kind in ("HSV", "ARGB", "CMYK", "XYB") else "missing or unknown"
        raise Unreadable(f"its photometric interpretation is not supported ({photometric})")
    spacing, field = _spacing(header, frame)
    source = Source(
        path=request.ref.path,
        format="dicom",
        bits=whole_number(header, "BitsStored") or stored.dtype.itemsize * 8,
        mode=kind,
        height=height,
        width=width,
        slices=_frames(header),
        mislabelled=format_of_name(request.ref.path) not in (None, "dicom"),
        spacing_from=field,
    )
    return MedicalImage(pixels, spacing, source, value_range, place_of_frame(header, frame))


def read_values(file: BinaryIO, form: str, request: Request) -> Float64[np.ndarray, "height width"]:
    """Reads one monochrome frame after the modality transformation, with NaN for padding.

    Raises:
        Unreadable: it is not such a frame; other exceptions come from pydicom and mean damaged data.
    """
    if form != "dicom":
        raise Unreadable(f"is not a DICOM file but {form.upper()}")
    header, frame, stored = _frame(file, request)
    if not _photometric(header).startswith("MONOCHROME") or stored.ndim != 2:
        raise Unreadable("is in colour, and has no values in physical units")
    return own_units(stored, header, frame)


def read_header(file: BinaryIO, form: str, tags: list[str] | None) -> Dataset:
    """Reads the header of an image, or some of its elements.

    Raises:
        Unreadable: it is not a DICOM file, or contains no image.
    """
    if form != "dicom":
        raise Unreadable(f"is not a DICOM file but {form.upper()}")
    check_deflated(file, DEFLATED_BYTES)
    return _header(file, None if tags is None else ["Rows", "Columns", *tags])


def frames_of(file: BinaryIO) -> int:
    """The number of frames of an image.

    Raises:
        Unreadable: it contains no image, or an unreadable number.
    """
    return _frames(read_header(file, "dicom", ["NumberOfFrames"]))


def _header(file: BinaryIO, tags: list[Any] | None) -> Dataset:
    header = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=tags)
    if "Rows" not in header or "Columns" not in header:
        raise Unreadable("is a DICOM file without an image (a report, a plan, a directory?)")
    for keyword in ("Rows", "Columns"):
        if whole_number(header, keyword) is None:
            raise Unreadable(f"its element {keyword} is empty")
    for keyword in _LAYOUT:
        whole_number(
            header, keyword
        )  # pydicom's own decoding would say no more than that something is damaged
    return header


def _frame(file: BinaryIO, request: Request) -> tuple[Dataset, int, Stored]:
    """The header, the index of the frame, and its stored values."""
    request.allow_only("a DICOM file", "frame")
    check_deflated(file, request.max_pixels * 8)
    header = _header(file, _TAGS)
    request.check_size(int(header.Rows), int(header.Columns))
    frames = _frames(header)
    frame = request.choose("frame", request.ref.frame, frames, frames // 2)
    try:
        return header, frame, _decode(file, request.ref.path, header, frame)
    except Unreadable:
        raise
    except Exception:
        for keyword in ("PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "PixelRepresentation"):
            if keyword in header and is_empty(header, keyword):
                raise Unreadable(f"its element {keyword} is empty, which decoding needs") from None
        raise


def decoded_frame(file: BinaryIO, request: Request, header: Dataset, frame: int) -> Stored:
    """The stored values of a frame.

    Raises:
        Unreadable: it is larger than allowed, or no decoder reads it.
    """
    request.check_size(int(header.Rows), int(header.Columns))
    check_deflated(file, request.max_pixels * 8)
    # Decoding starts behind the header.
    return _decode(file, request.ref.path, _header(file, _TAGS), frame)


def decoded_frames(
    file: BinaryIO, request: Request, header: Dataset, frames: Sequence[int]
) -> Iterator[Stored]:
    """As :func:`decoded_frame` for many frames; the file is parsed once where it is not compressed."""
    if not frames:
        return
    if header.file_meta.get("TransferSyntaxUID") in _UNCOMPRESSED:
        request.check_size(int(header.Rows), int(header.Columns))
        yield from iter_pixels(_whole(file), indices=frames)
        return
    for frame in frames:
        yield decoded_frame(file, request, header, frame)


def _frames(header: Dataset) -> int:
    frames = whole_number(header, "NumberOfFrames")
    if frames is not None and frames < 0:
        raise Unreadable(f"its element NumberOfFrames is {frames}")
    return max(1, frames or 1)


def _photometric(header: Dataset) -> str:
    return str(header.get("PhotometricInterpretation", "")).strip()


def _decode(file: BinaryIO, path: Path, header: Dataset, frame: int) -> Stored:
    """The frame's stored values, [height, width] or RGB [height, width, 3]."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        # A data set without file meta information is uncompressed; pydicom has detected its encoding.
        whole = _whole(file)
        implicit, little = whole.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        whole.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        return pixel_array(whole, index=frame)
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        return pixel_array(_whole(file), index=frame)
    if syntax not in _UNCOMPRESSED:
        return _decompress(file, path, header, frame)
    start = file.tell()
    try:
        return pixel_array(file, index=frame)
    except Exception:
        check_bare(file, start, pydicom.uid.UID(syntax))
        samples = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1)
        needed = samples * int(header.get("BitsAllocated") or 8) // 8 + 8  # with the element's own header
        if file.seek(0, os.SEEK_END) - start < needed:
            raise Unreadable("ends too early: its pixel data are missing or truncated") from None
        raise


def _decompress(file: BinaryIO, path: Path, header: Dataset, frame: int) -> Stored:
    """Decodes a frame with a compressed transfer syntax, by any plugin that supports it."""
    syntax = pydicom.uid.UID(header.file_meta.TransferSyntaxUID)
    available = _decoders(syntax)
    # GDCM crashes the process on damaged data; see gdcm_process.
    inside = [name for name in ("pylibjpeg", "pillow", "pydicom") if name in available]
    # From the file, pydicom reads only this frame, but is less tolerant than with the whole data set.
    attempts: list[tuple[Callable[[], Any], str]] = [(lambda: file, name) for name in inside[:1]]
    attempts += [(lambda: _whole(file), name) for name in inside]
    outcomes: dict[str, str] = {}
    start = file.tell()
    for open_source, plugin in attempts:
        try:
            source = open_source()
            check_stream(source, start, header, frame, _frames(header))
            return pixel_array(source, index=frame, decoding_plugin=plugin)
        except (Unreadable, MemoryError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # No Exception: a panic of the RLE decoder. What it says is never shown: it may quote the header.
            outcomes[plugin] = _CANNOT if UNSUPPORTED.search(str(error)) else _DAMAGED
    if _DAMAGED not in outcomes.values():
        apart = [name for name in DECODERS if name in available]
        if "gdcm" in available and syntax == pydicom.uid.JPEGExtended12Bit:
            apart.append(WHOLE_FILE)
        for decoder in apart:
            check_stream(_whole(file), start, header, frame, _frames(header))
            try:
                if decoder == WHOLE_FILE:
                    check_end(_whole(file), frame, _frames(header))
                with gdcm_process.on_disk(file, path) as on_disk:
                    return gdcm_process.decode(on_disk, frame, decoder)
            except Unreadable as error:
                outcomes[decoder] = _CANNOT if error.reason == "does not support" else _DAMAGED
    remedy = "" if find_spec("gdcm") else "; pip install modicum[dicom] adds decoders"
    asked = ", ".join(f"{decoder} {outcome}" for decoder, outcome in outcomes.items())
    if _DAMAGED not in outcomes.values():
        bits = whole_number(header, "BitsStored") or 0
        raise Unreadable(
            f"no installed decoder reads its transfer syntax '{syntax.name}' with {bits} bits ({asked}){remedy}"
        )
    raise Unreadable(
        f"its pixel data are missing, damaged or incomplete (transfer syntax '{syntax.name}'; {asked}{remedy})"
    )


def _whole(file: BinaryIO) -> Dataset:
    file.seek(0)
    return pydicom.dcmread(file, force=True)


def _decoders(syntax: pydicom.uid.UID) -> tuple[str, ...]:
    """The installed plugins for a transfer syntax; raises if there is none, with what to install."""
    # A UID that is not in the standard may be arbitrary text.
    name = syntax.name if syntax in pydicom.uid.UID_dictionary else "an unknown or private one"
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        raise Unreadable(f"its transfer syntax is not supported ({name})") from None
    if not plugins:
        raise Unreadable(
            f"no decoder is installed for its transfer syntax '{name}': pip install modicum[dicom]"
        )
    return plugins


def _spacing(header: Dataset, frame: int) -> tuple[tuple[float, float] | None, str | None]:
    """Millimetres between rows and between columns, and the source field (10.7.1.3, C.7.6.16.2.1)."""
    measures = section(header, frame, "PixelMeasuresSequence")
    for keyword in _SPACINGS:
        values = numbers(measures, keyword, 2) or numbers(header, keyword, 2)
        if values and min(values[:2]) > 0:  # 0 is written by software that does not know it
            return (values[0], values[1]), keyword
    return None, None


def place_of_frame(header: Dataset, frame: int) -> Plane | None:
    """Where the frame lies (C.7.6.2, C.7.6.16.2.3 and 4); None where the file does not say it of each frame."""
    places = []
    for keyword, sequence, count in _PLACE:
        part = section(header, frame, sequence)
        if part is header and keyword == "ImagePositionPatient" and _frames(header) > 1:
            return None  # of the first frame, or of all together
        places.append(numbers(part, keyword, count) or numbers(header, keyword, count))
    return Plane.of_dicom(*places)


def check_deflated(file: BinaryIO, limit: int) -> None:
    """Raises for a deflated data set of more than ``limit`` bytes; pydicom would inflate any size."""
    file.seek(0)
    head = file.read(1024)
    uid = pydicom.uid.DeflatedExplicitVRLittleEndian.encode()
    file.seek(0)
    if uid not in head:
        return
    # PS3.10 section 7.1: the group's length comes first, as (0002,0000) UL.
    if head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise Unreadable("is a deflated DICOM file whose header is damaged")
    file.seek(144 + struct.unpack("<I", head[140:144])[0])
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = file.read(2**16)
    while piece and not inflate.eof:
        total += len(inflate.decompress(piece, 2**24))
        if total > limit:
            raise Unreadable("inflates to more bytes than are allowed (decompression bomb?)")
        piece = inflate.unconsumed_tail or file.read(2**16)
    file.seek(0)
