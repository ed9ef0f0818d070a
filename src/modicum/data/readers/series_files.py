"""The files of a DICOM file's series beside it: slices of one stack, each in a file of its own."""

import os
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from modicum.data.plane import Plane
from modicum.data.readers.content import format_of_content
from modicum.data.readers.dicom import place_of_frame, read_header
from modicum.data.readers.dicom_values import whole_number
from modicum.data.readers.recent import Recent
from modicum.data.readers.request import Unreadable

_TAGS: list[str] = [
    *("SeriesInstanceUID", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
SERIES = "SeriesInstanceUID"
Place = tuple[Path, Plane, tuple[int, int]]
# A folder is looked through once, not for each of its images.
_folders: Recent[dict[str, list[Place]]] = Recent(64, lambda files: 1)


def files_of_series(path: Path, header: Dataset) -> list[tuple[Path, Plane]]:
    """The files of one frame in a file's folder that are of its series and size, and where they lie.

    Files that cannot be read, or do not say where they lie, are left out.

    Args:
        path: the file.
        header: with its SeriesInstanceUID; without one there are none.
    """
    series = str(header.get(SERIES, "")).strip()
    if not series:
        return []
    folder = path.parent
    key = (str(folder), folder.stat().st_mtime_ns)
    found = _folders.get(key, lambda: _by_series(folder))
    size = int(header.Rows), int(header.Columns)
    return [(file, plane) for file, plane, of_file in found.get(series, []) if of_file == size]


def _by_series(folder: Path) -> dict[str, list[Place]]:
    files: dict[str, list[Place]] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        found = _placed(Path(entry.path)) if entry.is_file() else None
        if found is not None:
            series, place = found
            files.setdefault(series, []).append(place)
    return files


def _placed(path: Path) -> tuple[str, Place] | None:
    try:
        with path.open("rb") as file:
            if format_of_content(file) != "dicom":
                return None
            header: Any = read_header(file, "dicom", _TAGS)
            plane = place_of_frame(header, 0) if (whole_number(header, "NumberOfFrames") or 1) == 1 else None
    except (Unreadable, OSError):
        return None
    except Exception:  # of pydicom, for a damaged file; who asks for that file is told
        return None
    if plane is None:
        return None
    return str(header.get(SERIES, "")).strip(), (path, plane, (int(header.Rows), int(header.Columns)))
