"""Reads a 2-D slice of a NIfTI-1 or NIfTI-2 volume, compressed or not.

Decisions. Axes and indices are those of the volume rotated to the nearest RAS+ axes (nibabel's canonical
orientation), independent of the order in the file: axis 0 counts from the patient's left to right, 1 from back to
front, 2 from foot to head. Defaults without a part in the reference: axis 2, the middle slice, the first volume of a
series. The slice is oriented in radiological convention, as in DICOM: front or head on top, the
patient's right on the image's left, and for axis 0 the front on the left.

Values (scl_slope and scl_inter applied) are scaled by minimum and maximum of the whole volume, or by its
percentiles if requested, so that slices of one volume are consistent; with a window, the rest of the volume is not
read. A slice without any number is refused unless ``empty`` is set: then it is all 0. Only the slice
is read if the file allows; a compressed volume is decompressed once and kept while it is among the last used.
"""

import gzip
import math
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32, Float64, Shaped
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import ornt2axcodes

from modicum.data.image import MedicalImage, Source
from modicum.data.plane import Plane
from modicum.data.readers.content import format_of_name
from modicum.data.readers.intensity import (
    clear_background,
    display_range,
    foreground,
    percentile_ends,
    spaced,
    span,
    to_unit,
)
from modicum.data.readers.nifti_layout import (
    MILLIMETRES,
    SliceLie,
    has_sizes,
    header_of,
    orientation_of,
    shape_of,
)
from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

Volume = Shaped[np.ndarray, "x y z"]
KEEP_BYTES = 256 * 2**20
_volumes: Recent[Volume] = Recent(KEEP_BYTES, lambda volume: volume.nbytes)
_ranges: Recent[tuple[float, float]] = Recent(4096, lambda ends: 1)
_percentiles: Recent[tuple[float, float]] = Recent(4096, lambda ends: 1)
_SLAB_VOXELS = 2**22


def _size(file: BinaryIO) -> int:
    """Bytes in an open file, which may be in memory."""
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def read_nifti(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads one slice of a NIfTI file.

    Raises:
        Unreadable: unusable content; other exceptions come from nibabel and mean damaged data.
    """
    request.allow_only("a NIfTI file", "frame", "axis", "index")
    volume = OpenVolume(file, request)
    axis = 2 if request.ref.axis is None else request.choose("axis", request.ref.axis, 3, 2)
    lie = SliceLie.of(volume.turn, axis)
    count = volume.shape[lie.across]
    index = request.choose("index", request.ref.index, count, count // 2)
    request.check_size(*(side for at, side in enumerate(volume.shape[:3]) if at != lie.across))
    picture = lie.upright(volume.slice(lie.across, lie.in_file(index, count)))
    pixels, value_range = scaled(picture, volume, request)
    sizes = voxel_sizes(volume.affine) * MILLIMETRES.get(volume.header.get_xyzt_units()[0], 1.0)
    spacing = (float(sizes[lie.rows]), float(sizes[lie.columns])) if volume.has_sizes else None
    source = source_of(volume, request, picture.shape[:2], count)
    return MedicalImage(pixels, spacing, source, value_range, _plane(volume, lie, index))


def source_of(volume: "OpenVolume", request: Request, size: tuple[int, ...], slices: int) -> Source:
    """Properties of a slice's file."""
    return Source(
        path=request.ref.path,
        format="nifti",
        bits=volume.dtype.itemsize * 8,
        mode="RGB" if volume.dtype.names else volume.dtype.newbyteorder("=").name,
        height=size[0],
        width=size[1],
        slices=slices,
        mislabelled=format_of_name(request.ref.path) not in (None, "nifti"),
        orientation="".join(ornt2axcodes(volume.turn)),
        spacing_from="pixdim" if volume.has_sizes else None,
    )


def place_of_slice(file: BinaryIO, request: Request) -> tuple[Plane | None, tuple[int, int]]:
    """Where the slice of a request lies, and its rows and columns; voxels are not read."""
    volume = OpenVolume(file, request)
    axis = 2 if request.ref.axis is None else request.choose("axis", request.ref.axis, 3, 2)
    lie = SliceLie.of(volume.turn, axis)
    count = volume.shape[lie.across]
    index = request.choose("index", request.ref.index, count, count // 2)
    return _plane(volume, lie, index), (volume.shape[lie.rows], volume.shape[lie.columns])


def _plane(volume: "OpenVolume", lie: SliceLie, index: int) -> Plane | None:
    """Where a slice lies; None where the file does not say (sform_code and qform_code are 0, or sizes are missing)."""
    if not volume.has_sizes or (
        not int(volume.header["sform_code"]) and not int(volume.header["qform_code"])
    ):
        return None
    millimetres = MILLIMETRES.get(volume.header.get_xyzt_units()[0], 1.0)
    to_lps = np.diag([-millimetres, -millimetres, millimetres]) @ volume.affine[:3]
    first = np.zeros(4)
    first[3] = 1
    first[lie.across] = lie.in_file(index, volume.shape[lie.across])
    for at, step in ((lie.rows, lie.row_step), (lie.columns, lie.column_step)):
        first[at] = 0 if step > 0 else volume.shape[at] - 1
    return Plane.of_vectors(
        to_lps @ first, to_lps[:, lie.rows] * lie.row_step, to_lps[:, lie.columns] * lie.column_step
    )


def scaled(
    picture: Shaped[np.ndarray, "height width"], volume: "OpenVolume", request: Request
) -> tuple[Float32[np.ndarray, "channels height width"], tuple[float, float]]:
    """A slice in [0, 1] as the request wants it, and the values mapped to 0 and 1."""
    if picture.dtype.names:
        colours = np.stack([picture[name] for name in "RGB"], axis=-1)
        return to_unit(colours, 0.0, 255.0), (0.0, 255.0)
    if not request.empty:
        span(picture)  # raises for a slice without any number, independent of the rest of the volume
    if request.window_ends is not None:
        ends = request.window_ends
    elif request.rule == "percentile":
        ends = volume.percentiles()
    else:
        ends = display_range(*volume.span(), volume.is_float)
    pixels = to_unit(picture, *ends)
    clear_background(pixels, picture, request.background)
    return pixels, ends


class OpenVolume:
    """One volume of an open NIfTI file, for reading slices."""

    def __init__(self, file: BinaryIO, request: Request) -> None:
        file.seek(0)
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=file) if compressed else file
        self.header = header_of(self._stream)
        self.shape = shape_of(self.header)
        self.dtype = self.header.get_data_dtype()
        if self.dtype.kind == "c" or (self.dtype.names and not {"R", "G", "B"} <= set(self.dtype.names)):
            raise Unreadable("holds complex numbers, which are not an image")
        if compressed:
            request.check_size(*self.shape[:3])
        offset = self.header.get_data_offset()
        self._end = offset + math.prod(self.shape) * self.dtype.itemsize
        if not compressed and (file_size := _size(file)) < self._end:
            raise Unreadable(f"ends too early: {file_size:,} of {self._end:,} bytes (truncated)")
        self.has_sizes = has_sizes(self.header)
        self.affine, self.turn = orientation_of(self.header)
        slope, inter = self.header.get_slope_inter()
        self.is_float = self.dtype.kind == "f" or slope not in (None, 1.0) or inter not in (None, 0.0)
        self._proxy: Any = ArrayProxy(
            self._stream, (self.shape, self.dtype, offset, slope or 1.0, inter or 0.0), mmap=False
        )
        series = self.shape[3] if len(self.shape) > 3 else 1
        self._frame = request.choose("frame", request.ref.frame, series, 0)
        key = file_key(file)
        self._key = (key, self._frame) if key else None
        self._read_volume: Volume | None = None
        size = math.prod(self.shape[:3]) * (8 if self.is_float else self.dtype.itemsize)
        self._keep = compressed and size <= KEEP_BYTES

    def slice(self, axis: int, index: int) -> Shaped[np.ndarray, "first second"]:
        """A slice across one of the file's axes, with scl_slope and scl_inter applied."""
        where: list[Any] = [slice(None)] * 3
        where[axis] = index
        return self._whole()[tuple(where)] if self._keep else self._read(*where)

    def span(self) -> tuple[float, float]:
        """Minimum and maximum of the volume."""
        return _ranges.get(self._key, lambda: span(self._whole()) if self._keep else self._span_of_slabs())

    def _read(self, *where: Any) -> Shaped[np.ndarray, "*sides"]:
        series = (self._frame, *([0] * (len(self.shape) - 4))) if len(self.shape) > 3 else ()
        return np.asarray(self._proxy[(*where, *series)])

    def sampled(
        self, points: Float64[np.ndarray, "3 height width"], nearest: bool
    ) -> Shaped[np.ndarray, "height width"]:
        """Values at voxel coordinates; outside the volume 0 of labels, the least value of others."""
        voxels = self._whole() if self._keep else self._read(slice(None), slice(None), slice(None))
        if not nearest:
            from scipy.ndimage import map_coordinates

            return np.asarray(
                map_coordinates(voxels.astype(np.float64), points, order=1, cval=float(np.nanmin(voxels)))
            )
        at = np.rint(points).astype(np.int64)
        ends = np.array(voxels.shape).reshape(3, 1, 1) - 1
        inside = ((at >= 0) & (at <= ends)).all(axis=0)
        picture = voxels[tuple(np.clip(at, 0, ends))]
        return np.where(inside, picture, np.zeros((), picture.dtype))

    def _whole(self) -> Volume:
        if self._read_volume is None:
            self._read_volume = _volumes.get(self._key, self._decompress)
        return self._read_volume

    def _decompress(self) -> Volume:
        volume = self._read(slice(None), slice(None), slice(None))
        if len(self.shape) == 3:
            # To the end of the file, where its checksum is compared.
            self._stream.seek(self._end)
            while self._stream.read(2**20):
                pass
        return volume

    def percentiles(self) -> tuple[float, float]:
        """The values mapped to 0 and 1 by the percentile rule, for the whole volume."""
        return _percentiles.get(self._key, self._find_percentiles)

    def _find_percentiles(self) -> tuple[float, float]:
        self.span()  # raises for a volume without any number
        step = spaced(math.prod(self.shape[:3]))
        return percentile_ends(np.concatenate([foreground(slab, step) for slab in self._slabs()]))

    def _span_of_slabs(self) -> tuple[float, float]:
        ends: list[float] = []
        for slab in self._slabs():
            if np.isfinite(slab).any():
                ends += span(slab)
        if not ends:
            raise Unreadable("holds no number, only NaN or infinity")
        return min(ends), max(ends)

    def _slabs(self) -> Iterator[Shaped[np.ndarray, "x y some"]]:
        """The volume in parts that fit in memory; as one part if it is kept anyway."""
        if self._keep:
            yield self._whole()
            return
        step = max(1, _SLAB_VOXELS // (self.shape[0] * self.shape[1]))
        for start in range(0, self.shape[2], step):
            yield self._read(slice(None), slice(None), slice(start, start + step))
