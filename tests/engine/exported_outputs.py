"""What networks answer: a run's predictor, and the one that an exported file makes."""

import torch

import modicum
from modicum.engine.model import load_method


def outputs(network: torch.nn.Module, channels: int, size: tuple[int, int]) -> torch.Tensor:
    images = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network(images[..., : size[0], : size[1]].contiguous())


def of_run(folder) -> torch.Tensor:
    recipe, task, method = load_method(folder)
    return outputs(method.predictor().eval(), task.channels, recipe.image.size)


def of_file(path, folder) -> torch.Tensor:
    recipe, task, _ = load_method(folder)
    return outputs(modicum.load_exported(path), task.channels, recipe.image.size)
