"""A cache of the arrays that were decoded last, so that further items of the same file are free."""

import io
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, BinaryIO, Generic, TypeVar

Value = TypeVar("Value")
_caches: "weakref.WeakSet[Recent[Any]]" = weakref.WeakSet()


class Recent(Generic[Value]):
    """An LRU cache with a limit on the total size of its values.

    Args:
        capacity: maximum total size.
        size: size of a value, in the capacity's unit; a value larger than the capacity is not kept.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self._capacity, self._size = capacity, size
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        _caches.add(self)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._held.clear()
            self._used = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The cached value of ``key``, or a new one; with a key of None always a new one, which is not kept."""
        if key is None:
            return make()
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        # Made outside the lock: two threads may both make it, but neither waits for the other's decompression.
        value = make()
        size = self._size(value)
        with self._lock:
            if size <= self._capacity and key not in self._held:
                self._held[key] = value
                self._used += size
                while self._used > self._capacity:
                    _, dropped = self._held.popitem(last=False)
                    self._used -= self._size(dropped)
        return value


def forget_recent() -> None:
    """Empties all caches of what was read: for programs that must not keep the images that they have seen."""
    for cache in list(_caches):
        cache.clear()


def file_key(file: BinaryIO) -> tuple[int, ...] | None:
    """A key for an open file's current content: device, inode, size and times of last change.

    None for a file changed within the last two seconds: another change in the same tick of the file system's
    clock would not be detected; and for one that is in memory.
    """
    try:
        status = os.fstat(file.fileno())
    except io.UnsupportedOperation:
        return None
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < 2_000_000_000:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
