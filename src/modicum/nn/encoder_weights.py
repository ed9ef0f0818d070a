"""Maps tensor names between a segmentation network's encoder and the classification network it is made of."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.backbones import Backbone
from modicum.nn.weight_names import COUNTER

MOBILENET = "mobilenet_v2"
"""Built with the layout of torchvision, and with its names."""
OTHER_NAMES = {"mobilenetv2_100": MOBILENET}


def architecture_of(encoder: str) -> str:
    """A timm name without the tag of its weights."""
    return encoder.split(".")[0]


def load_encoder(encoder: nn.Module, weights: Mapping[str, Tensor], name: str, source: str) -> None:
    """Loads weights of a classification network into an encoder.

    Args:
        encoder: of segmentation-models-pytorch, or a vision transformer.
        weights: tensors under the names of timm, or for MobileNetV2 of torchvision; a classifier in it is ignored.
        name: name of the encoder.
        source: what to call the weights in an error.

    Raises:
        InputError: tensors are missing or of another shape. Nothing is ever left at random silently.
    """
    expected = encoder.state_dict()
    names = _backbone_names(expected, weights, name)
    missing = [
        encoder_name
        for encoder_name, source_name in names.items()
        if source_name is None and not encoder_name.endswith(COUNTER)
    ]
    matched = {
        encoder_name: weights[source_name]
        for encoder_name, source_name in names.items()
        if source_name is not None
    }
    wrong = [
        encoder_name
        for encoder_name, tensor in matched.items()
        if tensor.shape != expected[encoder_name].shape
    ]
    if missing or wrong:
        raise InputError(
            f"weights '{source}' do not fit encoder '{name}': {len(missing)} of its {len(expected)} tensors are missing "
            f"and {len(wrong)} have another shape (for instance '{(missing + wrong)[0]}')",
            "choose the encoder they were made for",
        )
    # As a plain module: the encoders' own loading renames tensors.
    nn.Module.load_state_dict(encoder, expected | matched)


def backbone_from_encoder(encoder: nn.Module, name: str, image_size: tuple[int, int]) -> Backbone:
    """The classification network that an encoder is made of, with copies of its weights.

    A norm after the encoder's last map, which the encoder leaves out, keeps its initial values: scale 1, shift 0.

    Args:
        encoder: as in :func:`load_encoder`.
        name: of the timm network.
        image_size: height and width that position embeddings are for.

    Raises:
        InputError: the network has more layers after that map than a norm; they would be random.
    """
    backbone = Backbone(name, image_size)
    backbone_state, encoder_state = backbone.body.state_dict(), encoder.state_dict()
    names = _backbone_names(encoder_state, backbone_state, name)
    neutral = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    lost = [
        backbone_name
        for backbone_name in backbone_state.keys() - set(names.values())
        if not isinstance(backbone.body.get_submodule(backbone_name.rpartition(".")[0]), neutral)
    ]
    if lost:
        raise InputError(
            f"its encoder lacks {len(lost)} tensors of the end of '{name}' (for instance '{min(lost)}')",
            "choose a run on an encoder without layers after its maps, for instance resnet18 or convnext_tiny",
        )
    # Each has a name in the backbone: the encoder was loaded from such a network, or could have been.
    backbone.body.load_state_dict(
        backbone_state
        | {str(backbone_name): encoder_state[encoder_name] for encoder_name, backbone_name in names.items()}
    )
    backbone.random = False
    return backbone


def _backbone_names(
    encoder_names: Iterable[str], names: Iterable[str], encoder: str
) -> dict[str, str | None]:
    """Maps an encoder's tensor names to those of a classification network; None where there is none."""
    encoder_names, available = list(encoder_names), dict.fromkeys(names)
    if architecture_of(encoder) in OTHER_NAMES and not set(encoder_names) <= set(available):
        return _in_order(encoder_names, available)
    return {name: _backbone_name(name, available) for name in encoder_names}


def _backbone_name(name: str, available: Iterable[str]) -> str | None:
    """Undoes the renaming by timm's feature extractors: a ``model.`` prefix, and ``stages_3`` for ``stages.3``."""
    plain = re.sub(r"^(model\.)+", "", name)
    candidates = name, plain, re.sub(r"^([a-z_]+)_(\d+)\.", r"\1.\2.", plain)
    return next((candidate for candidate in candidates if candidate in available), None)


def _in_order(encoder_names: Iterable[str], available: Iterable[str]) -> dict[str, str | None]:
    """Matches by order: timm's and torchvision's MobileNetV2 have the same tensors in the same order."""
    encoder_names = list(encoder_names)
    counted = any(name.endswith(COUNTER) for name in available)
    wanted = [name for name in encoder_names if counted or not name.endswith(COUNTER)]
    filled: list[str | None] = [name for name in available if not name.startswith("classifier.")]
    source_names = dict(zip(wanted, filled + [None] * len(wanted), strict=False))
    return {name: source_names.get(name) for name in encoder_names}
