"""DICOM segmentation objects: one image of codes, or of a single segment, on the pixels of another image.

The frames that lie in the other image's plane make one image, whose values are the numbers of their segments; of one
segment (``segment=`` in a reference) they are 0 and 1. Frames without anything are left out of such objects, so that a
plane between or beyond those that are there is empty; one that is only almost met by a frame is refused, unless the
reference allows other grids: then each pixel takes the nearest one of the frames.

Of fractional objects, pixels from half of the largest value (MaximumFractionalValue) are marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset

from modicum.data.image import MedicalImage, Source
from modicum.data.plane import SAME_PLACE, Grid, Plane
from modicum.data.readers.content import format_of_name
from modicum.data.readers.dicom import decoded_frame, decoded_frames, place_of_frame, read_header
from modicum.data.readers.dicom_values import is_empty, numbers, section, whole_number
from modicum.data.readers.frame_stack import FrameStack
from modicum.data.readers.intensity import to_unit
from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

SEGMENTATION = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
)  # binary or fractional; label map
FRACTIONAL, LABEL_MAP = "FRACTIONAL", "LABELMAP"
TAGS = [
    *("SOPClassUID", "SegmentationType", "NumberOfFrames", "MaximumFractionalValue", "SegmentsOverlap"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SegmentSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
# An object of many frames is asked for each of its images.
_headers: Recent[Dataset] = Recent(8, lambda header: 1)


@dataclass(frozen=True)
class Segments:
    """What a segmentation object holds.

    Attributes:
        labels: names by number of segment.
        kind: ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
        overlap: whether a pixel is in two segments.
    """

    labels: dict[int, str]
    kind: str
    overlap: bool


def is_segmentation(header: Dataset) -> bool:
    """Whether a header with SOPClassUID is of such an object."""
    return str(header.get("SOPClassUID", "")) in SEGMENTATION


def read_segments(file: BinaryIO, form: str, request: Request) -> Segments | None:
    """What an object holds; None for other files. Pixels are read only where it does not say whether segments overlap."""
    if form != "dicom":
        return None
    header = read_header(file, form, TAGS)
    if not is_segmentation(header):
        return None
    kind = _kind(header)
    labels = {}
    for item in [] if is_empty(header, "SegmentSequence") else header.SegmentSequence:
        number = whole_number(item, "SegmentNumber")
        if number is not None and (number > 0 or kind != LABEL_MAP):
            labels[number] = str(item.get("SegmentLabel") or "").strip() or f"segment {number}"
    says = str(header.get("SegmentsOverlap") or "").strip()
    overlap = kind != LABEL_MAP and says != "NO" and _overlap(file, request, header, kind)
    return Segments(labels, kind, overlap)


def of_segments(file: BinaryIO, request: Request, grid: Grid) -> MedicalImage:
    """One image of an object on a grid.

    Raises:
        Unreadable: it is no such object, lies beside the grid, or segments overlap and none is named.
    """
    header = _headers.get(file_key(file), lambda: read_header(file, "dicom", TAGS))
    kind, segment = _kind(header), request.ref.segment
    if grid.resampled:
        codes = _resampled(file, request, header, grid, kind)
    else:
        if (int(header.Rows), int(header.Columns)) != (grid.height, grid.width):
            raise Unreadable(
                f"is a segmentation of {header.Rows} x {header.Columns} pixels, the image has {grid.height} x "
                f"{grid.width} (--align-geometry resample brings it onto them)"
            )
        codes = np.zeros((grid.height, grid.width), np.uint8)
        for frame in _frames_in(header, grid):
            codes_of_frame = _codes(file, request, header, frame, kind)
            if codes_of_frame is not None:
                _add(codes, codes_of_frame)
    if segment is not None:
        codes = (codes == segment).astype(np.uint8)
    source = Source(
        path=request.ref.path,
        format="dicom",
        bits=8,
        mode="MONOCHROME2",
        height=grid.height,
        width=grid.width,
        mislabelled=format_of_name(request.ref.path) not in (None, "dicom"),
    )
    sides = float(np.linalg.norm(grid.plane.row_step)), float(np.linalg.norm(grid.plane.column_step))
    return MedicalImage(to_unit(codes, 0.0, 255.0), sides, source, (0.0, 255.0), grid.plane)


def _kind(header: Dataset) -> str:
    return str(header.get("SegmentationType", "BINARY")).strip()


def _marked(
    picture: Shaped[np.ndarray, "height width"], header: Dataset, kind: str
) -> Shaped[np.ndarray, "height width"]:
    if kind != FRACTIONAL:
        return picture > 0
    whole = next(iter(numbers(header, "MaximumFractionalValue")), 255.0)
    return picture >= whole / 2


def _codes(
    file: BinaryIO, request: Request, header: Dataset, frame: int, kind: str
) -> Shaped[np.ndarray, "height width"] | None:
    """A frame's pixels as numbers of segments; None of segments that are not asked for."""
    wanted = request.ref.segment
    if kind == LABEL_MAP:
        picture = decoded_frame(file, request, header, frame)
        return picture if wanted is None else picture * (picture == wanted)
    number = _segment(header, frame)
    if wanted is not None and number != wanted:
        return None
    return _marked(decoded_frame(file, request, header, frame), header, kind) * number


def _add(codes: UInt8[np.ndarray, "height width"], segment: Shaped[np.ndarray, "height width"]) -> None:
    there = segment > 0
    if int(segment.max(initial=0)) > 255:
        raise Unreadable("numbers its segments above 255")
    if (codes[there] != 0).any():
        raise Unreadable(
            "is a segmentation whose segments overlap; name one in a column of its own ('seg.dcm#segment=2')"
        )
    codes[there] = segment[there]


def _segment(header: Dataset, frame: int) -> int:
    number = whole_number(section(header, frame, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
    if number is None:
        raise Unreadable(f"does not say of which segment frame {frame} is")
    return number


def _planes(header: Dataset) -> list[Plane | None]:
    return [place_of_frame(header, frame) for frame in range(whole_number(header, "NumberOfFrames") or 1)]


def _overlap(file: BinaryIO, request: Request, header: Dataset, kind: str) -> bool:
    """Whether two frames of one plane mark the same pixel."""
    planes = _planes(header)
    if len(planes) < 2 or any(plane is None for plane in planes):
        return False
    by_place: dict[tuple[float, ...], list[int]] = {}
    for frame, plane in enumerate(planes):
        by_place.setdefault(tuple(round(value, 3) for value in plane.numbers()) if plane else (), []).append(
            frame
        )
    together = [frames for frames in by_place.values() if len(frames) > 1]
    pictures = decoded_frames(file, request, header, [frame for frames in together for frame in frames])
    for frames in together:
        together_marked = None
        for picture in (next(pictures) for _ in frames):
            marked = _marked(picture, header, kind)
            if together_marked is not None and (together_marked & marked).any():
                return True
            together_marked = marked if together_marked is None else together_marked | marked
    return False


def _resampled(
    file: BinaryIO, request: Request, header: Dataset, grid: Grid, kind: str
) -> UInt8[np.ndarray, "height width"]:
    stack = FrameStack.of(_planes(header), None, (int(header.Rows), int(header.Columns)))
    declared = _declared_thickness(header)
    if declared > 0:  # frames that are left out as empty make larger gaps
        stack = replace(stack, thickness=min(stack.thickness or declared, declared))
    level, row, column, inside = stack.nearest(grid)
    needed = set(np.unique(level[inside]).tolist())
    codes = np.zeros((grid.height, grid.width), np.uint8)
    for frame, at in enumerate(stack.level_of.tolist()):
        if at in needed and (picture := _codes(file, request, header, frame, kind)) is not None:
            _add(codes, picture[row, column] * (inside & (level == at)))
    return codes


def _frames_in(header: Dataset, grid: Grid) -> list[int]:
    """The frames that lie in a grid's plane; none where the plane is one of those that were left out as empty.

    Raises:
        Unreadable: the frames have other pixels than the grid, or the nearest lies beside its plane by less than a slice.
    """
    allowed = SAME_PLACE * grid.plane.pixel()
    normal = np.cross(grid.plane.column_step, grid.plane.row_step)
    normal /= np.linalg.norm(normal)
    depths: list[float] = []
    for plane in _planes(header):
        if plane is None:
            raise Unreadable("is a segmentation that does not say where its frames lie")
        depth = float((np.array(plane.origin) - grid.plane.origin) @ normal)
        level = Plane.of_vectors(np.array(plane.origin) - depth * normal, plane.row_step, plane.column_step)
        off = level.distance(grid.plane, grid.height, grid.width)
        if off > allowed:
            raise Unreadable(
                f"is a segmentation that lies up to {off:.3g} mm beside the image's pixels ({allowed:.2g} mm allowed); "
                f"the image: {grid.plane}; a frame: {plane} (--align-geometry resample brings it onto them)"
            )
        depths.append(depth)
    frames = [frame for frame, depth in enumerate(depths) if abs(depth) <= allowed]
    nearest = min(abs(depth) for depth in depths)
    if not frames and nearest < 0.5 * _thickness(header, depths):
        raise Unreadable(
            f"is a segmentation whose nearest frame lies {nearest:.3g} mm from the image's plane ({allowed:.2g} mm are "
            f"allowed); the image: {grid.plane} (--align-geometry resample takes the nearest frame)"
        )
    return frames


def _thickness(header: Dataset, depths: Sequence[float]) -> float:
    """Millimetres between planes: the least distance of two frames, or what the file says of a slice's thickness."""
    gaps = np.diff(np.unique(np.round(depths, 3)))
    if gaps.size:
        return float(gaps.min())
    return _declared_thickness(header)


def _declared_thickness(header: Dataset) -> float:
    measures = section(header, 0, "PixelMeasuresSequence")
    values = (numbers(measures, name) for name in ("SpacingBetweenSlices", "SliceThickness"))
    return next((one[0] for one in values if one and one[0] > 0), 0.0)
