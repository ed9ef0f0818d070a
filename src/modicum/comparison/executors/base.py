"""What an executor owes a comparison."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from modicum.comparison.run_cell import Job, Outcome

Began = Callable[[str], None]
"""Told the name of a cell that starts."""


class Executor(Protocol):
    """Runs cells.

    Attributes:
        max_parallel: cells that run at the same time.
        verbose: whether runs show their own progress, in this process.
    """

    max_parallel: int
    verbose: bool

    def run(self, jobs: Sequence[Job], began: Began) -> Iterator[Outcome]:
        """Yields how each cell ended, as it ends.

        Asked to stop (Ctrl-C, SIGTERM), lets the cells that run write a checkpoint, yields them as ``stopped``, and
        starts no more.
        """
        ...

    def close(self) -> None:
        """Gives back what the executor holds besides its cells."""
        ...
