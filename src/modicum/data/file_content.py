"""Detects changes of a file, by size and time of change or by a hash of its content."""

import hashlib
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Size and time of change of a file, to detect changes without reading it."""

    size: int
    mtime_ns: int


def file_state(path: Path) -> FileState | None:
    """The current state of a file; None if it does not exist (or is a folder, a pipe, or has an invalid name)."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileState(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@lru_cache(maxsize=64)
def file_sha256(path: Path, state: FileState) -> str:
    """SHA-256 of a file's content; cached, as parts of a file (slices of a volume) are read one after the other.

    Args:
        path: the file.
        state: its current state; part of the cache's key.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
