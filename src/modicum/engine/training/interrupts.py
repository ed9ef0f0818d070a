"""Handles Ctrl-C, and SIGTERM from a scheduler: the run stops where it can be resumed later."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from modicum.errors import InterruptedRunError

WATCHED = (signal.SIGINT, signal.SIGTERM)


class InterruptHandler:
    """Turns signals into a request to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._request: Callable[[int, Any], None] | None = None

    @contextmanager
    def install(self, on_request: Callable[[], None]) -> Iterator[None]:
        """Handles signals as requests inside the block; a second one stops immediately (InterruptedRunError).

        Only the main thread can handle signals; in other threads this does nothing.

        Args:
            on_request: called at the first request, to tell the user that it was received.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[Any, Any] = {name: signal.getsignal(name) for name in WATCHED}

        def request(number: int, frame: Any) -> None:
            if self.requested:
                raise InterruptedRunError(
                    "stopped immediately", "resume from the last checkpoint with --resume"
                )
            self.requested = True
            on_request()

        self._request = request
        self.reinstall()
        try:
            yield
        finally:
            self._request = None
            for name in WATCHED:
                signal.signal(name, before[name])

    def reinstall(self) -> None:
        """Inside :meth:`install`, replaces handlers that were installed since by its own."""
        if self._request is not None:
            for name in WATCHED:
                signal.signal(name, self._request)
