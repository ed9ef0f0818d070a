"""Reads ahead in a thread: copying large records out of memory maps does not hold Python's lock."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


class Prefetched(Generic[T]):
    """An iterable whose next item is prepared in a thread while the current one is used.

    Args:
        items: what to iterate over, in its order.
        worthwhile: whether items like the first are worth a thread.
        depth: largest number of waiting items, in addition to the one being prepared.
    """

    def __init__(self, items: Iterable[T], worthwhile: Callable[[T], bool], depth: int = 1) -> None:
        self._items = items
        self._worthwhile = worthwhile
        self._depth = depth

    def __len__(self) -> int:
        assert isinstance(self._items, Sized)
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        items = iter(self._items)
        for first in items:  # nothing is read before the first request
            rest = chain([first], items)
            yield from self._ahead(rest) if self._worthwhile(first) else rest

    def _ahead(self, items: Iterator[T]) -> Iterator[T]:
        ready: queue.Queue[object] = queue.Queue(self._depth)
        stop = threading.Event()

        def put(item: object) -> bool:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                for item in items:
                    if not put(item):
                        return
                put(_END)
            except BaseException as error:  # raised in the reading thread
                put(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item  # type: ignore[misc]
        finally:
            stop.set()
            thread.join()
