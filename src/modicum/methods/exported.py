"""The network of an exported file made again from its card: no run, no model hub and no weights are needed.

Example::

    card = json.loads(Path("model.json").read_text())
    network = exported_network(card)
    network.load_state_dict(safetensors.torch.load_file("model.safetensors"))

:func:`modicum.load_exported` does this in one call for the files of every method, and checks them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import nn

from modicum.errors import InputError, ModicumError
from modicum.methods.base import PREDICTOR, Context, Method
from modicum.methods.registry import method_class
from modicum.nn.backbones import Backbone
from modicum.tasks.registry import task_from_dict

Side = Annotated[int, Field(ge=1, le=16384)]
NOT_FROM_A_FILE = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
)
"""Arguments of ``timm.create_model`` that fetch or open something; a card cannot give them."""


class BackboneCard(BaseModel):
    """What a backbone is made from.

    Attributes:
        name: as the run called it.
        architecture: timm's name, where ``name`` is of the model hub.
        arguments: further ones of ``timm.create_model``, where ``name`` is of the model hub.
        mean: that images are normalised with.
        std: that images are normalised with.
    """

    name: str
    architecture: str | None = None
    arguments: dict[str, bool | int | float | str | list[int] | None] = {}
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class NetworkCard(BaseModel):
    """What a card says of the network, as it is read. Cards of earlier versions have ``encoder`` for the backbone."""

    card_version: Literal[1, 2] = Field(1, alias="schema")
    method: str
    part: str = PREDICTOR
    config: dict[str, Any]
    image_size: tuple[Side, Side]
    task: dict[str, Any]
    backbone: BackboneCard | None = None
    encoder: str | None = None
    seed: int = 0


def exported_network(card: Mapping[str, Any]) -> nn.Module:
    """The network that a card of ``modicum export`` describes, in evaluation mode, for its weights to be loaded into.

    PyTorch's generators are as before afterwards.

    Args:
        card: the JSON file beside the weights, of a predictor or another part of a method.

    Raises:
        InputError: the card is damaged or of a later version, or its method is not installed.
    """
    facts = _checked(card)
    with _damage_told(facts):
        network, _ = _made(card, facts).export_network(facts.part)
    return network.eval()


def exported_method(card: Mapping[str, Any]) -> Method:
    """The method that a card describes, freshly initialised; arguments and errors as :func:`exported_network`'s."""
    facts = _checked(card)
    with _damage_told(facts):
        return _made(card, facts)


def _made(card: Mapping[str, Any], facts: NetworkCard) -> Method:
    try:
        kind = method_class(facts.method)
    except InputError as error:
        raise InputError(
            f"the card is of a network of method '{facts.method}', which is not installed",
            f"install the package it comes from{_package(card)}",
        ) from error
    context = Context(
        task_from_dict(facts.task),
        lambda: _backbone(facts),
        {},
        {},
        image_size=facts.image_size,
        seed=facts.seed,
        has_data=False,
    )
    config = kind.Config.model_validate(facts.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(facts.seed)
        return kind(config, context)


@contextmanager
def _damage_told(facts: NetworkCard) -> Iterator[None]:
    """Errors of a card that cannot be used, in one line each."""
    try:
        yield
    except ModicumError as error:
        if "not installed" in error.problem:
            raise
        raise InputError(f"the card does not describe a network: {error.problem}", error.remedy) from error
    except ValidationError as error:
        raise _unusable(error, "config.") from error
    except Exception as error:
        # Methods and tasks, other packages' too, are made from what the card says, and may fail in any way.
        raise InputError(
            f"the card does not describe a network of method '{facts.method}' ({type(error).__name__}: {error})",
            "use the version of modicum that wrote it, or export the run again",
        ) from error


def is_merged(card: Mapping[str, Any]) -> bool:
    """Whether a card is of a plain timm network."""
    form = card.get("form")
    return form == "merged" or (form is None and "arguments" in card)


def _checked(card: Mapping[str, Any]) -> NetworkCard:
    version = card.get("schema", 1)
    if isinstance(version, int) and version > 2:
        raise InputError(
            f"the card has schema {version}, of a later version of modicum",
            "update modicum: it knows 1 and 2",
        )
    if is_merged(card):
        raise InputError(
            "the card is of a network merged into its backbone",
            "make it with timm.create_model(card['backbone'], **card['arguments']), or use modicum.load_exported",
        )
    try:
        return NetworkCard.model_validate(dict(card))
    except ValidationError as error:
        raise _unusable(error) from error


def _unusable(error: ValidationError, where: str = "") -> InputError:
    first = error.errors()[0]
    key = where + ".".join(str(part) for part in first["loc"])
    return InputError(
        f"the card cannot be used ({key}: {first['msg']})", "restore the file, or export the run again"
    )


def _backbone(facts: NetworkCard) -> Backbone:
    given = facts.backbone or (None if facts.encoder is None else BackboneCard(name=facts.encoder))
    if given is None:
        raise InputError("it names no backbone", "export the run again")
    name = given.architecture or given.name
    if ":" in name or (wrong := NOT_FROM_A_FILE & set(given.arguments)):
        bad = name if ":" in name else sorted(wrong)[0]
        raise InputError(f"backbone '{bad}' would have to be fetched", "export the run again")
    made = Backbone(name, facts.image_size, arguments=given.arguments)
    made.name = given.name
    normalisation = made.normalisation
    made.set_normalisation(given.mean or normalisation["mean"], given.std or normalisation["std"])
    return made


def _package(card: Mapping[str, Any]) -> str:
    """Of other packages' methods: which one and which version."""
    package = card.get("package")
    return f": {package}" if isinstance(package, str) else ""
