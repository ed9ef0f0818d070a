"""Files to send: good ones of each format, and such as a server must refuse."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file


def picture(form: str, side: int = 40, seed: int = 0) -> bytes:
    """A noisy image."""
    levels = np.random.default_rng(seed).integers(0, 255, (side, side + 8), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, form)
    return buffer.getvalue()


def dicom() -> bytes:
    """A small CT slice."""
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


def volume(folder: Path, sides=(12, 14, 5)) -> bytes:
    """A compressed NIfTI volume."""
    voxels = np.random.default_rng(1).integers(0, 900, sides).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "made.nii.gz")
    return (folder / "made.nii.gz").read_bytes()


def huge_png(side: int = 60_000) -> bytes:
    """The header of a PNG of that many pixels, in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def inflating_volume(folder: Path) -> bytes:
    """A volume of a few voxels that goes on for 40 MB of zeros."""
    return gzip.compress(gzip.decompress(volume(folder)) + bytes(40_000_000), 1)


def inflating_dicom() -> bytes:
    """A deflated DICOM file of a few kilobytes that inflates to 40 MB."""
    data = pydicom.dcmread(io.BytesIO(dicom()))
    data.Rows = data.Columns = 4000
    data.PixelData = bytes(32_000_000)
    data.add_new(0x00091010, "OB", bytes(8_000_000))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
