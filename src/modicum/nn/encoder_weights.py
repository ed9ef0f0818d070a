"""Which tensors of a segmentation network's encoder are which of the classification network it is made of."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.backbones import Backbone

MOBILENET = "mobilenet_v2"
"""Built with the layout of torchvision, and with its names."""
OTHER_NAMES = {"mobilenetv2_100": MOBILENET}


def architecture_of(encoder: str) -> str:
    """A timm name without the tag of its weights."""
    return encoder.split(".")[0]


def load_encoder(encoder: nn.Module, weights: Mapping[str, Tensor], name: str, source: str) -> None:
    """Loads weights of a classification network into an encoder.

    Args:
        encoder: of the decoders' library, or a vision transformer.
        weights: tensors under the names of timm, or for MobileNetV2 of torchvision; a classifier in it is ignored.
        name: what the encoder is called.
        source: what to call the weights in an error.

    Raises:
        InputError: tensors are missing or of another shape. Nothing is ever left at random silently.
    """
    own = encoder.state_dict()
    names = _names_there(own, weights, name)
    missing = [here for here, there in names.items() if there is None]
    found = {here: weights[there] for here, there in names.items() if there is not None}
    wrong = [here for here, tensor in found.items() if tensor.shape != own[here].shape]
    if missing or wrong:
        raise InputError(
            f"weights '{source}' do not fit encoder '{name}': {len(missing)} of its {len(own)} tensors are missing and "
            f"{len(wrong)} have another shape (for instance '{(missing + wrong)[0]}')",
            "choose the encoder they were made for",
        )
    # As a plain module: the encoders' own loading renames tensors.
    nn.Module.load_state_dict(encoder, found)


def backbone_from_encoder(encoder: nn.Module, name: str, image_size: tuple[int, int]) -> Backbone:
    """The classification network that an encoder is made of, with copies of its weights.

    A norm behind the encoder's last map, which the encoder does without, is as at the start: scale 1, shift 0.

    Args:
        encoder: as in :func:`load_encoder`.
        name: of the timm network.
        image_size: height and width that position embeddings are for.

    Raises:
        InputError: the network has more behind that map than a norm, which would be random.
    """
    backbone = Backbone(name, image_size)
    theirs, own = backbone.body.state_dict(), encoder.state_dict()
    names = _names_there(own, theirs, name)
    neutral = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    lost = [
        there
        for there in theirs.keys() - set(names.values())
        if not isinstance(backbone.body.get_submodule(there.rpartition(".")[0]), neutral)
    ]
    if lost:
        raise InputError(
            f"its encoder lacks {len(lost)} tensors of the end of '{name}' (for instance '{min(lost)}')",
            "choose a run on an encoder without layers behind its maps, for instance resnet18 or convnext_tiny",
        )
    # Each has a name there: the encoder was given the weights of such a network, or could have been.
    backbone.body.load_state_dict(theirs | {str(there): own[here] for here, there in names.items()})
    backbone.random = False
    return backbone


def _names_there(own: Iterable[str], names: Iterable[str], encoder: str) -> dict[str, str | None]:
    """From an encoder's names of tensors to those of a classification network; None where that has none."""
    own, known = list(own), dict.fromkeys(names)
    if architecture_of(encoder) in OTHER_NAMES and not set(own) <= set(known):
        return _in_order(own, known)
    return {name: _name_there(name, known) for name in own}


def _name_there(name: str, known: Iterable[str]) -> str | None:
    """timm's feature extractors put networks under ``model.`` and join ``stages.3`` to ``stages_3``."""
    plain = re.sub(r"^(model\.)+", "", name)
    candidates = name, plain, re.sub(r"^([a-z_]+)_(\d+)\.", r"\1.\2.", plain)
    return next((candidate for candidate in candidates if candidate in known), None)


def _in_order(own: Iterable[str], known: Iterable[str]) -> dict[str, str | None]:
    """timm's and torchvision's MobileNetV2 have the same tensors in the same order, under other names."""
    own = list(own)
    filled: list[str | None] = [name for name in known if not name.startswith("classifier.")]
    return dict(zip(own, filled + [None] * len(own), strict=False))
