"""Orders and checks the slices of one DICOM series: none missing, none twice, all of one kind.

They are ordered along the normal of their plane (rows x columns of ImageOrientationPatient) if they have positions,
which for axial slices is from foot to head; otherwise by InstanceNumber. Only the header elements listed here
are read, and messages contain only their numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from modicum.data.readers import dicom_header
from modicum.data.readers.dicom_values import numbers, whole_number
from modicum.data.readers.request import Unreadable
from modicum.errors import BrokenImageError, InputError
from modicum.wording import count_of

_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "NumberOfFrames",
]
# Direction cosines are written with about six decimals.
_SAME_DIRECTION = 1e-3
_SQUARE = 1e-2
_SAME_SPACING = 1e-3
# Positions are rounded by scanners; a gap deviates by more than this share of a step.
_UNEVEN = 0.1
_NO_DISTANCE = 1e-6  # millimetres: rounding errors of positions; slices of microscopes are 0.0001 apart


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """Series, position and size of one DICOM image.

    Attributes:
        path: the file.
        series: identifier of the series; not for display.
        modality: CT, MR, ...
        number: InstanceNumber, or None.
        position: of the centre of the first pixel, in millimetres (left, back, head), or None.
        directions: unit vectors along the rows and along the columns, [2, 3], or None.
        size: rows and columns.
        spacing: millimetres between rows and between columns, or None.
        frames: number of images in the file.
    """

    path: Path
    series: str
    modality: str
    number: int | None
    position: Float64[np.ndarray, "3"] | None
    directions: Float64[np.ndarray, "2 3"] | None
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    frames: int

    @classmethod
    def read(cls, path: Path) -> "SliceHeader":
        """Reads one file's header.

        Raises:
            BrokenImageError: it is no DICOM image, or says where it lies in values that cannot be read.
        """
        header = dicom_header(path, _TAGS)
        try:
            position = numbers(header, "ImagePositionPatient", 3)
            directions = numbers(header, "ImageOrientationPatient", 6)
            spacing = numbers(header, "PixelSpacing", 2)
            number = whole_number(header, "InstanceNumber")
            frames = whole_number(header, "NumberOfFrames")
        except Unreadable as error:
            raise BrokenImageError(str(path), error.reason) from None
        return cls(
            path=path,
            series=str(header.get("SeriesInstanceUID", "")),
            modality=str(header.get("Modality", "")).strip(),
            number=number,
            position=np.array(position[:3]) if position else None,
            directions=_unit_vectors(path, directions),
            size=(int(header.Rows), int(header.Columns)),
            spacing=(spacing[0], spacing[1]) if spacing and min(spacing[:2]) > 0 else None,
            frames=frames or 1,
        )

    @property
    def depth(self) -> float | None:
        """The position along the normal of the plane, in millimetres; None if the file has no position."""
        if self.position is None or self.directions is None:
            return None
        return float(np.cross(*self.directions) @ self.position)


def _unit_vectors(path: Path, directions: list[float]) -> Float64[np.ndarray, "2 3"] | None:
    """Two directions as arrays; None where there are none (all 0, as some software writes them)."""
    if not any(directions[:6]):
        return None
    vectors = np.array(directions[:6]).reshape(2, 3)
    if np.abs(vectors @ vectors.T - np.eye(2)).max() > _SQUARE:
        raise BrokenImageError(
            str(path),
            "its ImageOrientationPatient is no pair of unit vectors at right angles, so that it has no place",
        )
    return vectors


def in_order(slices: Iterable[SliceHeader]) -> tuple[list[SliceHeader], float | None]:
    """The slices of one series in order, and the distance between slices in millimetres, if known.

    Raises:
        InputError: they are of several series, sizes, spacings or orientations, or some are duplicated or
            missing; names two of the files.
    """
    slices = list(slices)
    if not slices:
        raise InputError("a DICOM series without files", "pass at least one file")
    for slice_ in slices[1:]:
        _check_alike(slices[0], slice_)
    depths = [slice_.depth for slice_ in slices]
    if all(depth is not None for depth in depths):
        ordered = sorted(slices, key=lambda slice_: slice_.depth or 0.0)
        return ordered, _even_step(ordered)
    if any(depth is not None for depth in depths):
        without = slices[depths.index(None)]
        raise InputError(
            f"'{without.path}' has no position (ImagePositionPatient) but other slices of its series have",
            "leave it out, or pass the slices as single images",
        )
    if any(slice_.number is None for slice_ in slices):
        if len(slices) == 1:
            return slices, None
        without = next(slice_ for slice_ in slices if slice_.number is None)
        raise InputError(
            f"'{without.path}' has neither a position nor an InstanceNumber, so that its order is unknown",
            "leave it out, or pass the slices as single images",
        )
    ordered = sorted(slices, key=lambda slice_: slice_.number or 0)
    _check_numbers(ordered)
    return ordered, None


def _check_alike(first: SliceHeader, second: SliceHeader) -> None:
    pair = f"'{first.path}' and '{second.path}'"
    if first.series != second.series:
        raise InputError(
            f"{pair} are of different series", "pass one series at a time, or their folder to find_volumes"
        )
    if first.size != second.size:
        sizes = " and ".join(f"{one.size[0]} x {one.size[1]}" for one in (first, second))
        raise InputError(f"{pair} are slices of different sizes, {sizes}", "leave the odd ones out")
    if (first.spacing is None) != (second.spacing is None) or (
        first.spacing is not None
        and second.spacing is not None
        and not np.allclose(first.spacing, second.spacing, rtol=_SAME_SPACING)
    ):
        raise InputError(
            f"{pair} have different pixel spacings, {first.spacing} and {second.spacing} mm",
            "leave the odd ones out",
        )
    if (
        first.directions is not None
        and second.directions is not None
        and np.abs(first.directions - second.directions).max() > _SAME_DIRECTION
    ):
        raise InputError(
            f"{pair} are slices of different orientation (a localiser among them?)", "leave the odd ones out"
        )


def _even_step(ordered: list[SliceHeader]) -> float | None:
    """The distance between slices in millimetres, which must be constant.

    Positions may be rounded: two slices are as far apart as they like where each lies near its place in an even row.
    """
    depths = np.array([slice_.depth or 0.0 for slice_ in ordered])
    steps = np.diff(depths)
    if not steps.size:
        return None
    step = float(np.median(steps))
    line = np.polynomial.Polynomial.fit(range(len(depths)), depths, 1)
    is_even = np.abs(depths - line(np.arange(len(depths)))).max() <= _UNEVEN * abs(float(line.deriv()(0.0)))
    for at, distance in enumerate(steps):
        pair = f"'{ordered[at].path}' and '{ordered[at + 1].path}'"
        if distance < _UNEVEN * step or distance < _NO_DISTANCE:
            raise InputError(
                f"{pair} are at the same position ({distance:.3g} mm apart)",
                "leave one out, or pass each phase or echo separately",
            )
        if distance > 1.5 * step and not is_even:
            missing = max(1, round(distance / step) - 1)
            raise InputError(
                f"between {pair} {count_of(missing, 'slice')} {'is' if missing == 1 else 'are'} missing: "
                f"they are {distance:.4g} mm apart, others {step:.4g}",
                "find them, or pass the slices as single images",
            )
        if abs(distance - step) > _UNEVEN * step and not is_even:
            raise InputError(
                f"{pair} are {distance:.4g} mm apart, other slices {step:.4g}: they are not evenly spaced",
                "pass the slices as single images",
            )
    return float(line.deriv()(0.0)) if is_even else step


def _check_numbers(ordered: list[SliceHeader]) -> None:
    for slice_, following in pairwise(ordered):
        first, second = slice_.number or 0, following.number or 0
        pair = f"'{slice_.path}' and '{following.path}'"
        if first == second:
            raise InputError(f"{pair} have the same InstanceNumber, {first}", "leave one out")
        if second > first + 1:
            raise InputError(
                f"between {pair} slices are missing: their InstanceNumbers are {first} and {second}",
                "find them, or pass the slices as single images",
            )
