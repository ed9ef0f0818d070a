"""Files in, images out: PNG, JPEG, TIFF, BMP, WebP, GIF, PNM, DICOM, NIfTI slices, NPZ, Parquet.

``read_image`` either gives a valid image or raises ``BrokenImageError`` with a plain reason, whatever the
file holds. How values become [0, 1] is told in ``modicum.data.readers.intensity``; what each format's reader
decides (windows, orientation, which frame) at the top of its file.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np
from jaxtyping import Float64, TypeCheckError

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import INTENSITY_RULES, IntensityWindow
from modicum.data.readers.content import SUFFIX_FORMATS, format_of_content, format_of_name
from modicum.data.readers.quiet import quiet
from modicum.data.readers.request import Request, Unreadable
from modicum.errors import BrokenImageError, InputError, did_you_mean

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from modicum.data.readers.nifti_layout import NiftiLayout

Answer = TypeVar("Answer")
MAX_PIXELS = 300_000_000
# No damaged file causes these; they are ours (shapes, while tests check them) or the installation's.
_MISTAKES = (TypeCheckError, NameError, ImportError)
# NPZ files hold many images, and are read only where a manifest names one of them.
IMAGE_SUFFIXES = frozenset(suffix for suffix, form in SUFFIX_FORMATS.items() if form != "npz")


def read_image(
    ref: ImageRef | str | Path,
    *,
    window: tuple[float | int, float | int] | None = None,
    at_least: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    intensity: IntensityWindow | str | None = None,
    empty: bool = False,
) -> MedicalImage:
    """Reads one 2-D image as float32 [channels, height, width] in [0, 1].

    Args:
        ref: a reference, its text form (``a.nii.gz#axis=2&index=80``), or a path (taken as it is, ``#``
            included).
        window: centre and width, in the file's units (Hounsfield units for CT), of the values to show from 0
            to 1. Overrides the windows that a DICOM file brings. Images of 8 bits and in colour have no
            window, DICOM apart, and are read as without.
        at_least: height and width. A JPEG may be decoded at a half, a quarter or an eighth of its size as
            long as neither side falls under these; ``source`` tells the full size.
        max_pixels: a file that declares more is refused before it is decoded.
        intensity: instead of ``window``: an :class:`~modicum.data.intensity_window.IntensityWindow`, or the
            rule to find one by, ``range`` or ``percentile`` (see ``modicum.data.readers.intensity``). Where a
            window is ignored, so is this. ``IntensityWindow.of(image, intensity)`` is the way back.
        empty: a NIfTI slice that holds only NaN, as some volumes have outside the body, reads as all 0; it is
            refused otherwise.

    Raises:
        BrokenImageError: the image cannot be read; the reason is plain and holds nothing from a patient's
            header.
        InputError: the window's width is not above zero, or the rule is unknown.
    """
    if window is not None and not window[1] > 0:
        raise InputError(
            f"window width {window[1]} is not above zero", "give (centre, width), for instance (40, 400)"
        )
    check_intensity(intensity, window)
    ref = _reference(ref)
    request = Request(ref, window, at_least, max_pixels, intensity, empty)
    return _read(ref, lambda file, form: _reader(form)(file, request))


def read_dicom_values(ref: ImageRef | str | Path) -> Float64[np.ndarray, "height width"]:
    """A monochrome DICOM frame in its file's own units, without any window; NaN where it is padding.

    Raises:
        BrokenImageError: the frame cannot be read, or is in colour.
    """
    from modicum.data.readers.dicom import read_values

    ref = _reference(ref)
    request = Request(ref, None, None, MAX_PIXELS)
    return _read(ref, lambda file, form: read_values(file, form, request))


def dicom_header(path: Path, tags: list[str] | None = None) -> "Dataset":
    """The elements of a DICOM image's header without its pixels: all of them, or those named.

    What is asked for enters the program; ask for nothing about the patient that is not needed.

    Raises:
        BrokenImageError: it is no DICOM file, or holds no image.
    """
    from modicum.data.readers.dicom import read_header

    return _read(ImageRef(path), lambda file, form: read_header(file, form, tags))


def nifti_header(path: Path) -> "NiftiLayout":
    """The header of a NIfTI file and how its axes lie, without its voxels.

    Raises:
        BrokenImageError: it is no NIfTI file, or its header is not usable.
    """
    from modicum.data.readers.nifti_layout import nifti_layout

    def read(file: BinaryIO, form: str) -> "NiftiLayout":
        if form != "nifti":
            raise Unreadable(f"is no NIfTI file but {form.upper()}")
        return nifti_layout(file)

    return _read(ImageRef(path), read)


def _reference(ref: ImageRef | str | Path) -> ImageRef:
    if isinstance(ref, str):
        return ImageRef.parse(ref)
    return ImageRef(ref) if isinstance(ref, Path) else ref


def check_intensity(
    intensity: IntensityWindow | str | None, window: tuple[float | int, float | int] | None = None
) -> None:
    """Whether ``read_image`` takes these.

    Raises:
        InputError: the rule is unknown, both are given, or the window shows nothing.
    """
    if intensity is None:
        return
    if window is not None:
        raise InputError(
            f"both window={window} and intensity={intensity!r} are given", "leave one of the two out"
        )
    if isinstance(intensity, str) and intensity not in INTENSITY_RULES:
        raise InputError(
            f"intensity={intensity!r} is unknown",
            did_you_mean(intensity, INTENSITY_RULES) + ", or give an IntensityWindow",
        )
    if isinstance(intensity, IntensityWindow) and intensity.low >= intensity.high:
        raise InputError(
            f"an intensity window from {intensity.low} to {intensity.high} shows nothing",
            "give the smaller value first, and two that differ",
        )


def _read(ref: ImageRef, read: Callable[[BinaryIO, str], Answer]) -> Answer:
    """Opens a file, and turns whatever its reading raises into one error with one plain reason."""
    form = None
    try:
        with quiet(), _open(ref.path) as file:
            form = format_of_content(file)
            return read(file, form)
    except Unreadable as error:
        reason = error.reason
    except MemoryError:
        reason = "needs more memory to decode than there is"
    except _MISTAKES:
        raise
    except BaseException as error:
        # A panic in a decoder written in Rust (pylibjpeg-rle on damaged data) is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # Decoders raise whatever they like on damaged data; their texts are technical, and for DICOM may
        # quote the header, so that neither they nor the exception itself go any further.
        reason = _reason(error, form)
    raise BrokenImageError(str(ref), reason)


def _open(path: Path) -> BinaryIO:
    """Opens a regular file; a pipe or device would block for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file")
    return path.open("rb")


def _reader(form: str) -> Callable[[BinaryIO, Request], MedicalImage]:
    # Imported where used: pydicom, nibabel and Pillow's plugins take a while, and most data sets need one of
    # them.
    if form == "dicom":
        from modicum.data.readers.dicom import read_dicom

        return read_dicom
    if form == "nifti":
        from modicum.data.readers.nifti import read_nifti

        return read_nifti
    if form == "npz":
        from modicum.data.readers.arrays import read_npz

        return read_npz
    if form == "parquet":
        return _read_inside_parquet
    if form == "tiff":
        from modicum.data.readers.tiff import read_tiff

        return read_tiff
    if form == "pnm":
        from modicum.data.readers.pnm import read_pnm

        return read_pnm
    from modicum.data.readers.raster import read_raster

    return lambda file, request: read_raster(file, form, request)


def _read_inside_parquet(file: BinaryIO, request: Request) -> MedicalImage:
    """The image file in a cell, whatever its format is."""
    from modicum.data.readers.parquet import CellFile, image_bytes

    inside = CellFile(image_bytes(file, request))
    form = format_of_content(inside)
    if form in ("parquet", "npz"):
        raise Unreadable(f"holds {form} data in a cell, not an image")
    return _reader(form)(inside, replace(request, ref=replace(request.ref, array=None, index=None)))


def _reason(error: BaseException, form: str | None) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "file not found"
    if isinstance(error, PermissionError):
        return "permission denied"
    # EINVAL comes from seeking where damaged data point to.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return f"cannot be read from disk ({os.strerror(error.errno or 0)})"
    if form is None:
        return "its name is not usable on this system"
    if type(error).__name__ == "DecompressionBombError":
        return "declares more pixels than its decoder allows (decompression bomb?)"
    what = {"nifti": "NIfTI", "webp": "WebP"}.get(form, form.upper())
    said = str(error).lower() if form != "dicom" else ""
    if isinstance(error, EOFError) or any(word in said for word in ("truncat", "end of file", "eof")):
        return f"ends too early: the {what} data are truncated"
    return f"the {what} data are damaged or incomplete"


def is_image_file(path: Path) -> bool:
    """Whether a file is an image, by its name; one without a known ending by its content, if that is DICOM.

    Scanners export files named ``IM000001`` or by their UID.
    """
    form = format_of_name(path)
    if form is not None:
        return form not in ("other", "npz")
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with _open(path) as file:
            return format_of_content(file) == "dicom" and path.name != "DICOMDIR"
    except (OSError, ValueError, Unreadable):
        return False


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted by path; not the hidden ones; links are followed."""
    found: list[Path] = []
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(here, name) for name in files if not name.startswith("."))
        found += [path for path in paths if is_image_file(path)]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "check_intensity",
    "dicom_header",
    "is_image_file",
    "list_images",
    "nifti_header",
    "read_dicom_values",
    "read_image",
]
