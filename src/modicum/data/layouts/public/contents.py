"""Lists folders with case-insensitive names, as copies of public data sets differ in case."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from modicum.data.layouts.file_finder import comparable
from modicum.data.layouts.folders import images_below, list_folder, natural_key
from modicum.data.readers.content import SUFFIX_FORMATS
from modicum.errors import InputError

# Recognising a layout must be fast even in a folder of a hundred thousand images.
_MOST_IMAGES = 4000
_SETTLED = 2.0  # seconds


def names_in(folder: Path) -> list[str]:
    """Names in a folder, without hidden ones; of images only as many as are needed to recognise a layout."""
    try:
        changed = folder.stat().st_mtime
        # A folder that changed just now may change again with the same time of change.
        read = _names if time.time() - changed > _SETTLED else _names.__wrapped__
        return list(read(str(folder), changed))
    except OSError:
        return []


@lru_cache(maxsize=64)  # each layout asks for the same few folders
def _names(folder: str, changed: float) -> tuple[str, ...]:
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    if len(names) > _MOST_IMAGES:
        not_images = [name for name in names if not _is_image_name(name)]
        names = list({*not_images, *names[:_MOST_IMAGES]})
    return tuple(sorted(names))


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(tuple(SUFFIX_FORMATS))


def any_name(folder: Path, pattern: str) -> bool:
    """Whether a name in a folder matches a pattern."""
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names_in(folder))


def inside(folder: Path | None, *patterns: str) -> Path | None:
    """The folder (or file) with a path of names that match these patterns, or None."""
    for pattern in patterns:
        if folder is None:
            return None
        matches = [name for name in names_in(folder) if re.fullmatch(pattern, name, re.IGNORECASE)]
        folder = folder / matches[0] if matches else None
    return folder


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, in natural order."""
    paths = (folder / name for name in names_in(folder) if not _is_image_name(name))
    return sorted((path for path in paths if path.is_dir()), key=lambda path: natural_key(path.name))


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """Image files of a folder in natural order."""
    paths = images_below(folder) if deep else list_folder(folder)[0]
    return sorted(paths, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def stem_of(path: Path) -> str:
    """A file's name without its suffix: ``im0001`` of ``im0001.ppm.gz``."""
    name = path.name
    ending = next((suffix for suffix in SUFFIX_FORMATS if name.lower().endswith(suffix)), path.suffix)
    return name.removesuffix(name[len(name) - len(ending) :]) if ending else name


def keyed(paths: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Files whose stem matches a pattern, by its first group (lower case).

    Raises:
        InputError: two files for one key.
    """
    paths_by_key: dict[str, Path] = {}
    for key, path in _keys(paths, pattern):
        if key in paths_by_key:
            raise InputError(
                f"'{paths_by_key[key].name}' and '{path.name}' in '{path.parent.name}' are both for '{key}'",
                "keep one of them",
            )
        paths_by_key[key] = path
    return paths_by_key


def _keys(paths: Iterable[Path], pattern: str) -> Iterator[tuple[str, Path]]:
    for path in paths:
        match = re.fullmatch(pattern, stem_of(path), re.IGNORECASE)
        if match:
            yield comparable(match[1]), path
