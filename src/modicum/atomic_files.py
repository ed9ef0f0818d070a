"""Atomic writing of files: after a crash a file is either the old or the new one, never half of it."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from modicum.errors import ResourceError

# Of a file, .NAME.8HEX.tmp; of a checkpoint's folder, .STAGE-STEP.tmp.
_TEMPORARY = re.compile(r"\..+(\.[0-9a-f]{8}|-\d{8,})\.tmp")


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Opens a temporary file next to ``path`` for writing, and renames it to ``path`` when the block succeeds.

    Args:
        path: its folder is created if missing.
        durable: return only when the disk has the file, so that it survives a power cut. That costs
            milliseconds; not worth it for many files that can be made again.

    Raises:
        ResourceError: the disk is full. ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A long name has no room for more.
    start = path.name.encode()[:200].decode(errors="ignore")
    temporary = path.with_name(f".{start}.{secrets.token_hex(4)}.tmp")
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
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise_if_disk_full(error, path)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise


def temporary_in(folder: Path) -> list[Path]:
    """What a kill left of unfinished writes in a folder and below: files, and folders of checkpoints."""
    return [path for path in folder.rglob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]


def remove_temporary(folder: Path) -> None:
    """Removes :func:`temporary_in`. Call it where no other process writes there."""
    for path in temporary_in(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically (UTF-8)."""
    with atomic_file(path) as file:
        file.write(text.encode())


def sync_folder(path: Path) -> None:
    """Makes renames in a folder durable, where the system supports it (Windows does not, and need not)."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def raise_if_disk_full(error: BaseException, path: Path) -> None:
    """Raises :class:`ResourceError` for errors of a full disk, also those of libraries that only quote them."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):
        raise ResourceError(
            f"the disk is full; '{path.name}' was not written",
            "free some space, then run the same command again (a run continues with --resume)",
        ) from error
