"""Reads an image on the pixels of another (``onto=`` in a reference): where both files say where they lie.

- A NIfTI volume is sampled at the centres of the other image's pixels: the nearest voxel of labels, else linearly.
- So are frames of a DICOM file, and the files of its series in its folder. One plane alone fills its slice thickness;
  beyond that it is refused.
- DICOM segmentation objects: :mod:`modicum.data.readers.segmentation`.
"""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64
from pydicom.dataset import Dataset

from modicum.data.image import MedicalImage, Source
from modicum.data.plane import Grid, Plane
from modicum.data.readers.content import format_of_name
from modicum.data.readers.dicom import place_of_frame, read_header, read_values
from modicum.data.readers.dicom_values import numbers, section, whole_number
from modicum.data.readers.frame_stack import FrameStack
from modicum.data.readers.intensity import clear_background, display_range, to_unit
from modicum.data.readers.nifti import OpenVolume, place_of_slice, scaled, source_of
from modicum.data.readers.nifti_layout import MILLIMETRES
from modicum.data.readers.request import Request, Unreadable
from modicum.data.readers.segmentation import TAGS, is_segmentation, of_segments
from modicum.data.readers.series_files import SERIES, files_of_series

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_Size = tuple[int, int]
OF_VALUES = ["BitsStored", "PhotometricInterpretation", "SliceThickness", SERIES]


def plane_and_size(file: BinaryIO, form: str, request: Request) -> tuple[str, Plane | None, _Size]:
    """The format (``segmentation`` of such an object), plane and size of an image, without its pixels."""
    if form == "nifti":
        return form, *place_of_slice(file, request)
    if form != "dicom":
        return form, None, (0, 0)
    header = read_header(file, form, TAGS)
    size = int(header.Rows), int(header.Columns)
    frames = max(1, whole_number(header, "NumberOfFrames") or 1)
    if request.ref.frame is None and is_segmentation(header):
        return "segmentation", None, size
    frame = request.choose("frame", request.ref.frame, frames, frames // 2)
    return form, place_of_frame(header, frame), size


def read_onto(file: BinaryIO, form: str, request: Request) -> MedicalImage:
    """Reads an image on the pixels of another.

    Raises:
        Unreadable: it is of another kind than those above, or lies nowhere near.
    """
    assert request.ref.onto is not None
    grid = Grid.of_text(request.ref.onto)
    request.check_size(grid.height, grid.width)
    own_request = replace(request, ref=replace(request.ref, onto=None))
    if form == "nifti":
        return _of_volume(file, own_request, grid)
    if form == "dicom":
        if request.ref.frame is None and is_segmentation(read_header(file, form, ["SOPClassUID"])):
            return of_segments(file, own_request, grid)
        own_request.allow_only("a DICOM file", "frame")
        return _of_frames(file, own_request, grid)
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


def _of_frames(file: BinaryIO, request: Request, grid: Grid) -> MedicalImage:
    """Frames of a DICOM file (one, or a stack), or the files of its series, at the centres of a grid's pixels."""
    header = read_header(file, "dicom", [*TAGS, *OF_VALUES])
    frames = max(1, whole_number(header, "NumberOfFrames") or 1)
    slices, stack = _stack(header, request, frames)
    level, row, column, inside = stack.nearest(grid)
    if not inside.any() and len(slices) < 2:
        raise Unreadable(
            f"is one plane {stack.distance(grid):.3g} mm from the image's, more than half of its thickness "
            f"({stack.thickness:g} mm); name the slice that lies there, or give the series as one NIfTI file"
        )
    if not grid.labels:
        points, inside = stack.between(grid)
    # Labels are read where they are needed; other values have the range of the whole stack.
    needed = np.unique(level[inside]) if grid.labels and inside.any() else np.arange(len(slices))
    of_levels = [slices[at] for at in np.argsort(stack.level_of)[needed].tolist()]
    whole = np.stack(
        [_values(file, request, path, frame if frames > 1 else None) for path, frame in of_levels]
    )
    low = float(np.nanmin(whole)) if np.isfinite(whole).any() else 0.0
    if grid.labels:
        at = np.searchsorted(needed, level).clip(0, len(needed) - 1)
        picture = np.where(inside, whole[at, row, column], 0.0)
    else:
        from scipy.ndimage import map_coordinates

        picture = map_coordinates(whole, points, order=1, cval=low)
        picture = np.where(inside, picture, low)
    ends = request.window_ends or display_range(
        low, max(low, float(np.nanmax(whole, initial=low))), is_float=False
    )
    pixels = to_unit(picture, *ends)
    clear_background(pixels, picture, request.background)
    source = Source(
        path=request.ref.path,
        format="dicom",
        bits=whole_number(header, "BitsStored") or 16,
        mode=str(header.get("PhotometricInterpretation", "")).strip(),
        height=grid.height,
        width=grid.width,
        mislabelled=format_of_name(request.ref.path) not in (None, "dicom"),
    )
    return MedicalImage(pixels, _spacing(grid.plane), source, ends, grid.plane)


def _stack(header: Dataset, request: Request, frames: int) -> tuple[list[tuple[Path, int]], FrameStack]:
    """The frames that are resampled (files and indices), and where they lie as one stack.

    Raises:
        Unreadable: they make no stack.
    """
    path, size = request.ref.path, (int(header.Rows), int(header.Columns))
    if frames == 1:
        # A file of one slice is one of its series, where the others lie beside it, each at a place of its own.
        series = files_of_series(path, header)
        if len(series) > 1:
            stack = FrameStack.of([plane for _, plane in series], None, size)
            if len(stack.levels) == len(series):
                _check_even(stack)
                return [(file, 0) for file, _ in series], stack
    chosen = list(range(frames))
    if request.ref.frame is not None:
        chosen = [request.choose("frame", request.ref.frame, frames, 0)]
    thickness = None
    if len(chosen) < 2:
        measures = section(header, 0, "PixelMeasuresSequence")
        thickness = next(iter(numbers(measures, "SliceThickness") or numbers(header, "SliceThickness")), 0.0)
    stack = FrameStack.of([place_of_frame(header, frame) for frame in chosen], thickness, size)
    if len(stack.levels) < len(chosen):
        raise Unreadable(
            "has several frames at one place, and nothing says which is meant: name one ('#frame=0')"
        )
    _check_even(stack)
    return [(path, frame) for frame in chosen], stack


def _check_even(stack: FrameStack) -> None:
    gaps = np.diff(stack.levels)
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        raise Unreadable("has frames at uneven distances, between which nothing can be said")


def _values(
    file: BinaryIO, request: Request, path: Path, frame: int | None
) -> Float64[np.ndarray, "height width"]:
    """A frame in the file's units: of the open file, or of another of its series."""
    request = replace(request, ref=replace(request.ref, path=path, frame=frame))
    if path == Path(file.name):
        return read_values(file, "dicom", request)
    with path.open("rb") as other:
        return read_values(other, "dicom", request)
