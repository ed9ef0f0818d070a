"""Reads images: PNG, JPEG, TIFF, BMP, WebP, GIF, PNM, DICOM, NIfTI slices, NPZ arrays, Parquet.

``read_image`` either returns a valid image or raises ``BrokenImageError`` with a plain reason, for any file content.
The mapping of values to [0, 1] is documented in ``modicum.data.readers.intensity``; the decisions of each format's
reader (windows, orientation, which frame) at the top of its file.
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
from modicum.data.plane import Plane
from modicum.data.readers.content import SUFFIX_FORMATS, format_of_content, format_of_name
from modicum.data.readers.declared import Declared, declared
from modicum.data.readers.quiet import quiet
from modicum.data.readers.request import Request, Unreadable
from modicum.errors import BrokenImageError, InputError, did_you_mean

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from modicum.data.readers.nifti_layout import NiftiLayout
    from modicum.data.readers.segmentation import Segments

Answer = TypeVar("Answer")
MAX_PIXELS = 300_000_000
# Not caused by damaged files, but by bugs (shapes, which tests check) or the installation.
_MISTAKES = (TypeCheckError, NameError, ImportError)
# NPZ files contain many images, and are read only if a manifest names one of them.
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
        ref: a reference, its text form (``a.nii.gz#axis=2&index=80``), or a path (used literally, including
            ``#``).
        window: centre and width, in the file's units (Hounsfield units for CT), of the values to map to 0..1.
            Overrides the windows in a DICOM file. Ignored for 8-bit and colour images, except DICOM.
        at_least: height and width. A JPEG may be decoded at a half, a quarter or an eighth of its size if
            neither side becomes smaller than these; ``source`` has the full size.
        max_pixels: a file that declares more is refused before it is decoded.
        intensity: instead of ``window``: an :class:`~modicum.data.intensity_window.IntensityWindow`, or the
            rule to determine one, ``range`` or ``percentile`` (see ``modicum.data.readers.intensity``). Ignored
            like a window. ``IntensityWindow.of(image, intensity)`` is the inverse.
        empty: read a NIfTI slice that contains only NaN, as in some volumes outside the body, as all 0; it is
            refused otherwise.

    Raises:
        BrokenImageError: the image cannot be read; the reason is plain and contains nothing from a patient's
            header.
        InputError: the window's width is not above zero, or the rule is unknown.
    """
    if window is not None and not window[1] > 0:
        raise InputError(
            f"window width {window[1]} is not above zero", "pass (centre, width), for instance (40, 400)"
        )
    check_intensity(intensity, window)
    ref = _reference(ref)
    request = Request(ref, window, at_least, max_pixels, intensity, empty)
    if ref.onto is not None:
        from modicum.data.readers.onto_grid import read_onto

        return _read(ref, lambda file, form: read_onto(file, form, request))
    return _read(ref, lambda file, form: _reader(form)(file, request))


def read_dicom_values(ref: ImageRef | str | Path) -> Float64[np.ndarray, "height width"]:
    """Reads a monochrome DICOM frame in the file's units, without a window; NaN for padding.

    Raises:
        BrokenImageError: the frame cannot be read, or is in colour.
    """
    from modicum.data.readers.dicom import read_values

    ref = _reference(ref)
    request = Request(ref, None, None, MAX_PIXELS)
    return _read(ref, lambda file, form: read_values(file, form, request))


def dicom_header(path: Path, tags: list[str] | None = None) -> "Dataset":
    """Reads elements of a DICOM image's header, without its pixels: all of them, or those in ``tags``.

    Requested elements enter the program: do not request patient information that is not needed.

    Raises:
        BrokenImageError: it is not a DICOM file, or contains no image.
    """
    from modicum.data.readers.dicom import read_header

    return _read(ImageRef(path), lambda file, form: read_header(file, form, tags))


def nifti_header(path: Path) -> "NiftiLayout":
    """Reads the header of a NIfTI file and the orientation of its axes, without its voxels.

    Raises:
        BrokenImageError: it is not a NIfTI file, or its header is not usable.
    """
    from modicum.data.readers.nifti_layout import nifti_layout

    def read(file: BinaryIO, form: str) -> "NiftiLayout":
        if form != "nifti":
            raise Unreadable(f"is not a NIfTI file but {form.upper()}")
        return nifti_layout(file)

    return _read(ImageRef(path), read)


def slices_of(ref: ImageRef) -> tuple[str, int]:
    """The format of a file, and how many slices (or frames, or pages) a reference leaves open: 1 where it names one.

    Pages of a TIFF count only where all have one size: else they are one image at several scales, or previews. Voxels
    and pixels are not read.

    Raises:
        BrokenImageError: the file cannot be read.
    """

    def count(file: BinaryIO, form: str) -> tuple[str, int]:
        named = ref.index is not None or ref.onto is not None or (ref.frame is not None and form != "nifti")
        if named or form not in ("nifti", "dicom", "tiff", "gif", "webp"):
            return form, 1
        if form in ("gif", "webp"):
            from modicum.data.readers.raster import frames_of_animation

            return form, frames_of_animation(file, form)
        if form == "nifti":
            from modicum.data.readers.nifti_layout import nifti_layout

            return form, nifti_layout(file).canonical_shape[2 if ref.axis is None else ref.axis]
        if form == "dicom":
            from modicum.data.readers.dicom import frames_of

            return form, frames_of(file)
        from modicum.data.readers.tiff import pages_of_one_size

        return form, pages_of_one_size(file)

    return _read(ref, count)


def declared_size(path: Path, max_pixels: int = MAX_PIXELS) -> Declared:
    """What a file declares before anything of it is decoded; see :mod:`modicum.data.readers.declared`.

    Raises:
        BrokenImageError: the file cannot be read, or holds (or inflates to) more than is allowed.
    """
    return _read(ImageRef(path), lambda file, form: declared(file, form, max_pixels))


def placed_by(ref: ImageRef) -> tuple[str, Plane | None, tuple[int, int]]:
    """The format of an image's file (``segmentation`` of a DICOM segmentation object), where it lies, and its size.

    Its pixels are not read. A segmentation object of which no frame is named has no plane: its frames have.

    Raises:
        BrokenImageError: the file cannot be read.
    """
    from modicum.data.readers.onto_grid import plane_and_size

    request = Request(ref, None, None, MAX_PIXELS)
    return _read(ref, lambda file, form: plane_and_size(file, form, request))


def segments_of(ref: ImageRef) -> "Segments | None":
    """What a DICOM segmentation object holds; None of other files.

    Raises:
        BrokenImageError: the file cannot be read.
    """
    from modicum.data.readers.segmentation import read_segments

    request = Request(ref, None, None, MAX_PIXELS)
    return _read(ref, lambda file, form: read_segments(file, form, request))


def _reference(ref: ImageRef | str | Path) -> ImageRef:
    if isinstance(ref, str):
        return ImageRef.parse(ref)
    return ImageRef(ref) if isinstance(ref, Path) else ref


def check_intensity(
    intensity: IntensityWindow | str | None, window: tuple[float | int, float | int] | None = None
) -> None:
    """Checks arguments of ``read_image``.

    Raises:
        InputError: the rule is unknown, both are set, or the window is empty.
    """
    if intensity is None:
        return
    if window is not None:
        raise InputError(
            f"both window={window} and intensity={intensity!r} are set", "leave out one of the two"
        )
    if isinstance(intensity, str) and intensity not in INTENSITY_RULES:
        raise InputError(
            f"intensity={intensity!r} is unknown",
            did_you_mean(intensity, INTENSITY_RULES) + ", or pass an IntensityWindow",
        )
    if isinstance(intensity, IntensityWindow) and intensity.low >= intensity.high:
        raise InputError(
            f"an intensity window from {intensity.low} to {intensity.high} is empty",
            "pass a lower and a higher value, for instance IntensityWindow(0, 400)",
        )


def _read(ref: ImageRef, read: Callable[[BinaryIO, str], Answer]) -> Answer:
    """Opens and reads a file; converts any exception to a :class:`BrokenImageError` with a plain reason."""
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
        # A panic in a decoder written in Rust (pylibjpeg-rle on damaged data) is not an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # Decoders raise arbitrary exceptions on damaged data; their texts are technical, and for DICOM may
        # quote the header, so neither the text nor the exception is passed on.
        reason = _reason(error, form)
    raise BrokenImageError(str(ref), reason)


def _open(path: Path) -> BinaryIO:
    """Opens a regular file; a pipe or device would block forever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file")
    return path.open("rb")


def _reader(form: str) -> Callable[[BinaryIO, Request], MedicalImage]:
    # Imported here: pydicom, nibabel and Pillow's plugins load slowly, and most data sets need only one.
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
    # EINVAL comes from seeking to an offset in damaged data.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return f"cannot be read from disk ({os.strerror(error.errno or 0)})"
    if form is None:
        return "its name is not usable on this system"
    if type(error).__name__ == "DecompressionBombError":
        return "declares more pixels than its decoder allows (decompression bomb?)"
    what = {"nifti": "NIfTI", "webp": "WebP"}.get(form, form.upper())
    message = str(error).lower() if form != "dicom" else ""
    if isinstance(error, EOFError) or any(word in message for word in ("truncat", "end of file", "eof")):
        return f"ends too early: the {what} data are truncated"
    return f"the {what} data are damaged or incomplete"


def is_image_file(path: Path) -> bool:
    """Whether a file is an image, by its suffix; without a known suffix, whether its content is DICOM.

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
    """All image files below a folder, sorted by path, without hidden ones; links are followed."""
    images: list[Path] = []
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(here, name) for name in files if not name.startswith("."))
        images += [path for path in paths if is_image_file(path)]
    return sorted(images, key=lambda path: path.relative_to(folder).parts)


__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "check_intensity",
    "declared_size",
    "dicom_header",
    "is_image_file",
    "list_images",
    "nifti_header",
    "placed_by",
    "read_dicom_values",
    "read_image",
    "segments_of",
    "slices_of",
]
