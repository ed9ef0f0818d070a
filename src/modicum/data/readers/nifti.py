"""NIfTI-1 and NIfTI-2, compressed or not: one 2-D slice of a volume.

Decisions. Axes and indices are those of the volume turned to the nearest RAS+ axes (nibabel's canonical
orientation), whatever order the file has: axis 0 counts from the patient's left to right, 1 from back to
front, 2 from foot to head. Without a part in the reference: axis 2, the middle slice, the first volume of a
series. The slice is laid out as radiologists look at it and as DICOM stores it: front or head on top, the
patient's right on the image's left, and for axis 0 the front on the left.

Values (scl_slope and scl_inter applied) are scaled by the least and largest of the whole volume, or by its
percentiles where they are asked for, so that slices of one volume agree; with a window that needs no look at
the rest. A slice without any number is refused unless ``empty`` is asked for: then it is all 0. Only the slice
is read where the file allows; a compressed volume is decompressed once and kept while it is among the last
used.
"""

import gzip
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Float32, Shaped
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import io_orientation, ornt2axcodes

from modicum.data.image import MedicalImage, Source
from modicum.data.readers.content import HEAD, format_of_name, nifti_version
from modicum.data.readers.intensity import (
    clear_background,
    display_range,
    foreground,
    percentile_ends,
    spaced,
    span,
    to_unit,
)
from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

Volume = Shaped[np.ndarray, "x y z"]
KEEP_BYTES = 256 * 2**20
_volumes: Recent[Volume] = Recent(KEEP_BYTES, lambda volume: volume.nbytes)
_ranges: Recent[tuple[float, float]] = Recent(4096, lambda ends: 1)
_percentiles: Recent[tuple[float, float]] = Recent(4096, lambda ends: 1)
_SLAB_VOXELS = 2**24
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def read_nifti(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads one slice of a NIfTI file.

    Raises:
        Unreadable: for what it cannot use; other exceptions come from nibabel and mean damaged data.
    """
    request.allow_only("a NIfTI file", "frame", "axis", "index")
    volume = _Volume(file, request)
    axis = 2 if request.ref.axis is None else request.choose("axis", request.ref.axis, 3, 2)
    lie = SliceLie.of(volume.turn, axis)
    count = volume.shape[lie.across]
    index = request.choose("index", request.ref.index, count, count // 2)
    request.check_size(*(side for at, side in enumerate(volume.shape[:3]) if at != lie.across))
    picture = lie.upright(volume.slice(lie.across, lie.in_file(index, count)))
    pixels, value_range = _scaled(picture, volume, request)
    sizes = voxel_sizes(volume.affine) * MILLIMETRES.get(volume.header.get_xyzt_units()[0], 1.0)
    spacing = float(sizes[lie.rows]), float(sizes[lie.columns])
    source = Source(
        path=request.ref.path,
        format="nifti",
        bits=volume.dtype.itemsize * 8,
        mode="RGB" if volume.dtype.names else volume.dtype.newbyteorder("=").name,
        height=picture.shape[0],
        width=picture.shape[1],
        slices=count,
        mislabelled=format_of_name(request.ref.path) not in (None, "nifti"),
        orientation="".join(ornt2axcodes(volume.turn)),
        spacing_from="pixdim",
    )
    return MedicalImage(pixels=pixels, spacing=spacing, source=source, value_range=value_range)


def _scaled(
    picture: Shaped[np.ndarray, "height width"], volume: "_Volume", request: Request
) -> tuple[Float32[np.ndarray, "channels height width"], tuple[float, float]]:
    if picture.dtype.names:
        colours = np.stack([picture[name] for name in "RGB"], axis=-1)
        return to_unit(colours, 0.0, 255.0), (0.0, 255.0)
    if not request.empty:
        span(picture)  # refuses a slice without any number, whatever the rest of the volume holds
    if request.window_ends is not None:
        ends = request.window_ends
    elif request.rule == "percentile":
        ends = volume.percentiles()
    else:
        ends = display_range(*volume.span(), volume.is_float)
    pixels = to_unit(picture, *ends)
    clear_background(pixels, picture, request.background)
    return pixels, ends


@dataclass(frozen=True)
class SliceLie:
    """How the slices across one canonical axis lie in a file, and as an upright picture.

    Attributes:
        across: the file's axis that they are counted along.
        forward: 1 where the file counts them as the canonical axis does, -1 where it counts them backwards.
        rows: the file's axis that the picture's rows are counted along.
        columns: the same of its columns.
        row_step: 1 where the picture's rows follow the file's order, -1 where they run against it.
        column_step: the same of its columns.
    """

    across: int
    forward: int
    rows: int
    columns: int
    row_step: int
    column_step: int

    @classmethod
    def of(cls, turn: Float[np.ndarray, "3 2"], axis: int) -> "SliceLie":
        """From a file's orientation (for each of its axes the canonical one and the direction)."""
        across = int(np.flatnonzero(turn[:, 0] == axis)[0])
        # Of the two axes left, the one of the lower canonical number runs along the columns, the other along
        # the rows.
        columns, rows = sorted((at for at in range(3) if at != across), key=lambda at: turn[at, 0])
        # Upwards in the canonical direction is from right to left and from bottom to top of the picture.
        return cls(across, int(turn[across, 1]), rows, columns, -int(turn[rows, 1]), -int(turn[columns, 1]))

    def in_file(self, index: int, count: int) -> int:
        """The file's own number of the canonical slice ``index`` of ``count``."""
        return index if self.forward > 0 else count - 1 - index

    def upright(self, values: Shaped[np.ndarray, "first second"]) -> Shaped[np.ndarray, "height width"]:
        """A slice as it lies in the file, turned into a picture; a view."""
        picture = np.swapaxes(values, 0, 1) if self.columns < self.rows else values
        return picture[:: self.row_step, :: self.column_step]

    def as_stored(self, picture: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "first second"]:
        """The inverse of :meth:`upright`; a view."""
        values = picture[:: self.row_step, :: self.column_step]
        return np.swapaxes(values, 0, 1) if self.columns < self.rows else values


@dataclass(frozen=True, eq=False)
class NiftiLayout:
    """What a NIfTI file's header says, without its voxels.

    Attributes:
        header: the header as it stands in the file.
        shape: of the file; at least three sides.
        affine: from voxels to millimetres (or the header's unit), RAS+.
        turn: for each of the file's first three axes its canonical axis and direction (1 or -1).
    """

    header: Nifti1Header
    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]
    turn: Float[np.ndarray, "3 2"]

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Voxels left-right, back-front and foot-head."""
        sides = [self.shape[int(np.flatnonzero(self.turn[:, 0] == axis)[0])] for axis in range(3)]
        return sides[0], sides[1], sides[2]


def nifti_layout(file: BinaryIO) -> NiftiLayout:
    """Reads the header of an open NIfTI file.

    Raises:
        Unreadable: it is the header of no volume, or its orientation is not usable.
    """
    file.seek(0)
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    header = _header(gzip.GzipFile(fileobj=file) if compressed else file)
    return NiftiLayout(header, _shape(header), *_orientation(header.copy()))


class _Volume:
    """One volume of an open NIfTI file, of which slices can be read."""

    def __init__(self, file: BinaryIO, request: Request) -> None:
        file.seek(0)
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=file) if compressed else file
        self.header = _header(self._stream)
        self.shape = _shape(self.header)
        self.dtype = self.header.get_data_dtype()
        if self.dtype.kind == "c" or (self.dtype.names and not {"R", "G", "B"} <= set(self.dtype.names)):
            raise Unreadable("holds complex numbers, which are no picture")
        if compressed:
            request.check_size(*self.shape[:3])
        offset = self.header.get_data_offset()
        self._end = offset + math.prod(self.shape) * self.dtype.itemsize
        if not compressed and (there := os.fstat(file.fileno()).st_size) < self._end:
            raise Unreadable(f"ends too early: {there:,} of {self._end:,} bytes (truncated)")
        self.affine, self.turn = _orientation(self.header)
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
        """A slice across one of the file's own axes, scl_slope and scl_inter applied."""
        where: list[Any] = [slice(None)] * 3
        where[axis] = index
        return self._whole()[tuple(where)] if self._keep else self._read(*where)

    def span(self) -> tuple[float, float]:
        """Least and largest value of the volume."""
        return _ranges.get(self._key, lambda: span(self._whole()) if self._keep else self._span_of_slabs())

    def _read(self, *where: Any) -> Shaped[np.ndarray, "*sides"]:
        series = (self._frame, *([0] * (len(self.shape) - 4))) if len(self.shape) > 3 else ()
        return np.asarray(self._proxy[(*where, *series)])

    def _whole(self) -> Volume:
        if self._read_volume is None:
            self._read_volume = _volumes.get(self._key, self._decompress)
        return self._read_volume

    def _decompress(self) -> Volume:
        volume = self._read(slice(None), slice(None), slice(None))
        if len(self.shape) == 3:
            # On to the end of the file, where its checksum is compared.
            self._stream.seek(self._end)
            while self._stream.read(2**20):
                pass
        return volume

    def percentiles(self) -> tuple[float, float]:
        """What the percentile rule makes 0 and 1: of the whole volume."""
        return _percentiles.get(self._key, self._find_percentiles)

    def _find_percentiles(self) -> tuple[float, float]:
        self.span()  # refuses a volume without any number
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
        """The volume in parts that memory holds; in one where it is kept anyway."""
        if self._keep:
            yield self._whole()
            return
        step = max(1, _SLAB_VOXELS // (self.shape[0] * self.shape[1]))
        for start in range(0, self.shape[2], step):
            yield self._read(slice(None), slice(None), slice(start, start + step))


def _header(stream: Any) -> Nifti1Header:
    head = stream.read(HEAD)
    version = nifti_version(head)
    if b"i" in (head[345:346] if version == 1 else head[5:6]):
        raise Unreadable("is the header of a two-file NIfTI (.hdr and .img); convert it to one .nii file")
    # Unchecked: nibabel's checks write to the terminal, and what matters is checked here.
    if version == 1:
        return Nifti1Header(head[:348], check=False)
    return Nifti2Header(head[:540], check=False)


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    """At least three sides; a single slice gets a third of 1."""
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) < 2 or any(side < 1 for side in shape):
        raise Unreadable(f"has no pixels ({' x '.join(map(str, shape))})")
    return shape if len(shape) > 2 else (*shape, 1)


def _orientation(header: Nifti1Header) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 2"]]:
    """The affine, and for each file axis its canonical axis and direction (1 or -1)."""
    sizes = np.abs(header["pixdim"][1:4])
    header["pixdim"][1:4] = np.where((sizes > 0) & np.isfinite(sizes), sizes, 1)
    affine = np.asarray(header.get_best_affine(), np.float64)
    turn = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(turn).any():
        raise Unreadable("its orientation is not usable, so that left and right are not known")
    return affine, turn
