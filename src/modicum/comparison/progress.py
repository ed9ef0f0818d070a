"""How far a comparison is, on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from modicum.progress import Bar, bar, say
from modicum.report.words import duration

_WIDTH = 20


class CellsProgress:
    """Counts cells: a bar that stays, or, above runs that show their own, a line for each that starts."""

    def __init__(self, total: int, shown: Bar | None) -> None:
        self.total = total
        self.done = 0
        self._shown = shown
        self._running: list[str] = []
        self._trained = 0
        self._start = time.monotonic()

    def began(self, name: str) -> None:
        """A cell starts."""
        self._running.append(name)
        if self._shown is not None:
            self._shown.note(", ".join(self._running))
            return
        filled = round(_WIDTH * self.done / self.total)
        say(
            f"{'━' * filled}{'─' * (_WIDTH - filled)} {self.done}/{self.total} cells, now {name}{self._left()}"
        )

    def ended(self, name: str) -> None:
        """A cell is finished or has failed."""
        self._running = [other for other in self._running if other != name]
        self._trained += 1
        self.skip()
        if self._shown is not None:
            self._shown.note(", ".join(self._running))
            say(f"{self.done}/{self.total} cells: {name} ended")

    def skip(self) -> None:
        """A cell had been finished before."""
        self.done += 1
        if self._shown is not None:
            self._shown.advance()

    def _left(self) -> str:
        if not self._trained:
            return ""
        gone = time.monotonic() - self._start
        left = gone / self._trained * (self.total - self.done)
        return f"; {duration(gone)} gone, about {duration(left)} still"


@contextmanager
def cells_progress(total: int, verbose: bool) -> Iterator[CellsProgress]:
    """The progress of so many cells.

    Args:
        total: cells.
        verbose: whether the runs show bars of their own, which a bar that stays would tear.
    """
    if verbose:
        yield CellsProgress(total, None)
        return
    with bar("cells", total) as shown:
        yield CellsProgress(total, shown)
