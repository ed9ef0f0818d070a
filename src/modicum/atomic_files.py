"""Files that are either the old one or the new one, never half of the new one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from modicum.errors import ResourceError


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path`` for writing; when the block ends well, it takes that name.

    Args:
        path: its folder is made where it is missing.
        durable: come back only when the disk has the file, so that a power cut cannot take it away again. That costs
            milliseconds; not worth it for many files that can be made anew.

    Raises:
        ResourceError: the disk is full. ``path`` is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
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
            f"the disk is full; '{path.name}' was not written",
            "free some space, then start the same again (a run goes on with --resume)",
        ) from error
