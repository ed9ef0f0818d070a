"""SSF: the outputs of a frozen vision transformer's layers are scaled and shifted."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from modicum.errors import InputError
from modicum.methods.adapted import AdaptedMethod
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit
from modicum.nn.scale_shift import ScaleShift, folded_copy


class SSF(AdaptedMethod):
    """Trains a scale and a shift for each channel after every layer, and a head.

    After the patch embedding, both norms, the projections of queries, keys and values, the attention's output
    projection and the feed-forward layers of each block, and the final norm. They start near one and zero, not at
    them, as in the paper; so the network does not start at the backbone's features exactly. Once learned, they
    fold into the frozen layers.
    """

    name: ClassVar[str] = "ssf"
    summary: ClassVar[str] = "learn a scale and a shift after every layer; folds into a plain network"
    source: ClassVar[str] = "Lian et al., Scaling & Shifting Your Features, NeurIPS 2022 (arXiv 2210.08823)"
    # The paper: AdamW, a rate searched for each data set, no decay of scales and shifts.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body = plain_vit(backbone, self.name)
        if any(getattr(block.attn, "q_bias", None) is not None for block in body.blocks):
            raise InputError(
                f"method {self.name}: '{backbone.name}' adds biases to its projections apart from them",
                "choose for instance vit_base_patch16_224 or vit_base_patch16_dinov3",
            )
        scaled = ("attn.qkv", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.proj", "norm1", "norm2")
        for block in body.blocks:
            layers = [name for name in scaled if _layer(block, name) is not None]
            layers += [
                f"mlp.{name}" for name, part in block.mlp.named_modules() if isinstance(part, nn.Linear)
            ]
            for name in layers:
                block.set_submodule(name, ScaleShift(block.get_submodule(name)))
        for name in ("patch_embed.proj", "norm", "fc_norm"):
            if not isinstance(body.get_submodule(name), nn.Identity):
                body.set_submodule(name, ScaleShift(body.get_submodule(name)))
        return []

    def merge(self) -> nn.Module:
        return folded_copy(self.network)


def _layer(block: nn.Module, name: str) -> nn.Module | None:
    """A layer of a block, or None if this kind of block does not have a layer of that name."""
    layer: Any = block
    for part in name.split("."):
        layer = getattr(layer, part, None)
    return layer
