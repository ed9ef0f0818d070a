"""Detects the format of a file, by content and by name; the content decides."""

import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from modicum.data.readers.request import Unreadable

# Longest first if one ends with another.
SUFFIX_FORMATS = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".ppm.gz": "pnm",
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".dib": "bmp",
    ".webp": "webp",
    ".gif": "gif",
    ".ppm": "pnm",
    ".pgm": "pnm",
    ".pbm": "pnm",
    ".pnm": "pnm",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".ima": "dicom",
    ".npz": "npz",
}
# Suffixes of other formats; any further suffix implies nothing.
_OTHER_SUFFIXES = "jp2 j2k heic avif svg pdf txt csv tsv json xml html htm zip gz npy mha mhd nrrd"
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"PK\x03\x04", "npz"),
    (b"PAR1", "parquet"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a single NumPy array (.npy; save it as .npz)"),
    (b"NRRD", "an NRRD volume"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself (run git lfs pull)"),
)
_BMP_HEADER_SIZES = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
_PNM_MAGIC = re.compile(rb"P[1-6][\s#]")
HEAD = 560  # enough for every magic number and a whole NIfTI-2 header


def format_of_name(path: Path) -> str | None:
    """The format implied by a file's name: a supported one, ``other``, or None if it implies nothing."""
    name = path.name.lower()
    for suffix, form in SUFFIX_FORMATS.items():
        if name.endswith(suffix):
            return form
    return "other" if path.suffix and path.suffix[1:].lower() in _OTHER_SUFFIXES.split() else None


def format_of_content(file: BinaryIO) -> str:
    """Detects the format of an open file's content: png, jpeg, tiff, bmp, webp, gif, pnm, dicom, nifti, npz or parquet.

    Raises:
        Unreadable: it is none of these; the reason says what it is instead, if recognised.
    """
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        raise Unreadable("the file is empty (0 bytes)")
    # Checked first: a DICOM file may have a TIFF header in its preamble (PS3.10 section 7.1).
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack("<I", head[14:18])[0] in _BMP_HEADER_SIZES:
        return "bmp"
    if _PNM_MAGIC.match(head):
        return "pnm"
    if head[:2] == b"\x1f\x8b":
        return _inside_gzip(head)
    if nifti_version(head):
        return "nifti"
    if _bare_dicom(head):
        return "dicom"
    raise Unreadable(_what_it_is(head))


def nifti_version(head: bytes) -> int:
    """1 or 2 for a NIfTI header (in either byte order), 0 for anything else."""
    if len(head) >= 348 and head[344:348] in (b"n+1\0", b"ni1\0"):
        return 1
    if len(head) >= 540 and head[4:8] in (b"n+2\0", b"ni2\0"):
        return 2
    return 0


def _inside_gzip(head: bytes) -> str:
    try:
        # 31: with a gzip header. A NIfTI header is mostly zeros: this much input gives far more than it.
        unzip = zlib.decompressobj(31)
        inside = unzip.decompress(head, HEAD)
    except zlib.error:
        raise Unreadable("begins like a gzip file but is damaged") from None
    if nifti_version(inside):
        return "nifti"
    if _PNM_MAGIC.match(inside):
        return "pnm"
    if len(head) < HEAD and not unzip.eof and not unzip.unconsumed_tail:
        raise Unreadable("is a gzip file that ends too early (truncated), or holds no NIfTI volume")
    raise Unreadable("is a gzip file that holds no NIfTI volume")


def _bare_dicom(head: bytes) -> bool:
    """Whether it is a data set without preamble: a plausible first element of group 0002 or 0008, little endian."""
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] != 0:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = struct.unpack("<H", head[6:8])[0] if explicit else struct.unpack("<I", head[4:8])[0]
    return length < 1024


def _what_it_is(head: bytes) -> str:
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return f"is {what}"
    if head[4:8] == b"ftyp":
        return "is an HEIC, AVIF or video file"
    if not any(head):
        return "holds only zero bytes (an interrupted copy?)"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, not an image (a failed download?)"
    if start.startswith((b"<?xml", b"<svg")):
        return "is an XML or SVG file, not an image of pixels"
    if all(byte >= 32 or byte in b"\t\r\n\f\x1b" for byte in head):
        return "is a text file, not an image"
    return "is not of a known image format"


def format_of_file(path: Path) -> str:
    """The format of a file by its content; ``unknown`` if it cannot be opened or detected (its reader says why)."""
    try:
        with path.open("rb") as file:
            return format_of_content(file)
    except (OSError, ValueError, Unreadable):
        return "unknown"
