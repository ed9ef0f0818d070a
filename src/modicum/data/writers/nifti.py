"""Writes a NIfTI volume on the grid of another one, slice by slice in any order.

Decisions. Shape, affine (with the codes and parameters of both forms), voxel sizes, units, version and
orientation are the source's; slices are passed upright, as the reader returns them, and are rotated back. Free text
(description, names of other files, intent) and header extensions are not copied: scanners and converters
put names and whole DICOM headers there. Files are little-endian, and the gzip header has neither a name nor
a time, so that the same slices give the same bytes.

The voxels are collected in a memory-mapped scratch file next to the result (as large as the uncompressed volume,
deleted when the block ends; a killed process leaves it, hidden), and copied or compressed from there in pieces.
"""

import gzip
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Shaped
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from modicum.atomic_files import atomic_file, raise_if_disk_full
from modicum.data.intensity_window import IntensityWindow
from modicum.data.readers import nifti_header
from modicum.data.readers.nifti_layout import NiftiLayout, SliceLie
from modicum.data.writers.checks import check_numbers
from modicum.errors import InputError

Kind = Literal["float32", "source", "labels"]
_PIECE = 2**22
# Bytes written before their memory pages are released.
_MAPPED = 2**27
_COMPRESSION = 6
# NIfTI-1 scale factors are float32, which cannot distinguish more levels than this.
_LEVELS = 2**24
_FEWEST_STEPS = 100
_FREE_TEXT = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


class NiftiSlices:
    """The slices of a volume that is being written; see :func:`nifti_writer`."""

    def __init__(
        self, path: Path, scratch: Path, lie: SliceLie, levels: "_Levels", shape: tuple[int, int, int]
    ) -> None:
        self._path, self._scratch, self._lie, self._levels = path, scratch, lie, levels
        self._shape = shape
        self._count = shape[lie.across]
        self._size = shape[lie.rows], shape[lie.columns]
        self._written = np.zeros(self._count, bool)
        self._voxels: Any = None
        self._mapped = 0
        _reserve(scratch, math.prod(shape) * levels.dtype.itemsize)

    def __len__(self) -> int:
        return self._count

    def write(self, index: int, values: Shaped[np.ndarray, "height width"]) -> None:
        """Writes one slice.

        Args:
            index: index of the slice, as in the reader's reference.
            values: upright, in the volume's units; labels for a volume of labels. For integer files, values
                are clipped to the range of the window.

        Raises:
            InputError: no such slice, another size than the volume's, or values that are not numbers (or not
                labels from 0 to 255).
        """
        if not 0 <= index < self._count:
            raise InputError(
                f"'{self._path.name}' has no slice {index}",
                f"use 0 to {self._count - 1}",
            )
        if values.shape != self._size:
            raise InputError(
                f"slice {index} of '{self._path.name}' is {' x '.join(map(str, values.shape))}, the volume's "
                f"slices are {self._size[0]} x {self._size[1]}",
                "resize it to the source's size first (Placement.restored)",
            )
        check_numbers(values, self._path)
        where: list[Any] = [slice(None)] * 3
        where[self._lie.across] = self._lie.in_file(index, self._count)
        if self._voxels is None:
            self._voxels = np.memmap(self._scratch, self._levels.dtype, "r+", shape=self._shape, order="F")
        self._voxels[tuple(where)] = self._lie.as_stored(self._levels.stored(values, self._path))
        self._written[index] = True
        self._mapped += values.size * self._levels.dtype.itemsize
        if self._mapped > _MAPPED:
            self.close()

    def close(self) -> None:
        """Releases the memory map of the scratch file; it is mapped again when needed."""
        if self._voxels is not None:
            self._voxels.flush()
        self._voxels, self._mapped = None, 0

    @property
    def missing(self) -> list[int]:
        """The slices that have not been written yet."""
        return [int(index) for index in np.flatnonzero(~self._written)]


class _Levels:
    """Conversion of values to stored numbers: ``value = slope * number + inter``."""

    def __init__(self, dtype: np.dtype, slope: float = 1.0, inter: float = 0.0, labels: bool = False) -> None:
        self.dtype, self.slope, self.inter, self._labels = dtype, slope, inter, labels

    def stored(
        self, values: Shaped[np.ndarray, "height width"], path: Path
    ) -> Shaped[np.ndarray, "height width"]:
        if self._labels:
            if (values < 0).any() or (values > 255).any() or (values != np.rint(values)).any():
                raise InputError(
                    f"'{path.name}' was not written: it is to hold labels, but values run from "
                    f"{values.min():.4g} to {values.max():.4g}",
                    "use whole numbers from 0 to 255",
                )
            return values.astype(np.uint8)
        if self.dtype.kind == "f":
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        numbers = np.rint((values.astype(np.float64) - self.inter) / self.slope)
        return np.clip(numbers, limits.min, limits.max).astype(self.dtype)


@contextmanager
def nifti_writer(
    path: Path,
    like: Path,
    *,
    axis: int = 2,
    kind: Kind = "float32",
    window: IntensityWindow | None = None,
) -> Iterator[NiftiSlices]:
    """Writes a volume on the grid of another one; the file is created when the block succeeds.

    Example::

        with nifti_writer(out, like=source, axis=2) as volume:
            for index, image in enumerate(nifti_volumes(source)[0].images("range")):
                volume.write(index, window.values(predict(image.pixels))[0])

    Args:
        path: ``.nii`` or ``.nii.gz``; replaced if it exists.
        like: the source volume. For a series (4-D) the result has one volume's shape.
        axis: axis across which slices are cut, as in the reader's reference.
        kind: ``float32``; ``source``, the source's data type, with its scale factors if the window
            fits its range with them and spans a hundred of their steps (Hounsfield units stay whole numbers),
            otherwise with factors that spread the window over the type; ``labels``, uint8.
        window: the range of values, required for an integer source.

    Raises:
        InputError: an invalid name, axis or kind, or slices that are missing when the block ends.
        BrokenImageError: the source is not a usable NIfTI file.
        ResourceError: the disk is full.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"'{path.name}' is not the name of a NIfTI file", "end it with .nii or .nii.gz")
    if axis not in (0, 1, 2):
        raise InputError(
            f"axis={axis} is not an axis of a volume", "use 0 (left-right), 1 (back-front) or 2 (foot-head)"
        )
    layout = nifti_header(like)
    levels = _levels_of(kind, layout, window, like)
    header = _header_like(layout, levels)
    shape = layout.shape[0], layout.shape[1], layout.shape[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.voxels")
    slices = None
    try:
        slices = NiftiSlices(path, scratch, SliceLie.of(layout.turn, axis), levels, shape)
        yield slices
        if slices.missing:
            raise InputError(
                f"'{path.name}' was not written: {len(slices.missing)} of its {len(slices)} slices are missing, "
                f"the first is {slices.missing[0]}",
                "write every slice",
            )
        slices.close()
        with atomic_file(path, durable=False) as file:
            _copy(scratch, header, file, compressed=path.name.lower().endswith(".gz"))
    except BaseException as error:
        raise_if_disk_full(error, path)
        raise
    finally:
        if slices is not None:
            slices.close()
        scratch.unlink(missing_ok=True)


def _levels_of(kind: str, layout: NiftiLayout, window: IntensityWindow | None, like: Path) -> _Levels:
    source = layout.header.get_data_dtype().newbyteorder("<")
    if kind == "labels":
        return _Levels(np.dtype(np.uint8), labels=True)
    if kind == "float32":
        return _Levels(np.dtype("<f4"))
    if kind != "source":
        raise InputError(f"kind={kind!r} is unknown", "use float32, source or labels")
    if source.kind == "f":
        return _Levels(source if source.itemsize <= 8 else np.dtype("<f8"))
    if source.kind not in "iu":
        raise InputError(f"'{like}' does not contain real numbers ({source.name})", "use kind='float32'")
    if window is None:
        raise InputError(
            f"'{like}' contains whole numbers ({source.name}), and the range of the values is unknown",
            "pass the window that the source was read with",
        )
    return _whole_numbers(source, layout.header, window)


def _whole_numbers(dtype: np.dtype, header: Nifti1Header, window: IntensityWindow) -> _Levels:
    """The source's scale factors if they suffice, otherwise factors that spread the window over the type."""
    values = [window.low, window.high] + ([] if window.background is None else [window.background])
    low, high = min(values), max(values)
    limits = np.iinfo(dtype)
    slope, inter = header.get_slope_inter()
    slope, inter = (slope or 1.0), (inter or 0.0)
    ends = sorted(((low - inter) / slope, (high - inter) / slope))
    fits = limits.min - 0.5 <= ends[0] and ends[1] <= limits.max + 0.5
    if fits and ends[1] - ends[0] >= _FEWEST_STEPS:
        return _Levels(dtype, slope, inter)
    # From 0, so that neither an offset nor a sign costs digits of the factors.
    count = min(int(limits.max), _LEVELS)
    factors = header.structarr["scl_slope"].dtype.type
    slope = float(factors((high - low) / count)) if high > low else 1.0
    return _Levels(dtype, slope, float(factors(low)))


def _header_like(layout: NiftiLayout, levels: _Levels) -> bytes:
    """The result's header, with four bytes for "no extension"."""
    header = layout.header.as_byteswapped("<")
    source_shape = tuple(int(side) for side in header.get_data_shape())
    header.set_data_shape(source_shape if math.prod(source_shape[3:]) == 1 else source_shape[:3])
    header.set_data_dtype(levels.dtype)
    # Not with nibabel's setter, which does not write a slope of 1.
    header["scl_slope"], header["scl_inter"] = levels.slope, levels.inter
    header["cal_min"] = header["cal_max"] = 0
    for name in _FREE_TEXT:
        if name in header.structarr.dtype.names:
            header[name] = b""
    header["intent_code"] = 0
    for name in ("intent_p1", "intent_p2", "intent_p3"):
        header[name] = 0
    header["magic"] = b"n+2" if isinstance(header, Nifti2Header) else b"n+1"
    if isinstance(header, Nifti2Header):
        header["eol_check"] = (13, 10, 26, 10)
    header["vox_offset"] = header.sizeof_hdr + 4
    return header.binaryblock + bytes(4)


def _reserve(scratch: Path, size: int) -> None:
    """Creates a file of zeros with allocated disk space: a mapped file on a full disk would kill the process."""
    with scratch.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _copy(scratch: Path, header: bytes, file: IO[bytes], compressed: bool) -> None:
    out: Any = file
    if compressed:
        out = gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0)
    out.write(header)
    with scratch.open("rb") as voxels:
        while piece := voxels.read(_PIECE):
            out.write(piece)
    if compressed:
        out.close()
