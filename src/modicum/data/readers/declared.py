"""What a file declares, before anything of it is decoded: for programs that take files of strangers.

A small file may declare, or inflate to, more than a machine has. Sizes come from headers; compressed data whose length a
header states are inflated once without being kept, up to that length.
"""

import gzip
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from modicum.data.readers.request import Unreadable

_SLACK = 2**20
"""Bytes that may follow the voxels of a compressed NIfTI file."""
_PIECE = 2**20


@dataclass(frozen=True)
class Declared:
    """The header's sizes.

    Attributes:
        format: of the content.
        height: rows of an image, as stored (TIFF: of the first page).
        width: columns of the same.
        slices: slices of a NIfTI volume, of all volumes of a series; frames of a DICOM file; 1 of other files.
    """

    format: str
    height: int
    width: int
    slices: int = 1

    @property
    def pixels(self) -> int:
        """Of all slices together."""
        return self.height * self.width * self.slices


def declared(file: BinaryIO, form: str, max_pixels: int) -> Declared:
    """The sizes that an open file declares.

    Args:
        file: open, of PNG, JPEG, TIFF, DICOM or NIfTI.
        form: its format.
        max_pixels: the most in all slices.

    Raises:
        Unreadable: of another format, of more pixels, or inflates to more than it declares.
    """
    sizes = {"nifti": _nifti, "dicom": _dicom, "tiff": _tiff, "png": _raster, "jpeg": _raster}
    if form not in sizes:
        raise Unreadable(f"is {form.upper()}: only PNG, JPEG, TIFF, DICOM and NIfTI are taken here")
    if form == "dicom":
        from modicum.data.readers.dicom import check_deflated

        check_deflated(file, 4 * max_pixels + _SLACK)
    found = sizes[form](file, form)
    if found.pixels > max_pixels:
        slices = f" x {found.slices}" if found.slices > 1 else ""
        raise Unreadable(
            f"declares {found.height} x {found.width}{slices} = {found.pixels:,} pixels, more than the {max_pixels:,} "
            "allowed"
        )
    if form == "nifti":
        _check_inflated(file)
    return found


def _raster(file: BinaryIO, form: str) -> Declared:
    from modicum.data.readers.raster import size_of

    return Declared(form, *size_of(file, form))


def _tiff(file: BinaryIO, form: str) -> Declared:
    from modicum.data.readers.tiff import size_of_first_page

    return Declared(form, *size_of_first_page(file))


def _dicom(file: BinaryIO, form: str) -> Declared:
    from modicum.data.readers.dicom import frames_of, read_header

    header = read_header(file, form, [])
    height, width = int(header.Rows), int(header.Columns)
    file.seek(0)
    return Declared(form, height, width, frames_of(file))


def _nifti(file: BinaryIO, form: str) -> Declared:
    from modicum.data.readers.nifti_layout import nifti_layout

    layout = nifti_layout(file)
    across, back, up = layout.canonical_shape
    series = 1
    for side in layout.shape[3:]:
        series *= side
    return Declared(form, back, across, up * series)


def _check_inflated(file: BinaryIO) -> None:
    """Raises for a compressed file that is longer than its header says; nothing of it is kept."""
    from modicum.data.readers.nifti_layout import nifti_layout

    file.seek(0)
    if file.read(2) != b"\x1f\x8b":
        return
    layout = nifti_layout(file)
    voxels = prod(layout.shape) * layout.header.get_data_dtype().itemsize
    most, length = int(layout.header.get_data_offset()) + voxels + _SLACK, 0
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file)
    while piece := stream.read(_PIECE):
        length += len(piece)
        if length > most:
            raise Unreadable("inflates to far more than its header declares (decompression bomb?)")
