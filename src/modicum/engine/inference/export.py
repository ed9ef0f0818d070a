"""A run as a file of weights and a card: its predictor, another part of its method, or one plain timm network.

:func:`modicum.load_exported` makes a network again from either.
"""

import sys
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from modicum.engine.environment import versions
from modicum.engine.inference.exported_file import check_out, write_export
from modicum.engine.inference.fields_of_view import FIELDS
from modicum.engine.inference.merged_network import merged_network, plain_head
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.engine.model import backbone_in, finished_model, load_method
from modicum.engine.recipe.backbones import hub_architecture
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, did_you_mean
from modicum.methods import Method, method_entries
from modicum.methods.base import PREDICTOR
from modicum.methods.exported import exported_network
from modicum.nn import Backbone
from modicum.nn.whole_state import load_whole_state, whole_state
from modicum.progress import say
from modicum.tasks import DenseTask, Task

__all__ = ["FORMS", "Form", "export_merged", "export_part", "export_run", "plain_head"]

Form = Literal["auto", "predictor", "merged"]
FORMS: tuple[str, ...] = get_args(Form)
_VERSIONS = ("modicum", "torch", "timm", "safetensors")
_CLOSE = 1e-5
"""Largest difference of a network made again, as a share of its largest output. There is none on one machine."""


def export_run(
    folder: RunFolder,
    out: Path | None = None,
    *,
    form: str = "auto",
    part: str | None = None,
    weights: str | None = None,
) -> Path:
    """Writes what a run has learned as a file of weights with a card beside it.

    Args:
        folder: of a finished run.
        out: the file of weights, ``.safetensors``; the card is beside it, ``.json``. By default ``export.safetensors``
            in the run folder, with the part's name where one is named.
        form: ``predictor``: all tensors of the network that predicts; ``merged``: the same as one plain timm network,
            for classifiers and encoders of methods that allow it; ``auto``: merged where that is possible.
        part: a network that the method offers besides its predictor.
        weights: of the frozen backbone, see :func:`~modicum.engine.model.load_method`.

    Returns:
        The file of weights.

    Raises:
        InputError: the run cannot be exported so.
        ResourceError: the disk is full.
    """
    if form not in FORMS:
        raise InputError(f"--form is '{form}'", did_you_mean(form, FORMS))
    if form == "merged" and part is not None:
        raise InputError("--part with --form merged, which has no parts", "leave one of them out")
    other = part is not None and part != PREDICTOR
    out = out or folder.path / (f"export-{part}.safetensors" if other else "export.safetensors")
    check_out(out, folder, weights)
    opened = load_method(folder, weights)
    if form == "merged":
        return _export_merged(folder, opened, out)
    if form == "auto" and part is None and not isinstance(opened[1], DenseTask):
        try:
            return _export_merged(folder, opened, out)
        except InputError as error:
            say(
                f"{error.problem}: its predictor is written, which modicum.load_exported('{out.name}') makes again"
            )
    return _export_part(folder, opened, out, part or PREDICTOR)


def export_merged(folder: RunFolder, out: Path) -> Path:
    """Writes what a run has learned as the state dict of a plain timm network, classifier included if it has one.

    ``timm.create_model(name, num_classes=..., img_size=..., global_pool=...)`` with the values of the card loads it
    strictly and gives the run's logits (features without a classifier) for images in ``[0, 1]`` normalised by the
    card's mean and standard deviation.

    Args:
        folder: of a finished run.
        out: the file of weights, ``.safetensors``; the card is beside it, ``.json``.

    Returns:
        The file of weights.

    Raises:
        InputError: what the method learns does not fold into its backbone, or timm cannot make that backbone with
            such a head.
        ResourceError: the disk is full.
    """
    check_out(out, folder)
    return _export_merged(folder, load_method(folder), out)


def export_part(folder: RunFolder, out: Path, part: str = PREDICTOR) -> Path:
    """Writes one network of a run: what predicts, or what its method offers besides.

    Every tensor of it is in the file, those of a frozen backbone too. Nothing that only served learning
    (discriminators, pools of images) is. The card has what it takes to make the network again; a predictor is made
    again and compared before anything is written.

    Args:
        folder: of a finished run.
        out: the file of weights, ``.safetensors``; the card is beside it, ``.json``, and in its metadata.
        part: ``predictor``, or what the method calls another.

    Returns:
        The file of weights.

    Raises:
        InputError: the method has no such part, or its predictor is more than its settings and tensors say.
        ResourceError: the disk is full.
    """
    check_out(out, folder)
    return _export_part(folder, load_method(folder), out, part)


def _export_merged(folder: RunFolder, opened: tuple[Recipe, Task, Method], out: Path) -> Path:
    recipe, task, method = opened
    if isinstance(task, DenseTask):
        raise InputError(
            f"a network of method '{recipe.method}' makes pictures, which no plain timm network does",
            "export its predictor instead (--form predictor)",
        )
    merged = merged_network(method.merge())
    card: dict[str, Any] = {
        "schema": 1,
        "form": "merged",
        "run": folder.name,
        "method": recipe.method,
        "backbone": merged.backbone.name,
        "arguments": merged.arguments,
        "input": {"channels": 3, "range": [0, 1], **merged.backbone.normalisation},
        **_facts(recipe, task, method),
    }
    return write_export(out, merged.tensors, card)


def _export_part(folder: RunFolder, opened: tuple[Recipe, Task, Method], out: Path, part: str) -> Path:
    recipe, task, method = opened
    network, made_of = method.export_network(part)
    card = network_card(folder.name, recipe, task, method, part) | {
        "network": type(network).__name__,
        **made_of,
    }
    if part == PREDICTOR and (fields := finished_model(folder).get(FIELDS)) is not None:
        card[FIELDS] = fields  # the network says nothing of what lies outside: it never learned it
    tensors = whole_state(network.eval())
    again = exported_network(card)
    load_whole_state(again, tensors)
    if part == PREDICTOR:
        card["output"]["shape"] = _compared(network, again, recipe, task)
    return write_export(out, tensors, card)


def network_card(
    run: str, recipe: Recipe, task: Task, method: Method, part: str = PREDICTOR
) -> dict[str, Any]:
    """What it takes to make a network of a method again, and how its images are prepared.

    Args:
        run: name of the run.
        recipe: the run's recipe.
        task: the run's task.
        method: the method.
        part: ``predictor``, or what the method calls another.
    """
    tile = method.tile()
    return {
        "schema": 2,
        "form": "predictor",
        "run": run,
        "method": recipe.method,
        "part": part,
        "config": method.config.model_dump(mode="json"),
        "image_size": list(recipe.image.size),
        "backbone": _backbone_facts(backbone_in(method.predictor()), method.backbone_name),
        "seed": recipe.seed,
        "input": {
            "channels": task.channels,
            "range": [0, 1],
            "adjacent_slices": task.adjacent_slices,
            "tile": None if tile is None else list(tile),
        },
        "output": {"channels": task.num_outputs, **task.output_values()},
        **_facts(recipe, task, method),
    }


def _facts(recipe: Recipe, task: Task, method: Method) -> dict[str, Any]:
    """What all cards say."""
    facts: dict[str, Any] = {
        "decides_over": method.decides_over,
        "image": recipe.image.model_dump(mode="json"),
        "task": task.to_dict(),
        "versions": {"python": sys.version.split()[0]}
        | {name: version for name, version in versions().items() if name in _VERSIONS},
    }
    entry = method_entries().get(recipe.method)
    package = None if entry is None else entry.dist
    if package is not None and package.name != "modicum":
        facts["package"] = f"{package.name} {package.version}"
    return facts


def _backbone_facts(backbone: Backbone | None, name: str | None) -> dict[str, Any] | None:
    """What it takes to make a backbone again without the hub."""
    if name is None:
        return None
    made = hub_architecture(name)
    hub = {} if made is None else {"architecture": made[0], "arguments": made[1]}
    return {"name": name, **hub, **({} if backbone is None else backbone.normalisation)}


@torch.no_grad()
def _compared(network: nn.Module, again: nn.Module, recipe: Recipe, task: Task) -> list[int]:
    """The shape of one image's outputs, which two networks must agree on.

    Raises:
        InputError: they do not: the file would not predict what the run predicts.
    """
    size = (1, task.channels, *recipe.image.size)
    images = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        expected = predictor_outputs(network, images, ["check"], recipe.seed)
        try:
            outputs, problem = predictor_outputs(again.eval(), images, ["check"], recipe.seed), None
        except Exception as error:  # of a network that is not whole, which may fail in any way
            outputs, problem = expected.new_empty(0), error
    scale = float(expected.abs().max().nan_to_num(1))
    if expected.shape != outputs.shape or not torch.allclose(
        expected, outputs, rtol=0, atol=_CLOSE * scale, equal_nan=True
    ):
        raise InputError(
            f"the predictor of method '{recipe.method}' made again from its settings and tensors gives other outputs",
            "keep all that it learns in parameters and persistent buffers of the predictor",
        ) from problem
    return list(expected.shape[1:])
