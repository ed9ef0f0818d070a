"""What a folder holds, with names compared without regard to case: copies of public data sets differ in it."""

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

# Recognising a layout must not take long where a folder holds a hundred thousand images.
_MOST_IMAGES = 4000
_SETTLED = 2.0  # seconds


def names_in(folder: Path) -> list[str]:
    """Names in a folder, hidden ones excepted; of images not more than are needed to recognise a layout."""
    try:
        changed = folder.stat().st_mtime
        # A folder that changed just now may change again before its time does.
        read = _names if time.time() - changed > _SETTLED else _names.__wrapped__
        return list(read(str(folder), changed))
    except OSError:
        return []


@lru_cache(maxsize=64)  # each layout asks for the same few folders
def _names(folder: str, changed: float) -> tuple[str, ...]:
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    if len(names) > _MOST_IMAGES:
        others = [name for name in names if not _is_image_name(name)]
        names = list({*others, *names[:_MOST_IMAGES]})
    return tuple(sorted(names))


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(tuple(SUFFIX_FORMATS))


def any_name(folder: Path, pattern: str) -> bool:
    """Whether something in a folder has a name of this pattern."""
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names_in(folder))


def inside(folder: Path | None, *patterns: str) -> Path | None:
    """The folder (or file) that is reached by names of these patterns, one below the other."""
    for pattern in patterns:
        if folder is None:
            return None
        found = [name for name in names_in(folder) if re.fullmatch(pattern, name, re.IGNORECASE)]
        folder = folder / found[0] if found else None
    return folder


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, in natural order."""
    found = (folder / name for name in names_in(folder) if not _is_image_name(name))
    return sorted((path for path in found if path.is_dir()), key=lambda path: natural_key(path.name))


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """Image files of a folder in natural order."""
    found = images_below(folder) if deep else list_folder(folder)[0]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def stem_of(path: Path) -> str:
    """A file's name without the ending of its format: ``im0001`` of ``im0001.ppm.gz``."""
    name = path.name
    ending = next((suffix for suffix in SUFFIX_FORMATS if name.lower().endswith(suffix)), path.suffix)
    return name.removesuffix(name[len(name) - len(ending) :]) if ending else name


def keyed(paths: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Files whose stem has a pattern, by its first group (lower case).

    Raises:
        InputError: two files for one key.
    """
    found: dict[str, Path] = {}
    for key, path in _keys(paths, pattern):
        if key in found:
            raise InputError(
                f"'{found[key].name}' and '{path.name}' in '{path.parent.name}' are both for '{key}'",
                "keep one of them",
            )
        found[key] = path
    return found


def _keys(paths: Iterable[Path], pattern: str) -> Iterator[tuple[str, Path]]:
    for path in paths:
        match = re.fullmatch(pattern, stem_of(path), re.IGNORECASE)
        if match:
            yield comparable(match[1]), path
