"""Calls predictors; stochastic ones with seeds, so that an image has the same prediction in any batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modicum.engine.randomness import derive_seed, seed_globals
from modicum.methods.predictor import AnswersWithMaps


def draws_answers(network: nn.Module) -> bool:
    """Whether a predictor takes a seed for each image."""
    return bool(getattr(network, "draws", False))


def predictor_outputs(network: nn.Module, images: Tensor, names: Sequence[str], seed: int) -> Tensor:
    """Outputs of a predictor for images ``[b, c, h, w]`` in ``[0, 1]``.

    A predictor that draws (``draws = True``, see :class:`~modicum.methods.predictor.Draws`) is given a seed for each
    image, made of the run's seed and the image's file name; for all others PyTorch's generators are seeded.

    Args:
        network: the predictor, on the images' device.
        images: a batch.
        names: references of the images; what follows the last ``/`` counts.
        seed: the run's seed.
    """
    seeds = _seeds(names, seed)
    if not draws_answers(network):
        outputs: Tensor = network(images)
        return outputs
    answers: Tensor = network(images, seeds)
    return answers


def outputs_with_maps(
    network: nn.Module, images: Tensor, names: Sequence[str], seed: int
) -> tuple[Tensor, Tensor]:
    """Outputs, and ``[b, maps, h, w]``: the maps of a predictor that answers with some, in the order of their names."""
    if not isinstance(network, AnswersWithMaps) or not network.map_names:
        outputs = predictor_outputs(network, images, names, seed)
        return outputs, outputs[:, :0]
    outputs, maps = network.with_maps(images, _seeds(names, seed))
    return outputs, torch.stack([maps[name] for name in network.map_names], 1)


def map_names_of(network: nn.Module) -> tuple[str, ...]:
    """Names of the maps that :func:`outputs_with_maps` gives."""
    return network.map_names if isinstance(network, AnswersWithMaps) else ()


def _seeds(names: Sequence[str], seed: int) -> Tensor:
    """A seed for each image; seeds PyTorch's generators too."""
    keys = [name.rpartition("/")[2] for name in names]
    seed_globals("predict", seed, keys[0] if keys else "")
    return torch.tensor([derive_seed("predict", seed, key) for key in keys], dtype=torch.int64)
