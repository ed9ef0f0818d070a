"""Where many images are read, one that cannot be read is an answer and no exception."""

import os
from collections.abc import Callable
from typing import TypeVar

from modicum.data.image import ImageRef
from modicum.errors import BrokenImageError

Answer = TypeVar("Answer")


def or_broken(ref: ImageRef, make: Callable[[], Answer]) -> Answer | BrokenImageError:
    """What ``make`` gives, or why the image ``ref`` that it reads cannot be used."""
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
    """An image at which the process that read it died."""
    reason = "decoding it ended the process (out of memory, or a crash in a decoder)"
    return BrokenImageError(str(ref), reason)
