"""Cells one after the other, in this process."""

import gc
from collections.abc import Iterator, Sequence

from modicum.comparison.executors.base import Began
from modicum.comparison.run_cell import Job, Outcome, run_cell
from modicum.progress import each_notice_once


class InThisProcess:
    """The executor for one device."""

    max_parallel = 1
    verbose = True

    def __init__(self) -> None:
        self._said: set[str] = set()

    def run(self, jobs: Sequence[Job], began: Began) -> Iterator[Outcome]:
        """Yields how each cell ended; see :class:`~modicum.comparison.executors.base.Executor`."""
        for job in jobs:
            began(job.name)
            with each_notice_once(self._said):  # cells learn from the same data
                outcome = run_cell(job)
            # What the last cell left behind would count into the next one's peak memory.
            gc.collect()
            yield outcome
            if outcome.stopped:
                return

    def close(self) -> None:
        """Nothing is held."""
