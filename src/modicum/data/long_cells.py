"""CSV files with cells of any length."""

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The largest that a C long holds everywhere.
_NO_LIMIT = 2**31 - 1
_lock = threading.RLock()


@contextmanager
def long_cells() -> Iterator[None]:
    """Within it, :mod:`csv` reads cells of more than its 131,072 characters, as reports and outlines can have.

    The limit is that of the whole process, so that it is put back, and threads wait for each other.
    """
    with _lock:
        before = csv.field_size_limit(_NO_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)
