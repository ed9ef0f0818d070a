"""Files that are either the old one or the new one, never half of the new one."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from modicum.errors import ResourceError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path`` for writing; on success it is flushed to disk and takes its name.

    Raises:
        ResourceError: the disk is full. ``path`` is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        raise_if_disk_full(error, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically (UTF-8)."""
    with atomic_file(path) as file:
        file.write(text.encode())


def sync_folder(path: Path) -> None:
    """Makes renames in a folder durable, where the system can (Windows cannot, and needs not)."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def raise_if_disk_full(error: BaseException, path: Path) -> None:
    """Turns the errors of a full disk, also those of libraries that only quote them, into a clear one."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):
        raise ResourceError(
            f"the disk is full; '{path.name}' was not written", "free some space, then go on with --resume"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
