"""Errors of single images as results instead of exceptions, for reading many images."""

import os
from collections.abc import Callable
from typing import TypeVar

from modicum.data.image import ImageRef
from modicum.errors import BrokenImageError

Answer = TypeVar("Answer")


def or_broken(ref: ImageRef, make: Callable[[], Answer]) -> Answer | BrokenImageError:
    """The result of ``make``, or the error why the image ``ref`` that it reads cannot be used."""
    try:
        return make()
    except BrokenImageError as error:
        return error
    except MemoryError:
        return BrokenImageError(str(ref), "needs more memory to decode than there is")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return BrokenImageError(str(ref), f"cannot be read from disk ({reason})")


def ended_its_process(ref: ImageRef) -> BrokenImageError:
    """The error for an image whose reading process crashed."""
    reason = "decoding it ended the process (out of memory, or a crash in a decoder)"
    return BrokenImageError(str(ref), reason)
