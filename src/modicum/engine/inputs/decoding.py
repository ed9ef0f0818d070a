"""Images read ahead by threads, in order, a few batches at the most."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from modicum.data.image import ImageRef
from modicum.errors import BrokenImageError

Name = TypeVar("Name")
Read = TypeVar("Read")


def read_ahead(
    items: Iterable[tuple[Name, ImageRef]], read: Callable[[ImageRef], Read], batch_size: int
) -> Iterator[list[tuple[Name, Read | BrokenImageError]]]:
    """Batches of the results of ``read`` for images (or their errors), in order, at most two batches ahead.

    Args:
        items: each image with its name.
        read: run in threads; may raise :class:`~modicum.errors.BrokenImageError`.
        batch_size: images in a batch.
    """
    waiting: deque[tuple[Name, Future[Read | BrokenImageError]]] = deque()
    batch: list[tuple[Name, Read | BrokenImageError]] = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            for name, ref in items:
                waiting.append((name, pool.submit(_or_error, read, ref)))
                if len(waiting) < 2 * batch_size:
                    continue
                first, future = waiting.popleft()
                batch.append((first, future.result()))
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            while waiting:
                first, future = waiting.popleft()
                batch.append((first, future.result()))
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            if batch:
                yield batch
        finally:
            for _, future in waiting:
                future.cancel()


def _or_error(read: Callable[[ImageRef], Read], ref: ImageRef) -> Read | BrokenImageError:
    try:
        return read(ref)
    except BrokenImageError as error:
        return error
