"""Progress bars and notices on the terminal (standard error), in one style."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_quiet = False
_notices: set[str] | None = None


def set_quiet(quiet: bool) -> None:
    """Switches progress bars and notices off (``--quiet``) or on for this process."""
    global _quiet
    _quiet = quiet


@contextmanager
def quietly() -> Iterator[None]:
    """Within, there are no progress bars and notices."""
    before = _quiet
    set_quiet(True)
    try:
        yield
    finally:
        set_quiet(before)


@contextmanager
def each_notice_once(notices: set[str]) -> Iterator[None]:
    """A context in which a notice is printed only once: many runs on the same data all have the same notices.

    Args:
        notices: notices already printed; added to in place.
    """
    global _notices
    before, _notices = _notices, notices
    try:
        yield
    finally:
        _notices = before


def say(message: str) -> None:
    """Prints one notice line on standard error, unless quiet."""
    if _notices is not None:
        if message in _notices:
            return
        _notices.add(message)
    if not _quiet:
        from rich.console import Console

        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def say_without_bar(message: str) -> None:
    """Prints a notice where no progress bar is shown: in log files, and in what a scheduler keeps."""
    if not _shows_bars():
        say(message)


def _shows_bars() -> bool:
    from rich.console import Console

    return not _quiet and Console(stderr=True).is_terminal


class Bar:
    """A silent progress bar: the interface that loops use, ``advance`` and ``note``."""

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Bar]:
    """A progress bar with description, count, elapsed and remaining time; silent if standard error is not a terminal.

    Args:
        what: description, in two or three words.
        total: number of steps, or None if unknown.
    """
    if not _shows_bars():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task(what, total=total, note="")

        class RichBar(Bar):
            def advance(self, steps: int = 1) -> None:
                progress.advance(task, steps)

            def note(self, text: str) -> None:
                progress.update(task, note=text)

        yield RichBar()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterates over ``items`` with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(what, total) as progress_bar:
        for item in items:
            yield item
            progress_bar.advance()
