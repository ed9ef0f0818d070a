"""Silences decoders, as the user gets one error with a reason instead."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_outer = None


@contextmanager
def quiet() -> Iterator[None]:
    """A context without Python warnings.

    ``warnings.catch_warnings`` restores the state on entry, which with threads can be another thread's
    silenced state; here the first thread to enter saves it and the last to leave restores it.
    """
    global _inside, _outer
    with _lock:
        _inside += 1
        if _inside == 1:
            _outer = warnings.catch_warnings()
            _outer.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _outer is not None:
                _outer.__exit__(None, None, None)
                _outer = None
