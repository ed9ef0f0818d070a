"""Decoding many images, in order, in this process or several; one broken file never stops the others."""

import hashlib
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modicum.data.image import ImageRef
from modicum.data.image_catalogue import FileState, part_of
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.scan import ImageFacts, facts_of
from modicum.errors import BrokenImageError

# Images in flight per worker process: enough that none waits, few enough that memory stays bounded.
_AHEAD = 4


@dataclass(frozen=True)
class Decoded:
    """One image, ready to be stored. Record and facts are None where they are known already by the key."""

    key: str
    record: UInt8[np.ndarray, "height width channels"] | None
    facts: ImageFacts | None


@dataclass(frozen=True)
class Decoder:
    """What a worker process needs to know.

    Args:
        settings: how images are prepared.
        known: keys of records and facts that need not be made again.
    """

    settings: StoreSettings
    known: frozenset[str]

    def decode(self, ref: ImageRef, state: FileState) -> Decoded | BrokenImageError:
        """Reads and decodes an image once, for pixels and facts; an unreadable one is an answer too."""
        try:
            digest = file_sha256(ref.path, state)
            key = digest + part_of(ref)
            if key in self.known:
                return Decoded(key, None, None)
            image, record = read_prepared(ref, self.settings)
            return Decoded(key, record, facts_of(image, str(ref), digest, state.size))
        except BrokenImageError as error:
            return error
        except OSError as error:
            return BrokenImageError(str(ref), os.strerror(error.errno) if error.errno else "cannot be read")
        except MemoryError:
            return BrokenImageError(str(ref), "is too large for this machine's memory")


@lru_cache(maxsize=64)
def file_sha256(path: Path, state: FileState) -> str:
    """SHA-256 of a file's content; remembered, as the slices of a volume share their file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Task = tuple[ImageRef, FileState]
Answer = Decoded | BrokenImageError


def decode_all(tasks: Sequence[Task], decoder: Decoder, workers: int) -> Iterator[Answer]:
    """Decodes in the order of ``tasks``, whatever the number of workers.

    Args:
        tasks: images and the states of their files.
        decoder: how.
        workers: processes; 0 for this one. They are started afresh (spawn), so a script that calls this with
            workers needs the usual ``if __name__ == "__main__":``.
    """
    if workers == 0:
        yield from (decoder.decode(*task) for task in tasks)
        return
    start = 0
    while start < len(tasks):
        try:
            for answer in _in_pool(tasks[start:], decoder, workers):
                yield answer
                start += 1
        except BrokenProcessPool:
            # A decoder took its process down. One by one, each in its own, to find the file that did it.
            for task in tasks[start : start + _AHEAD * workers]:
                yield _alone(task, decoder)
                start += 1


def _in_pool(tasks: Sequence[Task], decoder: Decoder, workers: int) -> Iterator[Answer]:
    pool = _pool(decoder, workers)
    waiting: deque[Future[Answer]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_decode_in_worker, task))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(task: Task, decoder: Decoder) -> Answer:
    pool = _pool(decoder, 1)
    try:
        return pool.submit(_decode_in_worker, task).result()
    except BrokenProcessPool:
        return BrokenImageError(
            str(task[0]), "decoding it ended its process (out of memory, or a decoder's crash)"
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(decoder: Decoder, workers: int) -> ProcessPoolExecutor:
    # Spawn: a fork of a process that runs PyTorch's threads can hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (decoder,))


_decoder: Decoder | None = None  # of this worker process; set once when it starts


def _start_worker(decoder: Decoder) -> None:
    global _decoder
    _decoder = decoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = parent_process()
    if parent is not None:
        # A worker whose parent was killed would wait for work for ever.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    import cv2

    cv2.setNumThreads(1)


def _decode_in_worker(task: Task) -> Answer:
    assert _decoder is not None
    return _decoder.decode(*task)
