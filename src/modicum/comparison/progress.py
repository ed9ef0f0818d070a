"""Progress of a comparison on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from modicum.progress import Bar, bar, say
from modicum.report.words import duration

_WIDTH = 20


class CellsProgress:
    """Counts cells: with one progress bar, or, if runs show their own bars, with a line for each cell that starts."""

    def __init__(self, total: int, progress_bar: Bar | None, noun: str = "cells") -> None:
        self.noun = noun
        self.total = total
        self.done = 0
        self._progress_bar = progress_bar
        self._running: list[str] = []
        self._trained = 0
        self._start = time.monotonic()

    def on_cell_start(self, name: str) -> None:
        """Called when a cell starts."""
        self._running.append(name)
        if self._progress_bar is not None:
            self._progress_bar.note(", ".join(self._running))
            return
        filled = round(_WIDTH * self.done / self.total)
        say(
            f"{'━' * filled}{'─' * (_WIDTH - filled)} {self.done}/{self.total} {self.noun}, now {name}{self._left()}"
        )

    def on_cell_end(self, name: str) -> None:
        """Called when a cell has finished or failed."""
        self._running = [running for running in self._running if running != name]
        self._trained += 1
        self.skip()
        if self._progress_bar is not None:
            self._progress_bar.note(", ".join(self._running))
            say(f"{self.done}/{self.total} {self.noun}: {name} ended")

    def add(self, cells: int) -> None:
        """Counts cells that are known only now."""
        self.total += cells

    def skip(self) -> None:
        """Counts a cell that was finished before."""
        self.done += 1
        if self._progress_bar is not None:
            self._progress_bar.advance()

    def _left(self) -> str:
        if not self._trained:
            return ""
        gone = time.monotonic() - self._start
        left = gone / self._trained * (self.total - self.done)
        return f"; {duration(gone)} elapsed, about {duration(left)} left"


@contextmanager
def cells_progress(total: int, verbose: bool, noun: str = "cells") -> Iterator[CellsProgress]:
    """The progress of a number of cells, as a context.

    Args:
        total: cells.
        verbose: whether the runs show their own bars, which a permanent bar would disturb.
        noun: what they are called.
    """
    if verbose:
        yield CellsProgress(total, None, noun)
        return
    with bar(noun, total) as progress_bar:
        yield CellsProgress(total, progress_bar, noun)
