"""The files that a data set was read from, and those that it names: no output may go over them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modicum.data.manifest import Manifest, path_columns, split_reference


def files_read(
    source: Path,
    manifest: Manifest,
    split_lists: Path | str | None = None,
    columns: Mapping[str, Any] | None = None,
) -> list[Path]:
    """The files that a data set was read from: its table, files that hold images in cells, its lists of splits and its
    file of boxes.

    Args:
        source: the file or folder that was named.
        manifest: what was read from it; its own source is a file of the folder.
        split_lists: folder of lists, or a list.
        columns: as they were given; ``boxes`` may name a file.
    """
    found = [source, source / manifest.source]
    found += sorted({ref.path for ref in manifest.refs() if ref.array is not None} - {*found})
    if split_lists is not None:
        lists = Path(split_lists)
        found += sorted(lists.iterdir()) if lists.is_dir() else [lists]
    boxes = (columns or {}).get("boxes")
    if isinstance(boxes, str | Path) and str(boxes):
        beside = source if source.is_dir() else source.parent
        found += [Path(boxes), beside / boxes]
    return [path for path in found if path.is_file()]


def files_beside(manifest: Manifest) -> Iterator[Path]:
    """The files that a data set names beside its images: masks, targets and the like."""
    return _files_of(manifest, [column for column in path_columns(manifest.table) if column != "image"])


def files_of(manifest: Manifest) -> Iterator[Path]:
    """The images of a data set, and all files beside them."""
    return _files_of(manifest, path_columns(manifest.table))


def _files_of(manifest: Manifest, columns: list[str]) -> Iterator[Path]:
    for column in columns:
        for cell in manifest.table[column].dropna().unique():
            yield manifest.root / split_reference(str(cell))[0]
