"""Whether a file is the same as before: by its size and time of change, or by its content's hash."""

import hashlib
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """What tells that a file is the same as before, without reading it."""

    size: int
    mtime_ns: int


def file_state(path: Path) -> FileState | None:
    """The state of a file now; None where there is none (or a folder, a pipe, a name the system refuses)."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileState(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@lru_cache(maxsize=64)
def file_sha256(path: Path, state: FileState) -> str:
    """SHA-256 of a file's content; remembered, as the parts of a file (slices of a volume) follow each other.

    Args:
        path: the file.
        state: of it now; another state is another content.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
