"""Runs cells on a Ray cluster: the machines of ``RAY_ADDRESS``, or this one."""

import _thread
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modicum.comparison.executors.base import OnStart
from modicum.comparison.run_cell import Job, Outcome, run_cell
from modicum.engine.training.interrupts import InterruptHandler
from modicum.errors import InputError
from modicum.progress import say

_POLL_SECONDS = 0.5


class OnRay:
    """The executor for many machines.

    One task per cell, with its own GPU if the cluster has any. All machines must see the data, the run folder and
    this environment under the same paths: the files are not sent.

    Args:
        max_parallel: number of cells that share the cluster's CPUs; None for one per CPU.
        gpus: whether cells may use GPUs.
        logs: a folder of the comparison, where cells look for a file that tells them to stop.

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
        resources = self._ray.cluster_resources()
        cpus = int(resources.get("CPU", 1))
        self._gpus = 1 if gpus and resources.get("GPU", 0) >= 1 else 0
        self._cpus = max(1, cpus // max_parallel) if max_parallel else 1
        self.max_parallel = max(1, min(cpus // self._cpus, int(resources["GPU"]) if self._gpus else cpus))

    def run(self, jobs: Sequence[Job], on_start: OnStart) -> Iterator[Outcome]:
        """Runs the jobs and yields the outcome of each; see :class:`~modicum.comparison.executors.base.Executor`."""
        ray = self._ray
        # Cells resume from their checkpoint, so a cell whose machine was lost is tried again.
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=1)(_in_folder)
        stop = InterruptHandler()
        waiting, running = list(jobs), dict[Any, Job]()
        try:
            with stop.install(self._ask_to_stop):
                while running or (waiting and not stop.requested):
                    while waiting and len(running) < self.max_parallel and not stop.requested:
                        job = waiting.pop(0)
                        running[task.remote(job, str(Path.cwd()), str(self._stop_file))] = job
                        on_start(job.name)
                    done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
                    for reference in done:
                        yield _outcome(ray, reference, running.pop(reference), stop.requested)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            self._stop_file.unlink(missing_ok=True)

    def _ask_to_stop(self) -> None:
        # A cancelled task would be killed before its checkpoint is written.
        self._stop_file.parent.mkdir(parents=True, exist_ok=True)
        self._stop_file.touch()
        say("Stopping running cells after their next checkpoint; press Ctrl-C again to stop at once.")

    def close(self) -> None:
        """Disconnects from the cluster, unless it was connected before."""
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
    """The Ray task: runs a cell in the folder where the comparison was started, as paths are relative to it."""
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
