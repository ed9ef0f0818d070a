"""The executor protocol."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from modicum.comparison.run_cell import Job, Outcome

OnStart = Callable[[str], None]
"""Called with the name of a cell that starts."""


class Executor(Protocol):
    """Runs cells.

    Attributes:
        max_parallel: number of cells that run at the same time.
        verbose: whether runs show their own progress, in this process.
    """

    max_parallel: int
    verbose: bool

    def run(self, jobs: Sequence[Job], on_start: OnStart) -> Iterator[Outcome]:
        """Runs the jobs and yields the outcome of each cell as it ends.

        When interrupted (Ctrl-C, SIGTERM), lets the running cells write a checkpoint, yields them as ``stopped``, and
        starts no more.
        """
        ...

    def close(self) -> None:
        """Releases the resources of the executor."""
        ...
