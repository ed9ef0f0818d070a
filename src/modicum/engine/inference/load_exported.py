"""The network of an exported file, ready for use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from modicum.engine.inference.exported_file import read_export
from modicum.engine.inference.graphs.runtime import GRAPHS, load_graph
from modicum.errors import InputError
from modicum.methods.exported import Side, exported_network, is_merged
from modicum.nn import Normalisation
from modicum.nn.whole_state import load_whole_state


def load_exported(path: str | Path) -> nn.Module:
    """Makes the network again that ``modicum export`` (or ``Run.export``) wrote.

    It needs the file alone: no run folder, model hub or other weights. Nothing in the file is executed. Of a predictor
    it gives the run's raw outputs, to the bit on the same machine: logits of a classifier or a segmentation, pictures in
    ``[0, 1]`` of a translation, features of an encoder. Where the card says ``"decides_over": "set"``, the method decides
    from the outputs of all images of a set (both eyes of a patient, say), which the network alone does not.

    Args:
        path: the ``.safetensors`` file; or of ``modicum export --to`` an ``.onnx`` file or OpenVINO's ``.xml``, which are
            computed on the CPU (extra ``export``).

    Returns:
        A module in evaluation mode on the CPU, from images ``[b, c, h, w]`` in ``[0, 1]``, prepared as the card's
        ``image`` says, to outputs. Another part than the predictor takes what its method says.

    Raises:
        InputError: there is no such file, it is damaged, or its method is not installed.
    """
    path = Path(path)
    if path.suffix in GRAPHS:
        return load_graph(path).eval()
    card, tensors = read_export(path)
    try:
        network = _timm_network(card) if is_merged(card) else exported_network(card)
        load_whole_state(network[1] if isinstance(network, _Merged) else network, tensors)
    except InputError as error:
        raise InputError(f"'{path}': {error.problem}", error.remedy) from error
    return network.eval()


class _Merged(nn.Sequential):
    """Normalisation, and a network as timm has it."""


class _Arguments(BaseModel):
    """Of ``timm.create_model``; no others are taken from a card, as some open files."""

    model_config = ConfigDict(extra="forbid")

    num_classes: int
    global_pool: str | None = None
    img_size: tuple[Side, Side] | None = None


class _Input(BaseModel):
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _MergedCard(BaseModel):
    backbone: str
    arguments: _Arguments
    input: _Input


def _timm_network(card: Mapping[str, Any]) -> _Merged:
    import timm

    try:
        facts = _MergedCard.model_validate(dict(card))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the card cannot be used ({key}: {first['msg']})", "export the run again"
        ) from error
    if ":" in facts.backbone or not timm.is_model(facts.backbone.split(".")[0]):
        raise InputError(f"backbone '{facts.backbone}' is not a timm model", "export the predictor instead")
    try:
        with torch.random.fork_rng(devices=[]):
            body = timm.create_model(facts.backbone, **facts.arguments.model_dump(exclude_none=True))
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(
            f"timm makes no '{facts.backbone}' as the card says ({error})", "export the run again"
        ) from error
    return _Merged(Normalisation(facts.input.mean, facts.input.std), body)
