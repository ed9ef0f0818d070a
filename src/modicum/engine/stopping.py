"""Ctrl-C, and SIGTERM from a scheduler, ask a run to stop; it does so where it can go on later."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class StopRequest:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.made = False

    @contextmanager
    def listening(self, heard: Callable[[], None]) -> Iterator[None]:
        """Takes signals as requests inside the block; a second one does not wait (KeyboardInterrupt).

        Only the main thread can listen; elsewhere nothing changes.

        Args:
            heard: called at the first request, to tell the user that it was heard.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        watched = (signal.SIGINT, signal.SIGTERM)
        before: dict[Any, Any] = {name: signal.getsignal(name) for name in watched}

        def request(number: int, frame: Any) -> None:
            if self.made:
                signal.signal(number, before[number])
                raise KeyboardInterrupt
            self.made = True
            heard()

        for name in watched:
            signal.signal(name, request)
        try:
            yield
        finally:
            for name in watched:
                signal.signal(name, before[name])
