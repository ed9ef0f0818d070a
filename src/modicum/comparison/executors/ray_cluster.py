"""Cells on a Ray cluster: the machines of ``RAY_ADDRESS``, or all of this one."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modicum.comparison.executors.base import Began
from modicum.comparison.run_cell import Job, Outcome, run_cell
from modicum.engine.stopping import StopRequest
from modicum.errors import InputError
from modicum.progress import say

_POLL_SECONDS = 0.5
_STOP_SECONDS = 120.0


class OnRay:
    """The executor for many machines.

    A task a cell, with a GPU of its own where the cluster has any. All machines must see the data, the run folder and
    this environment under the same paths: the files are not sent.

    Args:
        at_once: cells that share the cluster's processors; None for one a processor.
        gpus: whether cells may use GPUs.

    Raises:
        InputError: Ray is not installed.
    """

    aloud = False

    def __init__(self, at_once: int | None, gpus: bool) -> None:
        self._ray = _imported()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            # Joins RAY_ADDRESS where it is set.
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        there = self._ray.cluster_resources()
        cpus = int(there.get("CPU", 1))
        self._gpus = 1 if gpus and there.get("GPU", 0) >= 1 else 0
        self._cpus = max(1, cpus // at_once) if at_once else 1
        self.at_once = min(cpus // self._cpus, int(there["GPU"]) if self._gpus else cpus)

    def run(self, jobs: Sequence[Job], began: Began) -> Iterator[Outcome]:
        """Yields how each cell ended; see :class:`~modicum.comparison.executors.base.Executor`."""
        ray = self._ray
        # Cells go on where they were, so one whose machine was lost is worth another try.
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=1)(_in_folder)
        stop = StopRequest()
        waiting, running = list(jobs), dict[Any, Job]()
        try:
            with stop.listening(lambda: _ask_to_stop(ray, list(running))):
                while running or (waiting and not stop.made):
                    while waiting and len(running) < self.at_once and not stop.made:
                        job = waiting.pop(0)
                        running[task.remote(str(Path.cwd()), job)] = job
                        began(job.name)
                    timeout = _STOP_SECONDS if stop.made else _POLL_SECONDS
                    done, _ = ray.wait(list(running), timeout=timeout)
                    if stop.made and not done:
                        break
                    for reference in done:
                        yield _outcome(ray, reference, running.pop(reference), stop.made)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leaves the cluster, unless it was joined before."""
        if self._owned:
            self._ray.shutdown()


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError as error:
        raise InputError("--executor ray needs Ray", "pip install 'modicum[scale]'") from error
    return ray


def _in_folder(folder: str, job: Job) -> Outcome:
    """The task: the recipe's paths are relative to where the comparison was started."""
    from modicum.progress import set_quiet

    os.chdir(folder)
    set_quiet(True)
    return run_cell(job)


def _ask_to_stop(ray: Any, references: Sequence[Any]) -> None:
    say("Stopping the cells that run after their next checkpoint; once more to stop at once.")
    for reference in references:
        ray.cancel(reference, force=False)


def _outcome(ray: Any, reference: Any, job: Job, stopping: bool) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        if stopping:
            return Outcome(job.name, stopped=True)
        kind = type(error).__name__
        return Outcome(
            job.name, f"its task on the cluster failed ({kind})", f"{kind}: {error}".splitlines()[0]
        )
    return outcome
