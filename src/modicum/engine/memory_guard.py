"""Refuses networks that are larger than the machine's memory before the system ends the process for them.

Linux gives a process any amount of memory and kills it when the pages are written, without a word from Python. What a
network takes is known before that: when its tensors are made, and for gradients and optimisers when it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from modicum.data.processes import available_bytes
from modicum.engine.recipe.settings import Recipe
from modicum.errors import ResourceError
from modicum.methods import Method, TrainStage
from modicum.nn import learnable_parameters

WORTH_A_LOOK = 2**26
"""Bytes of a tensor from which on the available memory is looked up, which takes longer than making a small one."""
STATE_TENSORS: Mapping[str, int] = {"adamw": 2, "adam": 2, "sgd": 1}
"""Tensors of a parameter's size that an optimiser keeps."""


@contextmanager
def tensors_within_memory(what: str) -> Iterator[None]:
    """Context in which a tensor that is larger than the available memory is refused before it is filled.

    Args:
        what: is being made, for the message.

    Raises:
        ResourceError: a tensor does not fit.
    """
    with _RefuseLarge(what):
        yield


def check_training_memory(recipe: Recipe, method: Method, device: torch.device) -> None:
    """Checks that the gradients and the optimiser's state of each stage fit beside the weights, which are there already.

    Args:
        recipe: names the optimisers.
        method: with its networks, on the CPU.
        device: where it will be trained; on a GPU the weights count too.

    Raises:
        ResourceError: they do not.
    """
    on_gpu = device.type == "cuda"
    available = torch.cuda.mem_get_info(device)[0] if on_gpu else available_bytes()
    for stage in method.stages():
        if isinstance(stage, TrainStage):
            parameters = list(learnable_parameters(stage))
            copies = 1 + STATE_TENSORS[recipe.training_of(stage.name).optimizer] + on_gpu
            needed = copies * sum(parameter.numel() * parameter.element_size() for parameter in parameters)
            if needed > available:
                count = sum(parameter.numel() for parameter in parameters)
                raise _too_large(
                    f"method {recipe.method}: training {count:,} parameters takes", needed, available
                )


class _RefuseLarge(TorchDispatchMode):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(type(side) is int for side in size):
            dtype = (kwargs or {}).get("dtype") or torch.get_default_dtype()
            needed = math.prod(size) * dtype.itemsize
            on_cpu = torch.device((kwargs or {}).get("device") or "cpu").type == "cpu"
            if on_cpu and needed > WORTH_A_LOOK and needed > (available := available_bytes()):
                raise _too_large(f"{self._what}: one of its tensors, {_by(size)}, takes", needed, available)
        return func(*args, **(kwargs or {}))


def _by(size: Sequence[int]) -> str:
    return " x ".join(f"{side:,}" for side in size)


def _too_large(takes: str, needed: int, available: int) -> ResourceError:
    return ResourceError(
        f"{takes} {needed / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available",
        "lower the method's own sizes (rank, bottleneck, width, ...; `modicum methods NAME` lists them) or choose a "
        "smaller --backbone",
    )
