"""Handles Ctrl-C, and SIGTERM from a scheduler: the run stops where it can be resumed later."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from modicum.errors import InterruptedRunError, ModicumError

WATCHED = (signal.SIGINT, signal.SIGTERM)
GRACE = 3.0
"""Seconds that Python has to react to a signal before the first step; it cannot while it waits for other processes."""


class InterruptHandler:
    """Turns signals into a request to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._stepping = True
        self._heard = threading.Event()
        self._request: Callable[[int, Any], None] | None = None

    @contextmanager
    def install(
        self, on_request: Callable[[], None], on_abandon: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Handles signals as requests inside the block; a second one stops immediately (InterruptedRunError).

        With ``on_abandon``, there is nothing to keep before :meth:`steps_begin`, and the first one stops immediately. If
        the process hangs there, waiting for others that never come, it ends after :data:`GRACE` seconds, with exit code
        130.

        Only the main thread can handle signals; in other threads this does nothing.

        Args:
            on_request: called at the first request, to tell the user that it was received.
            on_abandon: called before the process ends itself, to record that it was stopped.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[Any, Any] = {name: signal.getsignal(name) for name in WATCHED}

        def request(number: int, frame: Any) -> None:
            self._heard.set()
            if self.requested or not self._stepping:
                raise InterruptedRunError(
                    "stopped immediately", "resume from the last checkpoint with --resume"
                )
            self.requested = True
            on_request()

        self._request = request
        self._stepping = on_abandon is None
        self.reinstall()
        try:
            with nullcontext() if on_abandon is None else self._ended_if_it_hangs(on_abandon):
                yield
        finally:
            self._request = None
            for name in WATCHED:
                signal.signal(name, before[name])

    def steps_begin(self) -> None:
        """From now on a request waits for the end of the step. Handlers that were installed since are replaced."""
        self._stepping = True
        self.reinstall()

    def reinstall(self) -> None:
        """Inside :meth:`install`, replaces handlers that were installed since by its own."""
        if self._request is not None:
            for name in WATCHED:
                signal.signal(name, self._request)

    @contextmanager
    def _ended_if_it_hangs(self, on_abandon: Callable[[], None]) -> Iterator[None]:
        """A thread that hears of signals even while the main one is in a library that does not return."""
        listening, waking = os.pipe()
        os.set_blocking(waking, False)
        earlier = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)

        def listen() -> None:
            while number := os.read(listening, 1):
                if number[0] not in WATCHED or self._stepping or self._heard.wait(GRACE) or self._stepping:
                    continue
                with suppress(ModicumError, OSError):
                    on_abandon()
                sys.stderr.write("modicum: error: stopped while waiting for other processes to start\n")
                sys.stderr.flush()
                os._exit(InterruptedRunError.exit_code)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(earlier, warn_on_full_buffer=False)
            os.close(waking)  # ends the thread
            thread.join()
            os.close(listening)
