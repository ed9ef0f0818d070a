"""A recipe's method with its networks, freshly made or with what a run has learned."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modicum.data.weights_file import weights_digest
from modicum.engine.checkpoint import load_tensors
from modicum.engine.frozen_backbone import find_frozen_backbone, hold_backbone
from modicum.engine.model_file import read_model, task_of_run
from modicum.engine.randomness import seed_globals
from modicum.engine.recipe.backbones import backbone_digest, make_backbone
from modicum.engine.recipe.settings import Recipe
from modicum.engine.recipe.validation import validated
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import Context, ExtractStage, Method, Stage, TrainStage, method_class
from modicum.methods.base import FitStage, MethodConfig, no_reference, unknown_statistics
from modicum.nn import Backbone, deduplicated, learned_tensors
from modicum.tasks import ImageLevelTask, Task
from modicum.tasks.base import AuxiliaryImage, Batch
from modicum.tasks.loss_words import LOSS_SETTINGS


def make_method(
    recipe: Recipe,
    task: Task,
    targets: Mapping[str, np.ndarray],
    statistics: Callable[[], tuple[Sequence[float], Sequence[float]]] = unknown_statistics,
    reference: Callable[[], Batch] = no_reference,
    has_data: bool = True,
    find_backbone: Callable[[], Backbone] | None = None,
) -> Method:
    """The method of a recipe with freshly initialised networks; the same whenever the recipe is.

    Args:
        recipe: method, configuration and backbone.
        task: what is learned.
        targets: of the training rows.
        statistics: of the training images' pixels, see :class:`~modicum.methods.Context`.
        reference: the reference rows, see :class:`~modicum.methods.Context`.
        has_data: false where what was made of data is loaded afterwards.
        find_backbone: in place of where the recipe says that the backbone's weights are.

    Raises:
        InputError: the method does not serve the task, or its configuration or backbone is wrong.
    """
    asked: list[str] = []

    def backbone() -> Backbone:
        asked.append(recipe.backbone.name)
        if find_backbone is not None:
            made = find_backbone()
        else:
            made = make_backbone(recipe.backbone, recipe.image.size, recipe.seed, backbone_of_run)
        made.digest = made.digest or backbone_digest(made)
        seed_globals(recipe.seed, "head")  # what is initialised next does not depend on the backbone's draws
        return made

    kind, config, context = method_parts(recipe, task, targets, backbone, statistics, reference, has_data)
    seed_globals(recipe.seed, "method")
    method = kind(config, context)
    method.backbone_name = asked[0] if asked else None
    return method


def method_parts(
    recipe: Recipe,
    task: Task,
    targets: Mapping[str, np.ndarray],
    backbone: Callable[[], Backbone],
    statistics: Callable[[], tuple[Sequence[float], Sequence[float]]] = unknown_statistics,
    reference: Callable[[], Batch] = no_reference,
    has_data: bool = True,
) -> tuple[type[Method], MethodConfig, Context]:
    """The class of a recipe's method, and what it is made of; arguments as :func:`make_method`'s.

    Args:
        backbone: makes the backbone.

    Raises:
        InputError: the method does not serve the task, or its configuration is wrong.
    """
    kind = method_class(recipe.method)
    if task.name not in kind.tasks:
        raise InputError(
            f"method '{recipe.method}' does not serve task '{task.name}'",
            f"it serves {', '.join(kind.tasks)}",
        )
    if kind.decides_over == "set" and not isinstance(task, ImageLevelTask):
        raise InputError(
            f"method '{recipe.method}' decides over a set of images, which task '{task.name}' predicts one by one",
            "leave decides_over of the method as 'image'",
        )
    config = validated(kind.Config, recipe.config, f"method {recipe.method}")
    context = Context(
        task,
        backbone,
        targets,
        recipe.training.model_dump(include=set(LOSS_SETTINGS)),
        statistics,
        recipe.image.size,
        recipe.training.model_dump(),
        {name: recipe.training_of(name).model_dump() for name in kind.stage_training},
        reference,
        recipe.seed,
        has_data,
    )
    return kind, config, context


def further_images(recipe: Recipe) -> tuple[AuxiliaryImage, ...]:
    """The pictures that a recipe's method reads besides the task's own."""
    kind = method_class(recipe.method)
    return kind.auxiliary_images(validated(kind.Config, recipe.config, f"method {recipe.method}"))


def load_method(folder: RunFolder, weights: str | None = None) -> tuple[Recipe, Task, Method]:
    """The method of a run with its learned weights.

    Args:
        folder: of the run.
        weights: where those of the frozen backbone are now: a file, or ``run:FOLDER``. By default they are looked for,
            see :func:`~modicum.engine.frozen_backbone.find_frozen_backbone`.

    Raises:
        InputError: the run has not finished, its files are damaged, or the frozen backbone's weights are not found, or
            not the ones it was trained with.
    """
    recipe, model = Recipe.read(folder.recipe), finished_model(folder)
    task = task_of_run(folder)
    made_from = recipe
    frozen = model["frozen_backbone_sha256"]
    if frozen is None and weights is not None:
        raise InputError(f"run '{folder.name}' holds all of its weights", "leave --weights out")
    if frozen is None:
        # All of the backbone is in the run's own weights: neither hub nor file is needed any more.
        stored = {"weights": "random", **(model.get("normalisation") or {})}
        made_from = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update=stored)})
    find = partial(find_frozen_backbone, folder, recipe, model, weights, backbone_of_run)
    method = make_method(
        made_from, task, targets={}, has_data=False, find_backbone=None if frozen is None else find
    )
    check_backbone(method, frozen)
    load_learned(method, load_tensors(folder.weights, model["weights_sha256"]), folder.name)
    return recipe, task, method


def finished_model(folder: RunFolder) -> dict[str, Any]:
    """The content of a finished run's ``model.json``. Raises :class:`InputError` where the run has not finished."""
    if not folder.weights.is_file():
        state = folder.status.get("state", "unknown")
        raise InputError(
            f"run '{folder.name}' has no trained weights (state: {state})",
            "finish it with `modicum fit ... --resume`",
        )
    return read_model(folder)


def learned_of(method: Method) -> dict[str, Tensor]:
    """Tensors that a finished run keeps, each name led by its stage's; of a shared network, the first's."""
    return deduplicated(
        {
            f"{stage.name}.{name}": tensor
            for stage in method.stages()
            for name, tensor in _kept_of(stage).items()
        }
    )


def _kept_of(stage: Stage) -> dict[str, Tensor]:
    """What a finished run keeps of a stage; tensors that are not learned where they are named themselves."""
    if isinstance(stage, FitStage):
        return stage.fitted()
    if not isinstance(stage, TrainStage):
        return {}
    learned, kept = learned_tensors(stage), stage.persistent_modules()
    if kept is None:
        return learned
    inside = tuple(f"{part}." for part in kept)
    return {
        name: tensor
        for name, tensor in stage.state_dict(keep_vars=True).items()
        if name in kept or (name in learned and name.startswith(inside))
    }


def load_learned(method: Method, tensors: Mapping[str, Tensor], run: str) -> None:
    """Puts learned tensors into a method's stages. Raises :class:`InputError` where they do not fit."""
    tensors = _load_fitted(method, tensors)
    learned = learned_of(method)
    if set(learned) != set(tensors) or any(learned[name].shape != tensors[name].shape for name in learned):
        raise InputError(f"the weights of run '{run}' do not fit its recipe", "restore the run folder")
    with torch.no_grad():
        for name, tensor in learned.items():
            tensor.copy_(tensors[name])


def _load_fitted(method: Method, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts what was fitted in place, whatever its size; returns all tensors."""
    for stage in method.stages():
        if isinstance(stage, FitStage):
            inside = f"{stage.name}."
            of_stage = {n.removeprefix(inside): t for n, t in tensors.items() if n.startswith(inside)}
            with suppress(KeyError, AttributeError):  # an unknown name: told with all that does not fit
                stage.load_fitted(of_stage)
    return dict(tensors)


def backbone_in(module: nn.Module) -> Backbone | None:
    """The backbone of a network, where it has one."""
    return next((part for part in module.modules() if isinstance(part, Backbone)), None)


def backbone_facts(stage: ExtractStage) -> dict[str, str]:
    """Name and digest of the backbone that a stage reads, with the weights that it has now; empty without one."""
    if not stage.uses_backbone:
        return {}
    if (backbone := backbone_in(stage)) is not None:
        return {"name": backbone.name, "sha256": backbone_digest(backbone)}
    tensors = stage.state_dict()
    return {"sha256": weights_digest(tensors)} if tensors else {}


def check_backbone(method: Method, expected: str | None) -> str | None:
    """Compares a frozen backbone with the digest a run remembers. Returns the digest of this one.

    A backbone is frozen here unless every tensor of it is learned. The digest is that of its tensors as they were
    made, before the method unfroze some or put its own layers among them. None where there is nothing frozen.

    Raises:
        InputError: they differ: predictions would be wrong without anybody noticing.
    """
    backbone = backbone_in(method.predictor())
    if backbone is None:
        return None
    learned = {id(tensor) for tensor in learned_of(method).values()}
    if all(id(tensor) in learned for tensor in backbone.body.state_dict(keep_vars=True).values()):
        return None  # all of it is in the run's own weights
    digest = backbone.digest or backbone_digest(backbone)
    if expected is not None and digest != expected:
        raise InputError(
            f"the weights of backbone '{backbone.name}' are not the ones this run was trained with",
            "restore the original weights file or hub version",
        )
    return digest


def pack_run(folder: RunFolder, weights: str | None = None) -> Path | None:
    """Puts a finished run's frozen backbone into its folder, so that it can be copied anywhere.

    Args:
        folder: of the run.
        weights: where they are now, see :func:`load_method`.

    Returns:
        The file; None where the run holds all of its weights anyway.

    Raises:
        InputError: the run has not finished, or the weights are not found.
        ResourceError: the disk is full.
    """
    recipe, model = Recipe.read(folder.recipe), finished_model(folder)
    if model["frozen_backbone_sha256"] is None:
        return None
    with folder.locked():
        return hold_backbone(folder, find_frozen_backbone(folder, recipe, model, weights, backbone_of_run))


def backbone_of_run(path: Path) -> Backbone:
    """A run's backbone with what it has learned, for ``--weights run:FOLDER``."""
    folder = RunFolder.open(path)
    _, _, method = load_method(folder)
    try:
        backbone = backbone_in(method.merge())
    except InputError as error:  # the frozen one under what the run learned
        backbone = backbone_in(method.predictor())
        if backbone is None:
            raise InputError(
                f"run '{folder.name}' has no backbone to start from: {error.problem}", "choose another run"
            ) from error
    if backbone is None:
        raise InputError(f"run '{folder.name}' has no backbone to start from", "choose another run")
    return backbone
