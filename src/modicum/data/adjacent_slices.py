"""The slices beside a slice, for networks that see some of them together (2.5-D).

Which they are:

- a slice of a NIfTI volume, a frame of a DICOM file or a page of a TIFF: those of the same file;
- a DICOM file of one frame: the files of its series in its folder, by their places in the body;
- any other file: the files of its folder whose names differ from its own in the last number alone, by that number,
  gaps included (``p07_009.png``, ``p07_010.png``, ``p07_012.png``).

Beyond the first and the last slice these two are repeated.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from modicum.data.dicom_series import SliceHeader, in_order
from modicum.data.image import ImageRef
from modicum.data.readers import dicom_header, list_images, read_image
from modicum.data.readers.content import format_of_file
from modicum.errors import BrokenImageError, InputError

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


@dataclass
class AdjacentSlices:
    """Finds the slices around slices; what it learns of files and folders is kept."""

    _counts: dict[tuple[Path, int | None], int] = field(default_factory=dict, repr=False)
    _series: dict[Path, list[Path]] = field(default_factory=dict, repr=False)
    _names: dict[Path, dict[tuple[str, str], list[tuple[int, Path]]]] = field(
        default_factory=dict, repr=False
    )
    _formats: dict[Path, str] = field(default_factory=dict, repr=False)

    def around(self, ref: ImageRef, count: int) -> tuple[ImageRef, ...]:
        """A slice with ``count`` neighbours to each side, in their order; ``2 count + 1`` references.

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
            at = (last + 1) // 2 if ref.index is None else ref.index  # the reader's choice
            places = [min(max(at + step, 0), last) for step in range(-count, count + 1)]
            return tuple(
                replace(ref, axis=2 if ref.axis is None else ref.axis, index=place) for place in places
            )
        at = ref.frame or 0
        return tuple(replace(ref, frame=min(max(at + step, 0), last)) for step in range(-count, count + 1))

    def _of_series(self, path: Path) -> list[Path]:
        """The files of a DICOM file's series that lie in its folder, in order."""
        if path not in self._series:
            own = str(dicom_header(path, ["SeriesInstanceUID"]).get("SeriesInstanceUID", ""))
            headers = []
            for other in list_images(path.parent):
                if other.parent != path.parent or self._format(other) != "dicom":
                    continue
                try:
                    headers.append(SliceHeader.read(other))
                except BrokenImageError:
                    continue
            mine = [header for header in headers if header.series == own and header.frames == 1]
            ordered = [slice_.path for slice_ in in_order(mine)[0]] if own and len(mine) > 1 else [path]
            self._series |= dict.fromkeys(ordered, ordered)
        return self._series[path]

    def _of_names(self, path: Path) -> list[Path]:
        """The files whose names differ from a file's in their last number alone, by that number."""
        parts = _parts(path)
        if parts is None:
            return [path]
        if path.parent not in self._names:
            groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
            for other in path.parent.iterdir():
                if (found := _parts(other)) is not None:
                    groups.setdefault((found[0], found[2]), []).append((found[1], other))
            self._names[path.parent] = {key: sorted(group) for key, group in groups.items()}
        group = self._names[path.parent].get((parts[0], parts[2]), [])
        paths = [other for _, other in group]
        return paths if path in paths else [path]


def require_adjacent_slices(images: list[tuple[ImageRef, ...]], forbidden: set[ImageRef]) -> None:
    """Checks the neighbours of many images.

    Args:
        images: each with its neighbours.
        forbidden: what none may be, such as targets that stand in the same folder.

    Raises:
        InputError: no image has any neighbour, or one of them is forbidden.
    """
    for around in images:
        for ref in around:
            if ref in forbidden:
                raise InputError(
                    f"'{ref}' would be a neighbour of '{around[len(around) // 2]}', and is a target or mask",
                    "put images and targets into folders of their own, or set adjacent_slices=0",
                )
    if all(len(set(around)) == 1 for around in images):
        raise InputError(
            f"no image has a neighbouring slice (the first: '{images[0][0]}')",
            "give slices of volumes, files whose names end in the slice's number, or set adjacent_slices=0",
        )


def _parts(path: Path) -> tuple[str, int, str] | None:
    """A name as what stands before its last number, the number, and what follows; None without a number."""
    found = _LAST_NUMBER.fullmatch(path.stem)
    return None if found is None else (found[1], int(found[2]), found[3] + path.suffix)
