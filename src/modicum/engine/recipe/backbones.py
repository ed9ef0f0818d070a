"""From the recipe's words (a name, ``hub``, ``random``, a file, ``run:``, ``hf:``) to a backbone with weights."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from modicum.data.published_weights import is_on_hub, similar_short_name
from modicum.data.weights_file import read_weights, weights_digest, written_normalisation
from modicum.engine.randomness import seed_globals
from modicum.engine.recipe.hub_weights import hub_normalisation, hub_weights
from modicum.engine.recipe.settings import OF_RUN, BackboneSettings
from modicum.errors import InputError
from modicum.nn import Backbone, load_backbone_weights
from modicum.nn.pos_embed import with_resized_pos_embed

_HUB = "huggingface.co"
ON_HUB = "hf-hub:"
"""What a backbone's name begins with that only the model hub knows."""


def make_backbone(
    settings: BackboneSettings,
    image_size: tuple[int, int],
    seed: int,
    of_run: Callable[[Path], Backbone],
) -> Backbone:
    """The backbone of a recipe.

    Args:
        settings: name and where the weights come from.
        image_size: height and width.
        seed: for random weights, which are the same whenever the recipe is.
        of_run: from a run folder to its backbone (given by the caller, which knows how to open runs).

    Raises:
        InputError: an unknown name, weights that do not fit, or no network and no cached weights. Random weights
            are only used when asked for.
    """
    if settings.position_resize == "scale":
        as_made = settings.model_copy(update={"position_resize": "size"})
        made = make_backbone(as_made, native_size(settings.name), seed, of_run)
        return with_resized_pos_embed(made, image_size)
    made = _with_weights(settings, image_size, seed, of_run)
    normalisation = made.normalisation
    made.set_normalisation(settings.mean or normalisation["mean"], settings.std or normalisation["std"])
    return made


def _with_weights(
    settings: BackboneSettings, image_size: tuple[int, int], seed: int, of_run: Callable[[Path], Backbone]
) -> Backbone:
    source = settings.weights
    if source == "hub":
        return _from_hub(settings.name, image_size)
    if source == "random":
        seed_globals(seed, "backbone", settings.name)
        return Backbone(settings.name, image_size)
    if is_on_hub(source):
        return _published(settings.name, source, image_size)
    backbone = Backbone(settings.name, image_size)
    if not source.startswith(OF_RUN):
        _check_short_name(source)
        load_backbone_weights(backbone, read_weights(Path(source)), source)
        if written := written_normalisation(Path(source)):
            backbone.set_normalisation(**written)
        return backbone
    path = Path(source.removeprefix(OF_RUN))
    learned = of_run(path)
    if learned.name != settings.name:
        raise InputError(
            f"run '{path}' has backbone '{learned.name}', not '{settings.name}'",
            f"pass --backbone {learned.name}",
        )
    load_backbone_weights(backbone, learned.body.state_dict(), source)
    backbone.set_normalisation(**learned.normalisation)
    return backbone


def _published(name: str, source: str, image_size: tuple[int, int]) -> Backbone:
    """A backbone with weights of a named repository of the model hub, and their normalisation."""
    path = hub_weights(source, hub_reachable)
    backbone = Backbone(name, image_size)
    load_backbone_weights(backbone, read_weights(path), source)
    if normalisation := hub_normalisation(source, path):
        backbone.set_normalisation(**normalisation)
    return backbone


def _check_short_name(source: str) -> None:
    """Raises :class:`InputError` with the names that there are for a word that can be no file."""
    if not Path(source).suffix and "/" not in source and not Path(source).exists():
        raise InputError(f"weights '{source}' are no file and no name of weights", similar_short_name(source))


def native_size(name: str) -> tuple[int, int]:
    """Height and width of the images that timm's weights for a name were made with."""
    from timm.models import get_pretrained_cfg

    settings = get_pretrained_cfg(name)
    height, width = (settings.input_size if settings is not None else (3, 224, 224))[1:]
    return int(height), int(width)


def backbone_digest(backbone: Backbone) -> str:
    """SHA-256 of a backbone's tensors: what a run remembers of a frozen backbone instead of its weights."""
    return weights_digest(backbone.body.state_dict())


def hub_architecture(name: str) -> tuple[str, dict[str, Any]] | None:
    """What timm makes of a name of the model hub (``hf-hub:...``): an architecture and its arguments; None for others."""
    if not name.startswith(ON_HUB):
        return None
    from timm.models import load_model_config_from_hf

    _, architecture, arguments = load_model_config_from_hf(name.removeprefix(ON_HUB))
    return architecture, dict(arguments or {})


def _from_hub(name: str, image_size: tuple[int, int]) -> Backbone:
    try:
        with nullcontext() if hub_reachable() else _from_cache_only():
            return Backbone(name, image_size, pretrained=True)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        # huggingface_hub's errors for "not cached" and "no network" are OSErrors; timm's for a model without
        # published weights is a RuntimeError.
        if isinstance(error, RuntimeError) and "size mismatch" in str(error):
            raise
        raise InputError(
            f"no weights for backbone '{name}': they are not cached here and the model hub cannot be reached "
            f"(or has none)",
            "run once with a network, or pass --weights FILE (.safetensors, .pth, .npz), or --weights random",
        ) from error


@contextmanager
def _from_cache_only() -> Iterator[None]:
    """The hub's client does not try the network, which takes it half a minute of retries where there is none."""
    import huggingface_hub.constants as settings

    before = settings.HF_HUB_OFFLINE
    settings.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = before


def hub_reachable(seconds: float = 3.0) -> bool:
    """Whether the model hub answers within some seconds (and may be asked)."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT")):
        return True  # how the hub is reached is not ours to know
    try:
        with socket.create_connection((_HUB, 443), timeout=seconds):
            return True
    except OSError:
        return False
