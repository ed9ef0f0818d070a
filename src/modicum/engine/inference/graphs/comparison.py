"""How far the outputs of a graph are from those of the network that it was made of."""

from typing import Any

import torch
from torch import Tensor

from modicum.engine.inference.graphs.run_images import Sample
from modicum.engine.inference.graphs.runtime import GraphRunner
from modicum.engine.inference.graphs.traced import GraphNetwork, noise_like
from modicum.errors import InputError
from modicum.progress import say
from modicum.wording import count_of

TOLERANCE = 1e-4
"""Largest difference of an output: of a probability, of a picture's values in [0, 1], and of numbers whose largest is
above 1 as a share of that."""


@torch.no_grad()
def differences(network: GraphNetwork, runner: GraphRunner, images: Tensor) -> tuple[float, ...]:
    """Of each output the largest difference, as a share of its largest value where that is above 1.

    Raises:
        InputError: the graph gives outputs of another shape, or numbers where the network has none.
    """
    largest = [0.0] * len(runner.output_names)
    largest_value = [1.0] * len(largest)
    for part in images.split([1, *_threes(len(images) - 1)]):  # batches of several sizes
        inputs = (part, *noise_like(network, part))
        expected = network(*inputs)
        expected = (expected,) if isinstance(expected, Tensor) else expected
        found = runner.run([one.numpy() for one in inputs])
        for number, (one, other) in enumerate(zip(expected, map(torch.tensor, found), strict=True)):
            if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
                raise InputError(
                    f"the graph gives {list(other.shape)} where PyTorch gives {list(one.shape)}, or NaN elsewhere",
                    "export it as safetensors, which modicum.load_exported reads",
                )
            largest[number] = max(largest[number], float((one - other).abs().nan_to_num(0).max()))
            largest_value[number] = max(largest_value[number], float(one.abs().nan_to_num(0).max()))
    return tuple(one / of for one, of in zip(largest, largest_value, strict=True))


def _threes(count: int) -> list[int]:
    return [3] * (count // 3) + ([count % 3] if count % 3 else [])


def checked(network: GraphNetwork, runner: GraphRunner, sample: Sample, by: str) -> dict[str, Any]:
    """What the comparison found, for the card; says it.

    Raises:
        InputError: the graph gives other outputs.
    """
    by_output = dict(zip(runner.output_names, differences(network, runner, sample.images), strict=True))
    first = next(iter(by_output.values()))
    where = f"{count_of(len(sample.images), 'image')} ({sample.origin})"
    if sample.reason:
        where = f"{count_of(len(sample.images), 'made image')} ({sample.reason})"
    if not first <= TOLERANCE:
        raise InputError(
            f"{by} gives other outputs than PyTorch: on {where} they differ by up to {first:.2g}, allowed are "
            f"{TOLERANCE:g}",
            "export it as safetensors, which modicum.load_exported reads",
        )
    say(f"compared with PyTorch on {where}: {by} differs by {first:.2g} at most")
    said: dict[str, Any] = {
        "images": len(sample.images),
        "origin": sample.origin,
        "tolerance": TOLERANCE,
        "by": by,
    }
    return said | {"largest_difference": {name: float(f"{one:.3g}") for name, one in by_output.items()}}
