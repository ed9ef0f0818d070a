"""Finds the adjacent slices of a slice, for networks that see several of them together (2.5-D).

Adjacent slices are:

- for a slice of a NIfTI volume or a page of a TIFF: those of the same file;
- for a frame of a DICOM file: those of the same file and weighting, by position in the body where they have one;
- for a DICOM file of one frame: the files of its series in its folder, by position in the body;
- for any other file: the files of its folder whose names differ only in the last number, ordered by it, also with
  gaps (``p07_009.png``, ``p07_010.png``, ``p07_012.png``).

Beyond the first and the last slice, these two are repeated.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from modicum.data.dicom_frames import frame_volumes
from modicum.data.dicom_series import SliceHeader, in_order
from modicum.data.image import ImageRef
from modicum.data.readers import dicom_header, list_images, read_image
from modicum.data.readers.content import format_of_file
from modicum.errors import BrokenImageError, InputError

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


@dataclass
class AdjacentSlices:
    """Finds adjacent slices; caches information on files and folders."""

    _counts: dict[tuple[Path, int | None], int] = field(default_factory=dict, repr=False)
    _series: dict[Path, list[Path]] = field(default_factory=dict, repr=False)
    _names: dict[Path, dict[tuple[str, str], list[tuple[int, Path]]]] = field(
        default_factory=dict, repr=False
    )
    _volumes: dict[Path, list[tuple[int, ...]]] = field(default_factory=dict, repr=False)
    _formats: dict[Path, str] = field(default_factory=dict, repr=False)

    def around(self, ref: ImageRef, count: int) -> tuple[ImageRef, ...]:
        """A slice with ``count`` adjacent slices on each side, in order: ``2 count + 1`` references.

        Raises:
            BrokenImageError: the file cannot be read.
            InputError: files of a DICOM series that cannot be put in order.
        """
        if count == 0:
            return (ref,)
        form = self._format(ref.path)
        if form == "nifti" or ref.frame is not None:
            return self._in_file(ref, count, form)
        paths = self._of_series(ref.path) if form == "dicom" else self._of_names(ref.path)
        at = paths.index(ref.path)
        chosen = [paths[min(max(at + step, 0), len(paths) - 1)] for step in range(-count, count + 1)]
        return tuple(ref if path == ref.path else replace(ref, path=path) for path in chosen)

    def _format(self, path: Path) -> str:
        if path not in self._formats:
            self._formats[path] = format_of_file(path)
        return self._formats[path]

    def _in_file(self, ref: ImageRef, count: int, form: str) -> tuple[ImageRef, ...]:
        key = ref.path, ref.axis
        if key not in self._counts:
            self._counts[key] = read_image(ref, empty=True).source.slices
        last = self._counts[key] - 1
        if form == "nifti":
            at = (last + 1) // 2 if ref.index is None else ref.index  # the reader's default
            indices = [min(max(at + step, 0), last) for step in range(-count, count + 1)]
            return tuple(
                replace(ref, axis=2 if ref.axis is None else ref.axis, index=index) for index in indices
            )
        at = ref.frame or 0
        if form == "dicom":
            frames = self._frames_with(ref.path, at, last + 1)
            place = frames.index(at)
            steps = range(place - count, place + count + 1)
            return tuple(replace(ref, frame=frames[min(max(step, 0), len(frames) - 1)]) for step in steps)
        return tuple(replace(ref, frame=min(max(at + step, 0), last)) for step in range(-count, count + 1))

    def _frames_with(self, path: Path, frame: int, count: int) -> tuple[int, ...]:
        """The frames of the volume that a frame is of, in order."""
        if path not in self._volumes:
            self._volumes[path] = [volume.frames for volume in frame_volumes(path, count)]
        return next(frames for frames in self._volumes[path] if frame in frames)

    def _of_series(self, path: Path) -> list[Path]:
        """The files of a DICOM file's series in its folder, in order."""
        if path not in self._series:
            series_uid = str(dicom_header(path, ["SeriesInstanceUID"]).get("SeriesInstanceUID", ""))
            headers = []
            for candidate in list_images(path.parent):
                if candidate.parent != path.parent or self._format(candidate) != "dicom":
                    continue
                try:
                    headers.append(SliceHeader.read(candidate))
                except BrokenImageError:
                    continue
            mine = [header for header in headers if header.series == series_uid and header.frames == 1]
            ordered = (
                [slice_.path for slice_ in in_order(mine)[0]] if series_uid and len(mine) > 1 else [path]
            )
            self._series |= dict.fromkeys(ordered, ordered)
        return self._series[path]

    def _of_names(self, path: Path) -> list[Path]:
        """The files whose names differ from a file's only in the last number, ordered by it."""
        parts = _parts(path)
        if parts is None:
            return [path]
        if path.parent not in self._names:
            groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
            for candidate in path.parent.iterdir():
                if (candidate_parts := _parts(candidate)) is not None:
                    groups.setdefault((candidate_parts[0], candidate_parts[2]), []).append(
                        (candidate_parts[1], candidate)
                    )
            self._names[path.parent] = {key: sorted(group) for key, group in groups.items()}
        group = self._names[path.parent].get((parts[0], parts[2]), [])
        paths = [candidate for _, candidate in group]
        return paths if path in paths else [path]


def require_adjacent_slices(images: list[tuple[ImageRef, ...]], forbidden: set[ImageRef]) -> None:
    """Checks the adjacent slices of images.

    Args:
        images: each image with its adjacent slices.
        forbidden: images that must not be among them, such as targets in the same folder.

    Raises:
        InputError: no image has an adjacent slice, or one of them is forbidden.
    """
    for around in images:
        for ref in around:
            if ref in forbidden:
                raise InputError(
                    f"'{ref}' would be an adjacent slice of '{around[len(around) // 2]}', but is a target or mask",
                    "put images and targets into separate folders, or set adjacent_slices=0",
                )
    if all(len(set(around)) == 1 for around in images):
        raise InputError(
            f"no image has an adjacent slice (the first: '{images[0][0]}')",
            "use slices of volumes, or files whose names end in the slice's number, or set adjacent_slices=0",
        )


def _parts(path: Path) -> tuple[str, int, str] | None:
    """A name split into the text before its last number, the number, and the text after; None without a number."""
    match = _LAST_NUMBER.fullmatch(path.stem)
    return None if match is None else (match[1], int(match[2]), match[3] + path.suffix)
