"""Loads published weights of masked autoencoders into an encoder."""

from collections.abc import Mapping

import torch
from torch import Tensor

from modicum.errors import InputError
from modicum.nn.masked_encoder import MaskedEncoder
from modicum.wording import listed

_FIRST = "patch_embed.proj.weight"


@torch.no_grad()
def load_mae_weights(encoder: MaskedEncoder, weights: Mapping[str, Tensor], source: str) -> list[str]:
    """Loads the encoder's tensors from a state dict with MAE's or timm's names (they are the same).

    Works with encoder-only files, whole pre-training checkpoints, and those of MRM and timm. A position embedding for
    another image size is ignored, as position embeddings are fixed by a formula.

    Args:
        encoder: changed in place.
        weights: tensors by name, with or without a common prefix; see :func:`modicum.data.weights_file.read_weights`.
        source: what to call the weights in an error.

    Returns:
        Names in ``weights`` that were not used.

    Raises:
        InputError: a tensor of the encoder is missing or has another shape. Nothing is changed then.
    """
    state = _without_prefix(weights)
    expected = encoder.body.state_dict()
    resized = "pos_embed" in state and state["pos_embed"].shape != expected["pos_embed"].shape
    wanted = [name for name in expected if name != "pos_embed" or ("pos_embed" in state and not resized)]
    missing = [name for name in wanted if name not in state]
    if missing:
        raise InputError(
            f"weights '{source}' lack {len(missing)} of the encoder's {len(expected)} tensors ({listed(missing)})",
            _why(missing, state),
        )
    wrong = [name for name in wanted if state[name].shape != expected[name].shape]
    if wrong:
        name = wrong[0]
        raise InputError(
            f"weights '{source}' do not fit the encoder: '{name}' is {list(state[name].shape)}, not "
            f"{list(expected[name].shape)}",
            "choose the width and patch size that they were made with",
        )
    encoder.body.load_state_dict({name: state[name] for name in wanted}, strict=False)
    return sorted(name for name in state if name not in wanted)


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes the common prefix before the name of the patch embedding; other names stay as they are."""
    prefixes = [name.removesuffix(_FIRST) for name in weights if name.endswith(_FIRST)]
    prefix = min(prefixes, key=len, default="")
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def _why(missing: list[str], state: Mapping[str, Tensor]) -> str:
    if set(missing) == {"norm.weight", "norm.bias"} and "fc_norm.weight" in state:
        return "they were fine-tuned with another final norm; use the pre-trained ones"
    if any(name.startswith("blocks.") for name in state):
        return "choose the depth that they were made with, or copy the file again"
    return "pass the weights of a masked autoencoder or of timm's vision transformer"
