"""Volumes as ordered slices: NIfTI files, DICOM series, and DICOM files of several frames.

A volume here is a list of references and a few numbers. Its slices are read one by one, so that only
one of them is in memory (and what the readers cache of a compressed file).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from nibabel.affines import voxel_sizes

from modicum.data.dicom_frames import frame_volumes
from modicum.data.dicom_series import SliceHeader, in_order
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import BACKGROUND, IntensityWindow
from modicum.data.readers import check_intensity, list_images, nifti_header, read_dicom_values, read_image
from modicum.data.readers.content import format_of_content
from modicum.data.readers.intensity import display_range, foreground, percentile_ends, spaced, span
from modicum.data.readers.nifti_layout import MILLIMETRES, SliceLie
from modicum.data.readers.request import Unreadable
from modicum.data.slice_grid import grid_affine
from modicum.errors import BrokenImageError, InputError

# Two grids are the same if no corner differs by more than this share of the smallest voxel side.
_SAME_GRID = 0.1


@dataclass(frozen=True, eq=False)
class Volume:
    """The slices of one volume, in order.

    Attributes:
        format: ``nifti`` or ``dicom``.
        refs: one reference per slice. Across canonical axes (NIfTI) from left to right, back to front or foot to
            head; along the normal of the plane (DICOM), for axial slices from foot to head.
        shape: slices, rows and columns, upright as returned by the reader.
        affine: maps (slice, row, column) to millimetres to the right, front and head; None if
            unknown. With a tilted gantry it is sheared. A single DICOM slice counts as 1 mm thick.
        modality: modality of DICOM files.
    """

    format: str
    refs: tuple[ImageRef, ...]
    shape: tuple[int, int, int]
    affine: Float64[np.ndarray, "4 4"] | None = None
    modality: str = ""
    _windows: dict[str, IntensityWindow] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Millimetres between the first pixels of slices, between rows and between columns."""
        if self.affine is None:
            return None
        between, rows, columns = voxel_sizes(self.affine)
        return float(between), float(rows), float(columns)

    def window(self, rule: str) -> IntensityWindow:
        """The window of the whole volume by a rule (``range`` or ``percentile``); cached.

        Raises:
            InputError: the rule is unknown, or ``percentile`` for a CT.
            BrokenImageError: a slice cannot be read, or the volume has no finite values.
        """
        check_intensity(rule)
        if rule not in self._windows:
            if self.format == "nifti":
                image = read_image(self.refs[0], intensity=rule, empty=True)
                self._windows[rule] = IntensityWindow.of(image, rule)
            else:
                self._windows[rule] = self._dicom_window(rule)
        return self._windows[rule]

    def images(
        self, intensity: IntensityWindow | str | None = None, empty: bool = False
    ) -> Iterator[MedicalImage]:
        """Yields the slices in order, all with the same window.

        Args:
            intensity: a window, or the rule to determine the whole volume's; None for the default of ``read_image``
                for each slice (such as a DICOM file's own window).
            empty: read slices of only NaN as 0 instead of raising.
        """
        window = self.window(intensity) if isinstance(intensity, str) else intensity
        for ref in self.refs:
            yield read_image(ref, intensity=window, empty=empty)

    def _dicom_window(self, rule: str) -> IntensityWindow:
        if rule == "percentile" and self.modality == "CT":
            raise InputError(
                f"'{self.refs[0].path}' is a CT, where zero is water and not background: percentiles do not apply",
                "pass a window, for instance IntensityWindow.centred(40, 400)",
            )
        ends: list[float] = []
        seen = []
        step = spaced(int(np.prod(self.shape)))
        for ref in self.refs:
            values = read_dicom_values(ref)
            if np.isfinite(values).any():
                ends += span(values)
            if rule == "percentile":
                seen.append(foreground(values, step))
        if not ends:
            raise BrokenImageError(str(self.refs[0]), "its series contains only padding")
        if rule == "percentile":
            return IntensityWindow(*percentile_ends(np.concatenate(seen)), background=BACKGROUND)
        return IntensityWindow(*display_range(min(ends), max(ends), is_float=False))


def nifti_volumes(path: Path, axis: int = 2) -> list[Volume]:
    """The volumes of a NIfTI file (one, or those of a series), sliced across one of the body's axes.

    Args:
        path: the file.
        axis: 0 left-right, 1 back-front, 2 foot-head.

    Raises:
        BrokenImageError: the file's header cannot be used.
        InputError: an invalid axis.
    """
    if axis not in (0, 1, 2):
        raise InputError(
            f"axis={axis} is not an axis of a volume", "use 0 (left-right), 1 (back-front) or 2 (foot-head)"
        )
    layout = nifti_header(path)
    lie = SliceLie.of(layout.turn, axis)
    shape = tuple(layout.shape[at] for at in (lie.across, lie.rows, lie.columns))
    # Maps (slice, row, column) to the file's three indices.
    to_file = np.zeros((4, 4))
    to_file[3, 3] = 1
    steps = (lie.forward, lie.row_step, lie.column_step)
    for at, (file_axis, step) in enumerate(zip((lie.across, lie.rows, lie.columns), steps, strict=True)):
        to_file[file_axis, at] = step
        to_file[file_axis, 3] = 0 if step > 0 else shape[at] - 1
    millimetres = MILLIMETRES.get(layout.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([millimetres] * 3 + [1.0]) @ layout.affine @ to_file
    series = layout.shape[3] if len(layout.shape) > 3 else 1
    frames = range(series) if series > 1 else (None,)
    return [
        Volume(
            format="nifti",
            refs=tuple(ImageRef(path, frame=frame, axis=axis, index=at) for at in range(shape[0])),
            shape=(shape[0], shape[1], shape[2]),
            affine=affine,
        )
        for frame in frames
    ]


def dicom_volume(paths: Iterable[Path]) -> Volume:
    """The volume of DICOM files of one series.

    Raises:
        BrokenImageError: a file is not a DICOM image.
        InputError: they are not one volume; see :func:`modicum.data.dicom_series.in_order`.
    """
    volumes = _volumes_of([SliceHeader.read(path) for path in paths])
    if len(volumes) > 1:
        raise InputError(
            f"'{volumes[0].refs[0].path}' holds {len(volumes)} volumes (weightings, phases or stacks)",
            "read them with find_volumes, or pass frames of one as single images",
        )
    return volumes[0]


def find_volumes(paths: Iterable[Path], axis: int = 2) -> list[Volume]:
    """Finds the volumes in files and below folders: each NIfTI file, and DICOM files by series.

    Args:
        paths: files, or folders to search; other files than NIfTI and DICOM in folders are ignored. A file of several
            frames may be several volumes, one for each weighting.
        axis: axis across which NIfTI volumes are sliced; see :func:`nifti_volumes`.

    Raises:
        BrokenImageError: a file cannot be read.
        InputError: there is no volume, a file is not one, or a series is incomplete.
    """
    paths = list(paths)
    volumes: list[Volume] = []
    series: dict[str, list[SliceHeader]] = {}
    for path in paths:
        folder = path.is_dir()
        for file in list_images(path) if folder else [path]:
            form = _format(file)
            if form == "nifti":
                volumes += nifti_volumes(file, axis)
            elif form == "dicom":
                header = SliceHeader.read(file)
                # Files of several frames are separate volumes; they may share a series.
                series.setdefault(header.series if header.frames == 1 else f"file {file}", []).append(header)
            elif not folder:
                raise InputError(
                    f"'{file}' is {form.upper()}, not a volume", "pass NIfTI files, or DICOM series"
                )
    volumes += [volume for slices in series.values() for volume in _volumes_of(slices)]
    if not volumes:
        named = ", ".join(f"'{path}'" for path in paths) or "no path"
        raise InputError(f"no volume was found in {named}", "pass NIfTI files, or folders of DICOM series")
    return volumes


def require_same_grid(first: Volume, second: Volume) -> None:
    """Checks that two volumes (such as an image and its target) have the same voxel grid.

    Axes may be in another order or direction, as slices are rotated upright.

    Raises:
        InputError: their shapes differ, or their corners by more than a tenth of a voxel.
    """
    pair = f"'{first.refs[0].path}' and '{second.refs[0].path}'"
    remedy = "resample one to the other's grid first"
    if first.shape != second.shape:
        shapes = " and ".join(" x ".join(map(str, one.shape)) for one in (first, second))
        raise InputError(f"{pair} differ in shape (slices x rows x columns): {shapes}", remedy)
    if first.affine is None or second.affine is None:
        return
    corners = np.array([[s, r, c, 1] for s in (0, 1) for r in (0, 1) for c in (0, 1)], np.float64)
    corners[:, :3] *= np.array(first.shape) - 1
    off = float(np.abs(corners @ (first.affine - second.affine).T).max())
    if off > _SAME_GRID * min(voxel_sizes(first.affine)):
        raise InputError(f"{pair} have different positions: their corners are {off:.3g} mm apart", remedy)


def _volumes_of(slices: list[SliceHeader]) -> list[Volume]:
    """The volume of a series, or those of one file of several frames."""
    several = next((slice_ for slice_ in slices if slice_.frames > 1), None)
    if several is not None:
        if len(slices) > 1:
            raise InputError(
                f"'{several.path}' has {several.frames} frames and cannot be a slice of a series",
                "pass it separately",
            )
        return [
            Volume(
                "dicom",
                tuple(ImageRef(several.path, frame=frame) for frame in volume.frames),
                (len(volume.frames), *several.size),
                volume.affine,
                several.modality,
            )
            for volume in frame_volumes(several.path, several.frames)
        ]
    ordered = in_order(slices)[0]
    first = ordered[0]
    refs = tuple(ImageRef(slice_.path) for slice_ in ordered)
    affine = None
    positions = [slice_.position for slice_ in ordered if slice_.position is not None]
    if positions and first.directions is not None and first.spacing is not None:
        names = [str(slice_.path) for slice_ in ordered]
        affine = grid_affine(np.array(positions), first.directions, first.spacing, names)
    return [Volume("dicom", refs, (len(refs), *first.size), affine, first.modality)]


def _format(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return format_of_content(file)
    except Unreadable as error:
        raise BrokenImageError(str(path), error.reason) from None
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist", "check the path") from None
    except OSError as error:
        raise BrokenImageError(str(path), f"cannot be read from disk ({error.strerror})") from None
