"""Keeping what decoders say to themselves away from the user, who gets one error with one reason instead."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_outer = None


@contextmanager
def quiet() -> Iterator[None]:
    """No Python warnings inside.

    ``warnings.catch_warnings`` restores what it found on entry, which with threads can be another thread's
    silence; here the first one in saves and the last one out restores.
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
