"""Trains runs by an executor, whatever they are for: cells of a comparison, folds, trials of a search."""

from collections.abc import Callable, Sequence

from modicum.comparison.executors import Executor
from modicum.comparison.progress import CellsProgress
from modicum.comparison.run_cell import Job, Outcome
from modicum.errors import InterruptedRunError
from modicum.progress import say


def train_jobs(
    executor: Executor,
    jobs: Sequence[Job],
    progress: CellsProgress,
    on_end: Callable[[Outcome], None],
    noun: str = "cell",
) -> None:
    """Trains the runs, and says which failed.

    Args:
        executor: trains them.
        jobs: the runs.
        progress: is told which run starts and ends.
        on_end: called with how each ended, before the progress moves on.
        noun: what a run is called in messages.

    Raises:
        InterruptedRunError: stopped before all had ended.
    """
    ended = 0
    for outcome in executor.run(jobs, progress.on_cell_start):
        if outcome.stopped:
            continue
        ended += 1
        if outcome.error:
            say(f"{noun} {outcome.name} failed: {outcome.detail}")
        on_end(outcome)
        progress.on_cell_end(outcome.name)
    if ended < len(jobs):
        raise InterruptedRunError("stopped")
