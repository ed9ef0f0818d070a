"""Rebuilds an exported network from its card, without the engine.

Example::

    card = json.loads(Path("model.json").read_text())
    network = exported_network(card)
    network.load_state_dict(safetensors.torch.load_file("model.safetensors"))

The generator takes images ``[b, c, h, w]`` in [0, 1] and gives translations in [0, 1]; the registration network takes
translations and targets and gives displacements in pixels for :func:`modicum.nn.warp`.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from modicum.methods.base import PREDICTOR
from modicum.methods.reggan.bases import make_base
from modicum.methods.reggan.config import RegGanConfig
from modicum.methods.reggan.method import Registration, Translation
from modicum.nn import RegistrationNetwork


def exported_network(card: Mapping[str, Any]) -> nn.Module:
    """The network that a card of ``modicum export`` describes, in evaluation mode, for its weights to be loaded into.

    Args:
        card: the content of the JSON file next to the weights.
    """
    config = RegGanConfig.model_validate(card["config"])
    channels, target_channels = card["channels"]
    if card["part"] == PREDICTOR:
        height, width = card["image_size"]
        base = make_base(config, (height, width), (channels, target_channels))
        return Translation(base.translator()).eval()
    network = RegistrationNetwork(target_channels, card["registration_depth"], config.registration_width)
    return Registration(network, config.field).eval()
