"""Stages that are taken from an earlier run, as they are or as a start."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from modicum.engine.model import load_method
from modicum.engine.model_file import read_model
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, read_table
from modicum.errors import InputError
from modicum.methods import ExtractStage, FitStage, Method, Stage
from modicum.nn import learned_tensors


def stage_sources(recipe: Recipe, method: Method) -> dict[str, str]:
    """The digest of the weights of each earlier run that a stage is taken from, by stage."""
    earlier = {stage.name: recipe.earlier_run(stage.name) for stage in method.stages()}
    return {
        name: str(read_model(RunFolder.open(found[0]))["weights_sha256"])
        for name, found in earlier.items()
        if found is not None
    }


def check_same_start(folder: RunFolder, frozen: str | None, sources: Mapping[str, str]) -> None:
    """Checks that an unfinished run is resumed on what it was started on: its checkpoints hold only what it learned.

    Args:
        folder: of the run.
        frozen: digest of its frozen backbone now.
        sources: of the stages of earlier runs now, see :func:`stage_sources`.

    Raises:
        InputError: what is another one since.
    """
    before = read_table(folder.model) if folder.model.is_file() else {}
    changed = []
    if before.get("frozen_backbone_sha256") not in (None, frozen):
        changed.append("the weights of its frozen backbone")
    stages = before.get("stage_sources")
    if isinstance(stages, dict):
        names = [name for name, now in sources.items() if stages.get(name, now) != now]
        changed += [f"the run that stage '{name}' is taken from" for name in names]
    if changed:
        raise InputError(
            f"run '{folder.name}' cannot go on: {' and '.join(changed)} changed since it was started",
            "restore it, or train anew (another --name, or --overwrite)",
        )


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
