"""The volumes in a DICOM file of several frames: frames of one weighting and stack, in order along their normal.

An enhanced object may hold several acquisitions: echoes, diffusion weightings, phases, stacks, segments. Which of them a
frame is of is read from its functional groups (C.7.6.16, C.8.13, C.8.15); what cannot be told apart is refused.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from pydicom.dataset import Dataset

from modicum.data.plane import Plane
from modicum.data.readers import dicom_header
from modicum.data.readers.dicom import place_of_frame
from modicum.data.readers.dicom_values import is_empty, numbers
from modicum.data.readers.request import Unreadable
from modicum.data.slice_grid import grid_affine
from modicum.errors import BrokenImageError, InputError

# What makes another volume of a frame: elements by their functional group.
_WEIGHTING = {
    "FrameContentSequence": ("StackID", "TemporalPositionIndex"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue", "DiffusionDirectionality"),
    "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent", "AcquisitionContrast"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "PETFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CardiacSynchronizationSequence": ("NominalPercentageOfCardiacPhase",),
    "SegmentIdentificationSequence": ("ReferencedSegmentNumber",),
}
_TAGS = [
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "DimensionIndexSequence"),
]
# Dimensions along which the frames of one volume differ: where they lie, and their number in the stack.
_OF_PLACE = (0x00200032, 0x00209057, 0x00201041, 0x00209056)
_SAME_DIRECTION = 1e-3
"""By how much the steps of frames of one volume may differ, in pixels, or in millimetres where these are smaller."""
_SAME_DEPTH = 1e-3


@dataclass(frozen=True, eq=False)
class FrameVolume:
    """Frames of one volume in order, and its affine as :func:`~modicum.data.slice_grid.grid_affine` has it, or None."""

    frames: tuple[int, ...]
    affine: Float64[np.ndarray, "4 4"] | None


def frame_volumes(path: Path, frames: int) -> list[FrameVolume]:
    """The volumes of a file of several frames; one in the file's order, without affine, where frames have no places.

    Args:
        path: the file.
        frames: how many it has.

    Raises:
        BrokenImageError: its geometry cannot be read.
        InputError: frames lie at one place and nothing tells them apart, or are no regular grid.
    """
    header = dicom_header(path, _TAGS)
    try:
        places = [place_of_frame(header, frame) for frame in range(frames)]
        weightings = [_weighting(header, frame) for frame in range(frames)]
        dimensions = _dimensions(header, frames)
    except Unreadable as error:
        raise BrokenImageError(str(path), error.reason) from None
    planes = [plane for plane in places if plane is not None]
    if len(planes) < frames:
        return [FrameVolume(tuple(range(frames)), None)]
    directions = _directions(planes)
    groups = _grouped(range(frames), [(directions[f], weightings[f]) for f in range(frames)])
    if all(len(group) == 1 for group in groups) and not _repeat(range(frames), planes):
        groups = [list(range(frames))]  # something that differs from slice to slice makes no volumes
    split: list[list[int]] = []
    for group in groups:
        split += _grouped(group, dimensions) if _repeat(group, planes) and dimensions else [group]
    return [_volume(path, group, planes) for group in split]


def _volume(path: Path, group: Sequence[int], planes: Sequence[Plane]) -> FrameVolume:
    ordered = sorted(group, key=lambda frame: _depth(planes[frame]))
    if (pair := _repeat(ordered, planes)) is not None:
        raise InputError(
            f"'{path}': frames {min(pair)} and {max(pair)} lie at the same place, and nothing says how they differ",
            "pass the frames as single images ('file.dcm#frame=0')",
        )
    first = planes[ordered[0]]
    spacing = float(np.linalg.norm(first.row_step)), float(np.linalg.norm(first.column_step))
    directions = np.array([np.array(first.column_step) / spacing[1], np.array(first.row_step) / spacing[0]])
    positions = np.array([planes[frame].origin for frame in ordered])
    names = [f"{path}#frame={frame}" for frame in ordered]
    return FrameVolume(tuple(ordered), grid_affine(positions, directions, spacing, names))


def _depth(plane: Plane) -> float:
    """The position along the normal, rows x columns as for series."""
    normal = np.cross(plane.column_step, plane.row_step)
    return float(normal @ np.array(plane.origin) / np.linalg.norm(normal))


def _directions(planes: Sequence[Plane]) -> list[int]:
    """Of each plane, the number of the first one that lies alike; never by rounding, which may part equal ones."""
    steps = np.array([(*plane.row_step, *plane.column_step) for plane in planes])
    firsts: list[int] = []
    alike = []
    for frame, step in enumerate(steps):
        allowed = _SAME_DIRECTION * max(1.0, planes[frame].pixel())
        first = next((one for one in firsts if np.abs(steps[one] - step).max() <= allowed), None)
        if first is None:
            firsts.append(frame)
        alike.append(frame if first is None else first)
    return alike


def _repeat(group: Sequence[int], planes: Sequence[Plane]) -> tuple[int, int] | None:
    """Two frames at the same depth; None where there are none."""
    ordered = sorted(group, key=lambda frame: _depth(planes[frame]))
    for one, other in pairwise(ordered):
        if _depth(planes[other]) - _depth(planes[one]) < _SAME_DEPTH:
            return one, other
    return None


def _grouped(group: Sequence[int], keys: Sequence[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for frame in group:
        groups.setdefault(keys[frame], []).append(frame)
    return list(groups.values())


def _groups_of(header: Dataset, frame: int, keyword: str) -> Dataset | None:
    """A frame's functional group, or the shared one; None where there is none of the kind."""
    for sequence, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        if is_empty(header, sequence) or at >= len(header[sequence].value):
            continue
        part = header[sequence].value[at]
        if not is_empty(part, keyword):
            return part[keyword].value[0]
    return None


def _weighting(header: Dataset, frame: int) -> tuple[Hashable, ...]:
    values: list[Hashable] = []
    for keyword, elements in _WEIGHTING.items():
        part = _groups_of(header, frame, keyword)
        values += [None if part is None else _plain(part.get(element)) for element in elements]
        if (
            keyword == "MRDiffusionSequence"
            and part is not None
            and not is_empty(part, "DiffusionGradientDirectionSequence")
        ):
            direction = numbers(part.DiffusionGradientDirectionSequence[0], "DiffusionGradientOrientation")
            values.append(tuple(round(value, 4) for value in direction))
    return tuple(values)


def _plain(value: Any) -> Hashable:
    return None if value is None else str(value).strip()


def _dimensions(header: Dataset, frames: int) -> list[Hashable] | None:
    """Of each frame, its indices along the file's dimensions (C.7.6.17) other than place; None where it has none."""
    if is_empty(header, "DimensionIndexSequence"):
        return None
    kept = [
        at
        for at, one in enumerate(header.DimensionIndexSequence)
        if int(one.get("DimensionIndexPointer", 0) or 0) not in _OF_PLACE
    ]
    dimensions: list[Hashable] = []
    for frame in range(frames):
        content = _groups_of(header, frame, "FrameContentSequence")
        values = [] if content is None else numbers(content, "DimensionIndexValues")
        dimensions.append(tuple(values[at] for at in kept if at < len(values)))
    return dimensions
