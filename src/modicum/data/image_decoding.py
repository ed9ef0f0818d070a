"""Decoding the images of a store, in order, in this process or several; a broken file never stops the others."""

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modicum.data.image import ImageRef
from modicum.data.image_catalogue import FileState, part_of
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.processes import in_processes
from modicum.data.scan import ImageFacts, facts_of
from modicum.errors import BrokenImageError

# Images a worker is handed at once: prepared images are megabytes, and wait in memory for their turn.
_CHUNK = 4


@dataclass(frozen=True)
class Task:
    """One image to decode.

    Args:
        position: among the images that were asked for.
        item: its name in the catalogue.
        ref: where it is.
        state: of its file when it was looked at.
    """

    position: int
    item: str
    ref: ImageRef
    state: FileState


@dataclass(frozen=True)
class Decoded:
    """One image, ready to be stored."""

    key: str
    record: UInt8[np.ndarray, "height width channels"]
    facts: ImageFacts


Answer = Decoded | BrokenImageError


def decode_all(tasks: Sequence[Task], settings: StoreSettings, workers: int) -> Generator[Answer, None, None]:
    """Decodes in the order of ``tasks``, whatever the number of processes (``workers``; 0 for this one)."""
    yield from in_processes(partial(decode, settings), tasks, workers, _lost, chunk=_CHUNK)


def decode(settings: StoreSettings, task: Task) -> Answer:
    """Reads and decodes an image once, for pixels and facts; an unreadable one is an answer too."""
    ref, state = task.ref, task.state
    try:
        image, record = read_prepared(ref, settings)
        digest = file_sha256(ref.path, state)
        return Decoded(digest + part_of(ref), record, facts_of(image, str(ref), digest, state.size))
    except BrokenImageError as error:
        return error
    except MemoryError:
        return BrokenImageError(str(ref), "needs more memory to decode than there is")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return BrokenImageError(str(ref), f"cannot be read from disk ({reason})")


def _lost(task: Task) -> Answer:
    return BrokenImageError(
        str(task.ref), "decoding it ended the process (out of memory, or a crash in a decoder)"
    )


@lru_cache(maxsize=64)
def file_sha256(path: Path, state: FileState) -> str:
    """SHA-256 of a file's content; remembered, as the slices of a volume follow each other."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
