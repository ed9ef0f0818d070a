"""Ctrl-C, and SIGTERM from a scheduler, ask a run to stop; it does so where it can go on later."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from modicum.errors import InterruptedRunError

WATCHED = (signal.SIGINT, signal.SIGTERM)


class InterruptHandler:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._request: Callable[[int, Any], None] | None = None

    @contextmanager
    def install(self, on_request: Callable[[], None]) -> Iterator[None]:
        """Takes signals as requests inside the block; a second one does not wait (InterruptedRunError).

        Only the main thread can listen; elsewhere nothing changes.

        Args:
            on_request: called at the first request, to tell the user that it was heard.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[Any, Any] = {name: signal.getsignal(name) for name in WATCHED}

        def request(number: int, frame: Any) -> None:
            if self.requested:
                raise InterruptedRunError("stopped at once", "go on with --resume from the last checkpoint")
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
        """Inside :meth:`install`, puts its handlers in front of those that somebody has put there since."""
        if self._request is not None:
            for name in WATCHED:
                signal.signal(name, self._request)
