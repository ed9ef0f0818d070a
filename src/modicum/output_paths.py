"""Checks of where something is to be written, before any work is done for it."""

import errno
import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from modicum.errors import InputError, ModicumError, ResourceError

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_output(option: str, path: Path, inputs: Iterable[Path] = (), *, folder: bool = False) -> None:
    """Checks that a file (or a folder) can be written, and is none of those that were read.

    Args:
        option: that named it, for instance ``--out``.
        path: the file or folder; folders above it may be missing.
        inputs: files and folders that are read.
        folder: whether it is to be a folder.

    Raises:
        InputError: it is one of the inputs, or cannot be written.
    """
    named = f"{option} '{path}'"
    if "\0" in str(path):
        raise InputError(f"{option} {str(path)!r} has a NUL byte in it", "give a path without it")
    try:
        _check_kind(named, path, folder)
        for given in inputs:
            if is_same(path, given):
                what = "folder" if given.is_dir() else "file"
                raise InputError(
                    f"{named} is a {what} that is read: it would be written over",
                    f"choose another {option}",
                )
        above = path if path.is_dir() else next(one for one in path.absolute().parents if one.exists())
        if not above.is_dir():
            raise InputError(f"{named}: '{above}' is a file, not a folder", f"choose another {option}")
        if not os.access(path if path.exists() else above, os.W_OK):
            raise InputError(
                f"{named} cannot be written (no permission for '{above}')", f"choose another {option}"
            )
    except OSError as error:
        raise from_os_error(error, path, option) from error


def check_files(option: str, files: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Checks that none of the files to be written is one of those that are read, also by another name or link.

    Args:
        option: that named their folder, for instance ``--out``.
        files: to be written.
        inputs: files that are read; only looked at where something is there already.

    Raises:
        InputError: one is.
    """
    there = {_identity(path): path for path in files if path.is_file()}
    if not there:
        return
    for given in inputs:
        if given.is_file() and (path := there.get(_identity(given))) is not None:
            raise InputError(
                f"{option}: '{path}' is a file that is read: it would be written over",
                f"choose another {option}",
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_kind(named: str, path: Path, folder: bool) -> None:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if path.is_dir() and not folder:
        raise InputError(f"{named} is a folder", "name a file")
    if path.is_file() and folder:
        raise InputError(f"{named} is a file", "name a folder")


def is_same(path: Path, other: Path) -> bool:
    """Whether two paths are one file or folder, also by links."""
    try:
        return path.samefile(other)
    except OSError:  # at least one does not exist yet
        return os.path.realpath(path) == os.path.realpath(other)


def system_error(error: BaseException) -> ModicumError | None:
    """What the operating system or Python's file functions refused, in one line; None for any other error."""
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, ValueError) and "null byte" in str(error):
        return InputError("a path has a NUL byte in it", "correct the path (in the command, table or recipe)")
    return None


def in_one_line(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """A function whose errors of the operating system are ours: one line each, with a remedy, as on the command line."""

    @wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        try:
            return function(*arguments, **named)
        except (OSError, ValueError) as error:
            user_error = system_error(error)
            if user_error is None:
                raise
            raise user_error from error

    return called


def from_os_error(error: OSError, path: Path | str | None = None, option: str = "") -> ModicumError:
    """What the operating system says of a file, in one line with a remedy.

    Args:
        error: as it was raised.
        path: the file, where the error does not name it.
        option: that named the file, where one did.
    """
    name = error.filename if error.filename is not None else path
    what = "a file" if name is None else f"'{os.fsdecode(name)}'" if isinstance(name, bytes) else f"'{name}'"
    where = f"another {option}" if option else "another place (--out, --runs)"
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return ResourceError(
            f"the disk is full; {what} was not written",
            "free some space, then run the same command again (a run continues with --resume)",
        )
    if error.errno in _REFUSED:
        return InputError(
            f"{what} cannot be read or written ({reason})", f"change its permissions, or choose {where}"
        )
    if error.errno == errno.ENAMETOOLONG:
        return InputError(f"the name of {what[:80]}... is too long for this disk", f"choose {where}")
    return InputError(f"{what} cannot be read or written ({reason})", f"check the path, or choose {where}")
