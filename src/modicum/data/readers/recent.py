"""The few decoded arrays that were used last, so that the next item of the same file costs nothing."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import BinaryIO, Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key, the least recently used dropped first.

    Args:
        capacity: the sum of sizes held at most.
        size: what a value counts, in the capacity's unit; one that is larger than all the capacity is not
            kept.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self._capacity, self._size = capacity, size
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value kept under ``key``, or a new one; with None for a key always a new one, which is not kept."""
        if key is None:
            return make()
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        # Made outside the lock: two threads may both make it, but none waits for another's decompression.
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


def file_key(file: BinaryIO) -> tuple[int, ...] | None:
    """What tells an open file's present content from any other's: device, inode, size and times of last
    change.

    None for a file changed within the last two seconds: another change in the same tick of the file system's
    clock would not show.
    """
    status = os.fstat(file.fileno())
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < 2_000_000_000:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
