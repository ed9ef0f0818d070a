"""Stages that are taken from an earlier run, as they are or as a start."""

from pathlib import Path

import torch
from torch import Tensor

from modicum.engine.model import load_method
from modicum.engine.model_file import read_model
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import ExtractStage, FitStage, Stage
from modicum.nn import learned_tensors


def load_stage(stage: Stage, path: Path) -> str:
    """Puts what the stage of the same name of an earlier run has learned into a stage.

    Args:
        stage: of the method that is made now.
        path: folder of the earlier run.

    Returns:
        The digest of the earlier run's weights.

    Raises:
        InputError: no such run, no such stage in it, or another network.
    """
    folder = RunFolder.open(path)
    recipe, _, method = load_method(folder)
    others = {other.name: other for other in method.stages()}
    other = others.get(stage.name)
    if other is None:
        raise InputError(
            f"run '{folder.name}' (method {recipe.method}) has no stage '{stage.name}'",
            f"it has {', '.join(others)}; name a run that trained '{stage.name}'",
        )
    _copy(_tensors(other), stage, folder.name)
    return str(read_model(folder)["weights_sha256"])


def _tensors(stage: Stage) -> dict[str, Tensor]:
    if isinstance(stage, ExtractStage):
        return {}
    return stage.fitted() if isinstance(stage, FitStage) else learned_tensors(stage)


def _copy(tensors: dict[str, Tensor], stage: Stage, run: str) -> None:
    if isinstance(stage, FitStage):
        stage.load_fitted(tensors)
        return
    own_tensors = _tensors(stage)
    odd = sorted(
        name
        for name in set(own_tensors) | set(tensors)
        if name not in own_tensors or name not in tensors or own_tensors[name].shape != tensors[name].shape
    )
    if odd:
        raise InputError(
            f"stage '{stage.name}' of run '{run}' has another network ({len(odd)} tensors differ, for instance "
            f"'{odd[0]}')",
            "use the same settings of the network as that run's recipe.yaml",
        )
    with torch.no_grad():
        for name, tensor in own_tensors.items():
            tensor.copy_(tensors[name])
