"""Decodes the images of a store, in order, in one or several processes; a broken file never stops the others."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Shaped

from modicum.data.broken import ended_its_process, or_broken
from modicum.data.file_content import FileState, file_sha256
from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts, facts_of
from modicum.data.prepared import StoreSettings, read_cropped
from modicum.data.processes import in_processes
from modicum.errors import BrokenImageError

# Images per task of a worker: prepared images are megabytes, and wait in memory.
_CHUNK = 4


@dataclass(frozen=True)
class Undecoded:
    """One image to decode.

    Args:
        index: index among the requested images.
        item: its identifier in the catalogue.
        ref: its reference.
        state: state of its file when it was looked up.
    """

    index: int
    item: str
    ref: ImageRef
    state: FileState


@dataclass(frozen=True)
class Decoded:
    """One decoded image, ready to be stored."""

    key: str
    record: Shaped[np.ndarray, "height width channels"]
    facts: ImageFacts


Answer = Decoded | BrokenImageError


def decode_all(
    images: Sequence[Undecoded], settings: StoreSettings, workers: int
) -> Generator[Answer, None, None]:
    """Decodes in the order of ``images``, with any number of processes (``workers``; 0 for this one)."""
    yield from in_processes(partial(decode, settings), images, workers, _lost, chunk=_CHUNK)


def decode(settings: StoreSettings, image: Undecoded) -> Answer:
    """Reads and decodes an image once, for pixels and facts; returns an error for an unreadable one."""
    return or_broken(image.ref, lambda: _decoded(settings, image.ref, image.state))


def _decoded(settings: StoreSettings, ref: ImageRef, state: FileState) -> Decoded:
    image, record, cropped = read_cropped(ref, settings)
    digest = file_sha256(ref.path, state)
    return Decoded(digest + ref.part, record, facts_of(image, str(ref), digest, state.size, cropped))


def _lost(image: Undecoded) -> Answer:
    return ended_its_process(image.ref)
