"""Chooses an executor."""

from pathlib import Path

from modicum.comparison.executors.base import Executor
from modicum.comparison.executors.here import InThisProcess
from modicum.comparison.executors.processes import InProcesses
from modicum.errors import InputError, did_you_mean

NAMES = ("local", "ray")


def choose_executor(name: str, parallel: int | None, device: str | None, logs: Path) -> Executor:
    """The executor for a name.

    Args:
        name: ``local`` or ``ray``.
        parallel: number of cells at once; None for one per GPU, or one if a device is set.
        device: the device set by the user, if any; all cells then run there.
        logs: a folder for the output of processes.

    Raises:
        InputError: an unknown name, a number below 1, or Ray is not installed.
    """
    if name not in NAMES:
        raise InputError(f"unknown executor '{name}'", did_you_mean(name, NAMES))
    if parallel is not None and parallel < 1:
        raise InputError(f"--parallel {parallel} is less than 1", "pass for instance --parallel 2")
    if name == "ray":
        from modicum.comparison.executors.ray_cluster import OnRay

        return OnRay(parallel, gpus=device != "cpu", logs=logs)
    devices = _gpus() if device in {None, "auto"} else []
    max_parallel = parallel or max(1, len(devices))
    return InThisProcess() if max_parallel == 1 else InProcesses(max_parallel, devices, logs)


def _gpus() -> list[str]:
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
