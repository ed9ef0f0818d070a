"""Cells on a Ray cluster: the machines of ``RAY_ADDRESS``, or all of this one."""

import _thread
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modicum.comparison.executors.base import Began
from modicum.comparison.run_cell import Job, Outcome, run_cell
from modicum.engine.training.interrupts import InterruptHandler
from modicum.errors import InputError
from modicum.progress import say

_POLL_SECONDS = 0.5


class OnRay:
    """The executor for many machines.

    A task a cell, with a GPU of its own where the cluster has any. All machines must see the data, the run folder and
    this environment under the same paths: the files are not sent.

    Args:
        max_parallel: cells that share the cluster's processors; None for one a processor.
        gpus: whether cells may use GPUs.
        logs: a folder of the comparison, where cells look whether they shall stop.

    Raises:
        InputError: Ray is not installed.
    """

    verbose = False

    def __init__(self, max_parallel: int | None, gpus: bool, logs: Path) -> None:
        self._ray = _imported()
        self._stop_file = logs.resolve() / f"stop-{secrets.token_hex(4)}"
        self._owned = not self._ray.is_initialized()
        if self._owned:
            # Joins RAY_ADDRESS where it is set.
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        there = self._ray.cluster_resources()
        cpus = int(there.get("CPU", 1))
        self._gpus = 1 if gpus and there.get("GPU", 0) >= 1 else 0
        self._cpus = max(1, cpus // max_parallel) if max_parallel else 1
        self.max_parallel = max(1, min(cpus // self._cpus, int(there["GPU"]) if self._gpus else cpus))

    def run(self, jobs: Sequence[Job], began: Began) -> Iterator[Outcome]:
        """Yields how each cell ended; see :class:`~modicum.comparison.executors.base.Executor`."""
        ray = self._ray
        # Cells go on where they were, so one whose machine was lost is worth another try.
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=1)(_in_folder)
        stop = InterruptHandler()
        waiting, running = list(jobs), dict[Any, Job]()
        try:
            with stop.install(self._ask_to_stop):
                while running or (waiting and not stop.requested):
                    while waiting and len(running) < self.max_parallel and not stop.requested:
                        job = waiting.pop(0)
                        running[task.remote(job, str(Path.cwd()), str(self._stop_file))] = job
                        began(job.name)
                    done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
                    for reference in done:
                        yield _outcome(ray, reference, running.pop(reference), stop.requested)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            self._stop_file.unlink(missing_ok=True)

    def _ask_to_stop(self) -> None:
        # A cancelled task would be given up before its checkpoint is written.
        self._stop_file.parent.mkdir(parents=True, exist_ok=True)
        self._stop_file.touch()
        say("Stopping the cells that run after their next checkpoint; once more to stop at once.")

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


def _in_folder(job: Job, folder: str, stop_file: str) -> Outcome:
    """The task: the recipe's paths are relative to where the comparison was started."""
    from modicum.progress import set_quiet

    os.chdir(folder)
    set_quiet(True)
    ended = threading.Event()
    threading.Thread(target=_stop_by, args=(Path(stop_file), ended), daemon=True).start()
    try:
        return run_cell(job)
    except KeyboardInterrupt:
        return Outcome(job.name, stopped=True)
    finally:
        ended.set()


def _stop_by(file: Path, ended: threading.Event) -> None:
    while not ended.wait(_POLL_SECONDS):
        if file.exists():
            _thread.interrupt_main()  # as Ctrl-C would; workers of Ray get no signals
            return


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
