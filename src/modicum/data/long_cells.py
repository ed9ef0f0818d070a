"""Reads CSV files with cells of any length."""

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The largest value of a C long on all platforms.
_NO_LIMIT = 2**31 - 1
_lock = threading.RLock()


@contextmanager
def long_cells() -> Iterator[None]:
    """A context in which :mod:`csv` reads cells of more than 131,072 characters, such as reports and outlines.

    The limit is global to the process, so that it is restored, and threads wait for each other.
    """
    with _lock:
        before = csv.field_size_limit(_NO_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)
