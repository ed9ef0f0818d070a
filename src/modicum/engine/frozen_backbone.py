"""Where the weights of a run's frozen backbone are, also after the run or they have moved.

A run keeps what it learned; of a frozen backbone it keeps the SHA-256 of its tensors, which decides whether weights
that are found somewhere are the right ones. ``model.json`` says where they were (``frozen_backbone``), and the run folder
can hold them itself (``backbone.safetensors``).
"""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from modicum.data.file_content import file_sha256, file_state
from modicum.data.weights_file import WEIGHT_SUFFIXES
from modicum.engine.checkpoint import load_tensors, save_tensors
from modicum.engine.recipe.backbones import backbone_digest, make_backbone
from modicum.engine.recipe.settings import OF_RUN, BackboneSettings, Recipe
from modicum.engine.run_folder import RunFolder, read_json
from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.progress import say

OfRun = Callable[[Path], Backbone]


def weights_origin(settings: BackboneSettings, folder: RunFolder) -> dict[str, Any] | None:
    """Where a new run's backbone comes from, for ``model.json``; None for the model hub and for random weights.

    Returns:
        ``path``, absolute; ``from_run``, the same as seen from the run folder; of a file ``bytes`` and ``sha256``, of an
        earlier run ``weights_sha256``.
    """
    path = _path(settings.weights)
    if path is None:
        return None
    origin: dict[str, Any] = {"path": str(path.absolute())}
    try:
        origin["from_run"] = Path(os.path.relpath(path.resolve(), folder.path.resolve())).as_posix()
    except ValueError:  # on another drive
        origin["from_run"] = None
    if settings.weights.startswith(OF_RUN):
        return origin | {"weights_sha256": _weights_sha256(path)}
    state = file_state(path)
    return origin if state is None else origin | {"bytes": state.size, "sha256": file_sha256(path, state)}


def find_frozen_backbone(
    folder: RunFolder, recipe: Recipe, model: Mapping[str, Any], weights: str | None, of_run: OfRun
) -> Backbone:
    """The frozen backbone of a run, as it was before the method changed it, wherever its weights are now.

    They are looked for in the run folder; then, unless ``weights`` says where they are, where the recipe says, where they
    were when the run was started, at the same place as seen from the run folder, and next to the run. Only weights
    with the right digest are taken.

    Args:
        folder: of the run.
        recipe: of the run.
        model: the content of ``model.json``, with the digest of a frozen backbone.
        weights: a file, ``run:FOLDER``, ``hub`` or ``random``, in place of all others.
        of_run: from a run folder to its backbone.

    Raises:
        InputError: they are nowhere, or others are there in their place.
    """
    expected = str(model["frozen_backbone_sha256"])
    settings = recipe.backbone.model_copy(update=dict(model.get("normalisation") or {}))

    def made(source: str) -> Backbone:
        if source == str(folder.backbone):
            return _held(folder, settings, recipe.image.size)
        as_found = settings.model_copy(update={"weights": source})
        return make_backbone(as_found, recipe.image.size, recipe.seed, of_run)

    if weights is not None:
        return _checked(made(weights), expected, weights, folder)
    others, problem = [], None
    for source in _sources(folder, recipe.backbone.weights, model.get("frozen_backbone") or {}):
        try:
            backbone = made(source)
        except InputError as error:
            problem = problem or error
            continue
        backbone.digest = backbone_digest(backbone)
        if backbone.digest == expected:
            if problem is not None:
                say(f"{problem.problem}: the frozen backbone was found elsewhere ({source})")
            return backbone
        others.append(source)
    raise _not_found(folder, recipe, model, others, problem)


def _checked(backbone: Backbone, expected: str, source: str, folder: RunFolder) -> Backbone:
    """A backbone that was named in place of all others. Raises :class:`InputError` where it is not the run's."""
    backbone.digest = backbone_digest(backbone)
    if backbone.digest != expected:
        raise InputError(
            f"'{source}' is not the backbone of run '{folder.name}' (SHA-256 of its tensors {backbone.digest}, not "
            f"{expected})",
            "name the weights that the run was trained with",
        )
    return backbone


def hold_backbone(folder: RunFolder, backbone: Backbone) -> Path:
    """Writes a run's frozen backbone into its folder, where it is found before all other places.

    Raises:
        ResourceError: the disk is full.
    """
    tensors = backbone.body.state_dict()
    save_tensors(folder.backbone, {name: tensor.clone() for name, tensor in tensors.items()})
    return folder.backbone


def _held(folder: RunFolder, settings: BackboneSettings, size: tuple[int, int]) -> Backbone:
    backbone = Backbone(settings.name, size)
    tensors = load_tensors(folder.backbone)
    state = backbone.body.state_dict()
    if set(state) != set(tensors) or any(state[name].shape != tensors[name].shape for name in state):
        raise InputError(
            f"'{folder.backbone.name}' of run '{folder.name}' does not fit backbone '{settings.name}'",
            f"restore the file, or delete it and run `modicum pack {folder.path} --weights FILE`",
        )
    with torch.no_grad():
        backbone.body.load_state_dict(tensors)
    backbone.random = False
    own_values = backbone.normalisation
    backbone.set_normalisation(settings.mean or own_values["mean"], settings.std or own_values["std"])
    return backbone


def _sources(folder: RunFolder, given: str, origin: Mapping[str, Any]) -> Iterator[str]:
    """Where weights may be, as a recipe names them; only places where there is something, each once."""
    if folder.backbone.is_file():
        yield str(folder.backbone)
    path = _path(given)
    if path is None:
        yield given
        return
    of_run = given.startswith(OF_RUN)
    here = folder.path.resolve()
    places = [path]
    if recorded := origin.get("path"):
        places.append(Path(recorded))
    if from_run := origin.get("from_run"):
        places.append(here / from_run)
    if not path.is_absolute():
        # Runs of earlier versions do not say where they were started: mostly in the folder that holds runs/.
        places += [here.parent.parent / path, here.parent / path, here / path]
    places += [here.parent / path.name, here / path.name]
    tried = set()
    for place in _with_same_content(places, here, of_run, origin):
        real = place.resolve()
        usable = (place / "recipe.yaml").is_file() and real != here if of_run else place.is_file()
        if usable and real not in tried:
            tried.add(real)
            yield f"{OF_RUN}{place}" if of_run else str(place)


def _with_same_content(
    places: list[Path], here: Path, of_run: bool, origin: Mapping[str, Any]
) -> Iterator[Path]:
    """The places, then what lies next to the run (or in it) under another name with the content it once had."""
    yield from places
    beside = [here.parent] if of_run else [here, here.parent]
    for folder in beside:
        with suppress(OSError):  # a folder that may not be listed
            for path in sorted(folder.iterdir()):
                if _same_run(path, origin) if of_run else _same_file(path, origin):
                    yield path


def _same_run(path: Path, origin: Mapping[str, Any]) -> bool:
    digest = origin.get("weights_sha256")
    return digest is not None and _weights_sha256(path) == digest


def _same_file(path: Path, origin: Mapping[str, Any]) -> bool:
    state = file_state(path) if path.suffix.lower() in WEIGHT_SUFFIXES else None
    if state is None or state.size != origin.get("bytes"):
        return False
    return file_sha256(path, state) == origin.get("sha256")


def _weights_sha256(run: Path) -> str | None:
    model = RunFolder(run).model
    try:
        content = read_json(model) if model.is_file() else {}
    except InputError:
        return None
    return content.get("weights_sha256") if isinstance(content, dict) else None


def _path(weights: str) -> Path | None:
    """The path in what a recipe says of weights; None where it names none."""
    return None if weights in {"hub", "random"} else Path(weights.removeprefix(OF_RUN))


def _not_found(
    folder: RunFolder, recipe: Recipe, model: Mapping[str, Any], others: list[str], problem: InputError | None
) -> InputError:
    name, source = recipe.backbone.name, recipe.backbone.weights
    file = (model.get("frozen_backbone") or {}).get("sha256")
    which = f"the file's SHA-256 is {file}, that" if file else "the SHA-256"
    # The second also where another command reads this run, which has no --weights for it.
    remedy = (
        f"pass --weights FILE ({which} of its tensors {model['frozen_backbone_sha256']}), or put them into the run: "
        f"modicum pack {shlex.quote(str(folder.path))} --weights FILE"
    )
    if others:
        return InputError(
            f"the weights of backbone '{name}' are not the ones this run was trained with",
            f"restore the original weights file or hub version, or {remedy}",
        )
    if problem is not None:
        return InputError(f"the frozen backbone '{name}' of this run: {problem.problem}", remedy)
    return InputError(f"the weights '{source}' of the frozen backbone '{name}' are not found", remedy)
