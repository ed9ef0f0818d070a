"""Where computing happens, and how exactly."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from modicum.errors import InputError, ResourceError


def chosen_device(name: str) -> torch.device:
    """``auto`` is a GPU, or else the CPU. Raises :class:`InputError` for a device that is not there.

    A GPU without a number is the first one, or, of several processes that train together, each one's own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device '{name}'", "use auto, cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device '{name}' is not there ({count} GPUs found)", "use --device auto or cpu")
    if device.type == "cuda" and device.index is None and process_world() > 1:
        return torch.device("cuda", _local_rank() % count)  # what Lightning will train on
    return device


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether a precision setting means bfloat16 on a device; ``auto`` does on GPUs that have it."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs at a precision setting."""
    return torch.autocast(device.type, torch.bfloat16) if uses_bf16(precision, device) else nullcontext()


def be_deterministic(deterministic: bool) -> None:
    """Asks PyTorch for the same results every time (a GPU is slower by some percent for it)."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic


def check_launched(devices: int, nodes: int) -> None:
    """Checks that the processes of a training on several machines have been started, which only a launcher can do.

    Args:
        devices: processes on each machine.
        nodes: machines.

    Raises:
        InputError: nothing has started them, or another number than the settings say.
    """
    started = any(name in os.environ for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    by_hand = "MASTER_ADDR" in os.environ and "NODE_RANK" in os.environ
    if nodes > 1 and not (started or by_hand):
        raise InputError(
            f"nodes={nodes}, but this is one process on one machine",
            f"start it on each machine with torchrun --nnodes {nodes} --nproc-per-node {devices} -m modicum ..., "
            "or with srun; or leave nodes out",
        )
    if started and devices * nodes > 1 and (world := process_world()) != devices * nodes:
        raise InputError(
            f"devices={devices} on nodes={nodes} are {devices * nodes} processes, and {world} were started",
            "start as many (torchrun --nnodes, --nproc-per-node), or change --set devices and nodes",
        )


def process_rank() -> int:
    """Number of this process among those of a distributed run; 0 elsewhere."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    # Started by hand or by Lightning: not both zero in any process but the first.
    return int(os.environ.get("LOCAL_RANK", "0")) + int(os.environ.get("NODE_RANK", "0"))


def process_world() -> int:
    """How many processes a launcher has started together; 1 elsewhere."""
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        if name in os.environ:
            return max(1, int(os.environ[name]))
    return 1


def _local_rank() -> int:
    """Number of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "can't allocate memory", "DefaultCPUAllocator")
    )


def memory_error(what: str, batch_size: int, image_size: tuple[int, int]) -> ResourceError:
    """What to tell somebody whose memory ran out."""
    return ResourceError(
        f"out of memory while {what} (batch size {batch_size}, images {image_size[0]}x{image_size[1]})",
        "lower --batch-size (and raise --set accumulate=N to keep the step), or lower --image-size, "
        "or choose a method that needs less memory (`modicum methods` lists all)",
    )
