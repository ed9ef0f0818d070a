"""Progress bars and notices on the terminal (standard error), in one style."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_quiet = False
_said: set[str] | None = None


def set_quiet(quiet: bool) -> None:
    """Switches progress bars and notices off (``--quiet``) or on for this process."""
    global _quiet
    _quiet = quiet


@contextmanager
def each_notice_once(said: set[str]) -> Iterator[None]:
    """Within, a notice that has been given before is not given again: many runs on the same data all have the same.

    Args:
        said: notices that were given; grows.
    """
    global _said
    before, _said = _said, said
    try:
        yield
    finally:
        _said = before


def say(message: str) -> None:
    """Prints one notice line on standard error, unless quiet."""
    if _said is not None:
        if message in _said:
            return
        _said.add(message)
    if not _quiet:
        from rich.console import Console

        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


class Bar:
    """What a loop sees of its progress bar: ``advance`` and, where there is something to say, ``note``."""

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Bar]:
    """A progress bar: what, how far, how long still. Silent where standard error is no terminal.

    Args:
        what: the work, in two or three words.
        total: how many steps, or None where that is not known.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if _quiet or not console.is_terminal:
        yield Bar()
        return
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
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(what, total=total, note="")

        class Shown(Bar):
            def advance(self, steps: int = 1) -> None:
                progress.advance(task, steps)

            def note(self, text: str) -> None:
                progress.update(task, note=text)

        yield Shown()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterates over ``items`` with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(what, total) as shown:
        for item in items:
            yield item
            shown.advance()
