"""Reads an image on the pixels of another (``onto=`` in a reference): where both files say where they lie.

- A NIfTI volume is sampled at the centres of the other image's pixels: the nearest voxel of labels, else linearly.
- Of a DICOM segmentation object, the frames that lie in the other image's plane make one image, whose values are the
  numbers of their segments. Frames without anything are left out of such objects, so that a plane between or beyond
  those that are there is empty; one that is only almost met by a frame is refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset

from modicum.data.image import MedicalImage, Source
from modicum.data.plane import SAME_PLACE, Grid, Plane
from modicum.data.readers.content import format_of_name
from modicum.data.readers.dicom import decoded_frame, place_of_frame, read_header
from modicum.data.readers.dicom_values import section, whole_number
from modicum.data.readers.intensity import to_unit
from modicum.data.readers.nifti import OpenVolume, place_of_slice, scaled, source_of
from modicum.data.readers.nifti_layout import MILLIMETRES
from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

SEGMENTATION = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
)  # binary or fractional; label map
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_Size = tuple[int, int]
_TAGS = [
    *("SOPClassUID", "SegmentationType", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
# An object of many frames is asked for each of its images.
_headers: Recent[Dataset] = Recent(8, lambda header: 1)


def plane_and_size(file: BinaryIO, form: str, request: Request) -> tuple[str, Plane | None, _Size]:
    """The format (``segmentation`` of such an object), plane and size of an image, without its pixels."""
    if form == "nifti":
        return form, *place_of_slice(file, request)
    if form != "dicom":
        return form, None, (0, 0)
    header = read_header(file, form, _TAGS)
    size = int(header.Rows), int(header.Columns)
    frames = max(1, whole_number(header, "NumberOfFrames") or 1)
    if request.ref.frame is None and str(header.get("SOPClassUID", "")) in SEGMENTATION:
        return "segmentation", None, size
    frame = request.choose("frame", request.ref.frame, frames, frames // 2)
    return form, place_of_frame(header, frame), size


def read_onto(file: BinaryIO, form: str, request: Request) -> MedicalImage:
    """Reads an image on the pixels of another.

    Raises:
        Unreadable: it is of another kind than the two above, or lies nowhere near.
    """
    assert request.ref.onto is not None
    grid = Grid.of_text(request.ref.onto)
    request.check_size(grid.height, grid.width)
    own_request = replace(request, ref=replace(request.ref, onto=None))
    if form == "nifti":
        return _of_volume(file, own_request, grid)
    if form == "dicom":
        return _of_segments(file, own_request, grid)
    raise Unreadable(
        f"is {form.upper()}, which does not say where it lies and cannot be brought onto another grid"
    )


def _spacing(plane: Plane) -> tuple[float, float]:
    return float(np.linalg.norm(plane.row_step)), float(np.linalg.norm(plane.column_step))


def _of_volume(file: BinaryIO, request: Request, grid: Grid) -> MedicalImage:
    volume = OpenVolume(file, request)
    if not int(volume.header["sform_code"]) and not int(volume.header["qform_code"]):
        raise Unreadable("does not say where it lies (sform_code and qform_code are 0)")
    millimetres = MILLIMETRES.get(volume.header.get_xyzt_units()[0], 1.0)
    to_voxels = np.linalg.inv(_LPS @ np.diag([millimetres] * 3 + [1.0]) @ volume.affine)
    rows, columns = np.mgrid[: grid.height, : grid.width]
    steps = np.stack([grid.plane.origin, grid.plane.row_step, grid.plane.column_step], axis=1)
    points = np.einsum("ij,jhw->ihw", steps, np.stack([np.ones_like(rows), rows, columns]).astype(np.float64))
    voxels = np.einsum("ij,jhw->ihw", to_voxels[:3, :3], points) + to_voxels[:3, 3].reshape(3, 1, 1)
    picture = volume.sampled(voxels, grid.labels or volume.dtype.names is not None)
    pixels, value_range = scaled(picture, volume, replace(request, empty=True))
    source = source_of(volume, request, picture.shape[:2], 1)
    return MedicalImage(pixels, _spacing(grid.plane), source, value_range, grid.plane)


def _of_segments(file: BinaryIO, request: Request, grid: Grid) -> MedicalImage:
    header = _headers.get(file_key(file), lambda: read_header(file, "dicom", _TAGS))
    if str(header.get("SOPClassUID", "")) not in SEGMENTATION:
        raise Unreadable(
            "is a DICOM file of one plane or of pictures, which is not brought onto another grid"
        )
    if (int(header.Rows), int(header.Columns)) != (grid.height, grid.width):
        raise Unreadable(
            f"is a segmentation of {header.Rows} x {header.Columns} pixels, the image has {grid.height} x {grid.width}"
        )
    kind = str(header.get("SegmentationType", "BINARY")).strip()
    if kind == "FRACTIONAL":
        raise Unreadable("is a fractional segmentation, whose values are no codes; save it as a binary one")
    codes = np.zeros((grid.height, grid.width), np.uint8)
    for frame in _frames_in(header, grid):
        picture = decoded_frame(file, request, header, frame)
        _add(codes, picture if kind == "LABELMAP" else (picture > 0) * _segment(header, frame))
    source = Source(
        path=request.ref.path,
        format="dicom",
        bits=8,
        mode="MONOCHROME2",
        height=grid.height,
        width=grid.width,
        mislabelled=format_of_name(request.ref.path) not in (None, "dicom"),
    )
    return MedicalImage(to_unit(codes, 0.0, 255.0), _spacing(grid.plane), source, (0.0, 255.0), grid.plane)


def _add(codes: UInt8[np.ndarray, "height width"], segment: Shaped[np.ndarray, "height width"]) -> None:
    there = segment > 0
    if int(segment.max(initial=0)) > 255:
        raise Unreadable("numbers its segments above 255")
    if (codes[there] != 0).any():
        raise Unreadable(
            "is a segmentation whose segments overlap; save each as a file of its own (masks:NAME)"
        )
    codes[there] = segment[there]


def _segment(header: Dataset, frame: int) -> int:
    number = whole_number(section(header, frame, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
    if number is None:
        raise Unreadable(f"does not say of which segment frame {frame} is")
    return number


def _frames_in(header: Dataset, grid: Grid) -> list[int]:
    """The frames that lie in a grid's plane; none where the plane is one of those that were left out as empty.

    Raises:
        Unreadable: the frames have other pixels than the grid, or the nearest lies beside its plane by less than a slice.
    """
    planes = [place_of_frame(header, frame) for frame in range(whole_number(header, "NumberOfFrames") or 1)]
    allowed = SAME_PLACE * grid.plane.pixel()
    normal = np.cross(grid.plane.column_step, grid.plane.row_step)
    normal /= np.linalg.norm(normal)
    depths: list[float] = []
    for plane in planes:
        if plane is None:
            raise Unreadable("is a segmentation that does not say where its frames lie")
        depth = float((np.array(plane.origin) - grid.plane.origin) @ normal)
        level = Plane.of_vectors(np.array(plane.origin) - depth * normal, plane.row_step, plane.column_step)
        off = level.distance(grid.plane, grid.height, grid.width)
        if off > allowed:
            raise Unreadable(
                f"is a segmentation that lies up to {off:.3g} mm beside the image's pixels ({allowed:.2g} mm allowed); "
                f"the image: {grid.plane}; a frame: {plane}"
            )
        depths.append(depth)
    frames = [frame for frame, depth in enumerate(depths) if abs(depth) <= allowed]
    nearest = min(abs(depth) for depth in depths)
    if not frames and nearest < 0.5 * _thickness(header, depths):
        raise Unreadable(
            f"is a segmentation whose nearest frame lies {nearest:.3g} mm from the image's plane ({allowed:.2g} mm are "
            f"allowed); the image: {grid.plane}"
        )
    return frames


def _thickness(header: Dataset, depths: Sequence[float]) -> float:
    """Millimetres between planes: the least distance of two frames, or what the file says of a slice's thickness."""
    gaps = np.diff(np.unique(np.round(depths, 3)))
    if gaps.size:
        return float(gaps.min())
    measures = section(header, 0, "PixelMeasuresSequence")
    return float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0.0)
