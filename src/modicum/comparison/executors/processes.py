"""Runs cells in parallel processes, each on its device."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from modicum.comparison.executors.base import OnStart
from modicum.comparison.run_cell import Job, Outcome
from modicum.data.processes import usable_cores
from modicum.engine.training.interrupts import InterruptHandler
from modicum.progress import say

_POLL_SECONDS = 0.1


@dataclass
class _Running:
    job: Job
    slot: int
    process: "subprocess.Popen[bytes]"
    answer: IO[bytes]


class InProcesses:
    """The executor for several devices, or for many small runs on one.

    One process per cell: it frees all of its memory at its end, and one that the system kills does not affect the
    others. Ctrl-C reaches only this process, which asks the others to stop.

    Args:
        max_parallel: number of processes.
        devices: devices to assign in turn; empty to leave the choice to each run.
        logs: a folder for the output of each process.
    """

    verbose = False

    def __init__(self, max_parallel: int, devices: Sequence[str], logs: Path) -> None:
        self.max_parallel = max_parallel
        self._devices = devices
        self._logs = logs

    def run(self, jobs: Sequence[Job], on_start: OnStart) -> Iterator[Outcome]:
        """Runs the jobs and yields the outcome of each; see :class:`~modicum.comparison.executors.base.Executor`."""
        waiting = list(jobs)
        running: list[_Running] = []
        stop = InterruptHandler()
        try:
            with stop.install(lambda: _ask_to_stop(running)):
                while running or (waiting and not stop.requested):
                    while waiting and len(running) < self.max_parallel and not stop.requested:
                        running.append(self._started(waiting.pop(0), running))
                        on_start(running[-1].job.name)
                    ended = [one for one in running if one.process.poll() is not None]
                    for one in ended:
                        running.remove(one)
                        yield _outcome(one, stop.requested)
                    if not ended:
                        time.sleep(_POLL_SECONDS)
        finally:
            for one in running:
                one.process.kill()
                one.process.wait()

    def _started(self, job: Job, running: Sequence[_Running]) -> _Running:
        slot = min(set(range(self.max_parallel)) - {one.slot for one in running})
        if self._devices:
            device = self._devices[slot % len(self._devices)]
            job = replace(job, settings={**job.settings, "device": device})
        self._logs.mkdir(parents=True, exist_ok=True)
        answer = TemporaryFile()  # noqa: SIM115 - open until the process has ended
        with (self._logs / f"{job.name}.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "modicum.comparison.executors.cell_process"],
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=log,
                env={"OMP_NUM_THREADS": str(max(1, usable_cores() // self.max_parallel)), **os.environ},
                start_new_session=True,  # this process passes on the terminal's Ctrl-C
            )
        assert process.stdin is not None
        # Stays open: its end tells the cell that this process is gone.
        process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        process.stdin.flush()
        return _Running(job, slot, process, answer)

    def close(self) -> None:
        """Does nothing: no resources are held."""


def _ask_to_stop(running: Sequence[_Running]) -> None:
    say("Stopping running cells after their next checkpoint; press Ctrl-C again to stop at once.")
    for one in running:
        one.process.terminate()


def _outcome(one: _Running, stopping: bool) -> Outcome:
    code = one.process.returncode
    if one.process.stdin is not None:
        one.process.stdin.close()
    one.answer.seek(0)
    lines = one.answer.read().splitlines()
    one.answer.close()
    if code == 0 and lines:
        values: dict[str, Any] = json.loads(lines[-1])
        return Outcome(**values)
    if stopping:
        return Outcome(one.job.name, stopped=True)
    why = f"was ended by signal {-code}; memory may have run out" if code < 0 else f"ended with code {code}"
    return Outcome(one.job.name, error := f"its process {why}", error)
