"""Which executor serves a request."""

from pathlib import Path

from modicum.comparison.executors.base import Executor
from modicum.comparison.executors.here import InThisProcess
from modicum.comparison.executors.processes import InProcesses
from modicum.errors import InputError, did_you_mean

NAMES = ("local", "ray")


def choose_executor(name: str, parallel: int | None, device: str | None, logs: Path) -> Executor:
    """The executor called ``name``.

    Args:
        name: ``local`` or ``ray``.
        parallel: cells at once; None for one a GPU, or one where there is no choice of GPUs.
        device: that the user asked for, if any; cells then all go there.
        logs: a folder for what processes print.

    Raises:
        InputError: an unknown name, a number below 1, or Ray is not installed.
    """
    if name not in NAMES:
        raise InputError(f"unknown executor '{name}'", did_you_mean(name, NAMES))
    if parallel is not None and parallel < 1:
        raise InputError(f"--parallel is {parallel}", "give 1 or more")
    if name == "ray":
        from modicum.comparison.executors.ray_cluster import OnRay

        return OnRay(parallel, gpus=device != "cpu", logs=logs)
    devices = _gpus() if device in {None, "auto"} else []
    max_parallel = parallel or max(1, len(devices))
    return InThisProcess() if max_parallel == 1 else InProcesses(max_parallel, devices, logs)


def _gpus() -> list[str]:
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
