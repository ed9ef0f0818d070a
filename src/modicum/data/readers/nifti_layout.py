"""The header of a NIfTI file, and the orientation of a volume's slices in it."""

import gzip
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Shaped
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import io_orientation

from modicum.data.readers.content import HEAD, nifti_version
from modicum.data.readers.request import Unreadable

MILLIMETRES = {"meter": 1000.0, "micron": 0.001}

# Codes of nifti1.h (and CIFTI-2) whose files hold no image; statistics, estimates and labels are images.
_CIFTI, _CIFTI_CODES = "brain connectivity (CIFTI)", range(3000, 3100)
_NO_IMAGES = (
    dict.fromkeys((1004, 1005), "matrices")
    | dict.fromkeys((1006, 1007, 2006), "vectors or displacements")
    | dict.fromkeys((1008,), "points")
    | dict.fromkeys((1009,), "triangles of a surface")
    | dict.fromkeys((1010,), "quaternions")
    | dict.fromkeys((2002,), "node numbers of a surface")
    | dict.fromkeys((2003, 2004), "colours as vectors")
    | dict.fromkeys((2007, 2008, 2009, 2016, 2017), "coefficients of a deformation")
)
_COLOURS = (2003, 2004)
_OF_NODES = (2001, 2005)
_LINE = 1000
"""Voxels in one row from which on a volume of one row is no image: overlays of surfaces are written so."""


@dataclass(frozen=True)
class SliceLie:
    """The orientation of slices across one canonical axis, in the file and as an upright image.

    Attributes:
        across: the file's axis of the slice index.
        forward: 1 if the file's order is that of the canonical axis, -1 if it is reversed.
        rows: the file's axis of the image's rows.
        columns: the file's axis of the image's columns.
        row_step: 1 if the image's rows follow the file's order, -1 if they are reversed.
        column_step: the same for the columns.
    """

    across: int
    forward: int
    rows: int
    columns: int
    row_step: int
    column_step: int

    @classmethod
    def of(cls, turn: Float[np.ndarray, "3 2"], axis: int) -> "SliceLie":
        """The orientation of slices from a file's orientation (for each axis the canonical one and the direction)."""
        across = int(np.flatnonzero(turn[:, 0] == axis)[0])
        # Of the two remaining axes, the one with the lower canonical number is that of columns, the other of rows.
        columns, rows = sorted((at for at in range(3) if at != across), key=lambda at: turn[at, 0])
        # Increasing in the canonical direction is from right to left and from bottom to top of the image.
        return cls(across, int(turn[across, 1]), rows, columns, -int(turn[rows, 1]), -int(turn[columns, 1]))

    def in_file(self, index: int, count: int) -> int:
        """The file's index of the canonical slice ``index`` of ``count``."""
        return index if self.forward > 0 else count - 1 - index

    def upright(self, values: Shaped[np.ndarray, "first second"]) -> Shaped[np.ndarray, "height width"]:
        """Rotates a slice as stored in the file to an upright image; returns a view."""
        picture = np.swapaxes(values, 0, 1) if self.columns < self.rows else values
        return picture[:: self.row_step, :: self.column_step]

    def as_stored(self, picture: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "first second"]:
        """The inverse of :meth:`upright`; returns a view."""
        values = picture[:: self.row_step, :: self.column_step]
        return np.swapaxes(values, 0, 1) if self.columns < self.rows else values


@dataclass(frozen=True, eq=False)
class NiftiLayout:
    """The header of a NIfTI file, without its voxels.

    Attributes:
        header: the header as in the file.
        shape: shape of the file; at least three sides.
        affine: maps voxels to millimetres (or the header's unit), RAS+.
        turn: for each of the file's first three axes its canonical axis and direction (1 or -1).
    """

    header: Nifti1Header
    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]
    turn: Float[np.ndarray, "3 2"]

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Number of voxels left-right, back-front and foot-head."""
        sides = [self.shape[int(np.flatnonzero(self.turn[:, 0] == axis)[0])] for axis in range(3)]
        return sides[0], sides[1], sides[2]


def nifti_layout(file: BinaryIO) -> NiftiLayout:
    """Reads the header of an open NIfTI file.

    Raises:
        Unreadable: it is not the header of a volume, or its orientation is not usable.
    """
    file.seek(0)
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    header = header_of(gzip.GzipFile(fileobj=file) if compressed else file)
    return NiftiLayout(header, shape_of(header), *orientation_of(header.copy()))


def header_of(stream: Any) -> Nifti1Header:
    """The header at the beginning of a (decompressed) stream."""
    head = stream.read(HEAD)
    version = nifti_version(head)
    if b"i" in (head[345:346] if version == 1 else head[5:6]):
        raise Unreadable("is the header of a two-file NIfTI (.hdr and .img); convert it to one .nii file")
    # Unchecked: nibabel's checks write to the terminal, and what matters is checked here.
    header = Nifti1Header(head[:348], check=False) if version == 1 else Nifti2Header(head[:540], check=False)
    check_kind(header)
    return header


def check_kind(header: Nifti1Header) -> None:
    """Whether a header is that of an image, with its voxels where they may be.

    Raises:
        Unreadable: it says that the file holds something else (surfaces, connectivity, points, vectors), or what it says
            of dimensions, offset or scaling is outside what the format allows.
    """
    intent, sides = int(header["intent_code"]), [int(side) for side in header["dim"]]
    if not 1 <= sides[0] <= 7:
        raise Unreadable(f"its header declares {sides[0]} dimensions; 1 to 7 are allowed (damaged?)")
    shape = sides[1 : sides[0] + 1]
    try:
        kind_of_voxels = header.get_data_dtype()
    except Exception:
        kind_of_voxels = np.dtype("V")
    coloured = kind_of_voxels.names is not None
    if kind_of_voxels.kind == "V" and not coloured:  # 0 and 1: unknown, and bits
        raise Unreadable(f"its voxels are of data type {int(header['datatype'])}, which is not known")
    try:
        header.get_xyzt_units()
    except Exception:
        raise Unreadable(
            f"its unit of length or time is not known (xyzt_units {int(header['xyzt_units'])})"
        ) from None
    surface = intent in _OF_NODES and all(side == 1 for side in shape[1:3])
    kind = _CIFTI if intent in _CIFTI_CODES else _NO_IMAGES.get(intent)
    if kind is not None and not (coloured and intent in _COLOURS and all(side == 1 for side in shape[4:])):
        raise Unreadable(f"is a NIfTI file of {kind} (intent {intent}), not of an image")
    if surface:
        raise Unreadable(f"is a NIfTI file of values on a surface (intent {intent}), not of an image")
    if any(side != 1 for side in shape[4:]):
        raise Unreadable(
            f"has {len(shape)} dimensions ({' x '.join(map(str, shape))}); three, and one of time, are read: "
            "save each part of the others as a file of its own"
        )
    offset, first = float(header["vox_offset"]), 544 if isinstance(header, Nifti2Header) else 352
    if not (math.isfinite(offset) and offset >= first and offset.is_integer()):
        raise Unreadable(
            f"its header puts the voxels at byte {offset:g}; in one file they begin at {first} or behind (damaged?)"
        )
    if sum(side > 1 for side in shape[:3]) == 1 and max(shape[:3]) >= _LINE:
        raise Unreadable(f"is a line of {max(shape[:3]):,} values (of a surface?), not an image")
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope):  # NaN is what some write where nothing is scaled
        raise Unreadable("its scl_slope is infinite: its values are not known")
    if math.isfinite(slope) and slope and not math.isfinite(inter):
        raise Unreadable(
            f"its scl_inter is {inter}, beside an scl_slope of {slope:g}: its values are not known"
        )


def shape_of(header: Nifti1Header) -> tuple[int, ...]:
    """The shape with at least three sides; a single slice gets a third of 1."""
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) < 2 or any(side < 1 for side in shape):
        raise Unreadable(f"has no pixels ({' x '.join(map(str, shape))})")
    return shape if len(shape) > 2 else (*shape, 1)


def has_sizes(header: Nifti1Header) -> bool:
    """Whether a header, as it is in the file, says how large its voxels are: in an sform, or as numbers above 0."""
    sizes = np.abs(header["pixdim"][1 : 1 + min(3, int(header["dim"][0]))])
    return int(header["sform_code"]) > 0 or bool((np.isfinite(sizes) & (sizes > 0)).all())


def orientation_of(header: Nifti1Header) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 2"]]:
    """The affine, and for each file axis its canonical axis and direction (1 or -1)."""
    sizes = np.abs(header["pixdim"][1:4])
    header["pixdim"][1:4] = np.where((sizes > 0) & np.isfinite(sizes), sizes, 1)
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
    except Exception:
        raise Unreadable("its orientation is not usable: its quaternion is not that of a rotation") from None
    turn = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(turn).any():
        raise Unreadable("its orientation is not usable, so that left and right are not known")
    return affine, turn
