"""Runs cells one after the other, in this process."""

import gc
from collections.abc import Iterator, Sequence

from modicum.comparison.executors.base import OnStart
from modicum.comparison.run_cell import Job, Outcome, run_cell
from modicum.progress import each_notice_once


class InThisProcess:
    """The executor for one device."""

    max_parallel = 1
    verbose = True

    def __init__(self) -> None:
        self._notices: set[str] = set()

    def run(self, jobs: Sequence[Job], on_start: OnStart) -> Iterator[Outcome]:
        """Runs the jobs and yields the outcome of each; see :class:`~modicum.comparison.executors.base.Executor`."""
        for job in jobs:
            on_start(job.name)
            with each_notice_once(self._notices):  # all cells use the same data
                outcome = run_cell(job)
            # Memory left over from the last cell would count towards the next one's peak.
            gc.collect()
            yield outcome
            if outcome.stopped:
                return

    def close(self) -> None:
        """Does nothing: no resources are held."""
