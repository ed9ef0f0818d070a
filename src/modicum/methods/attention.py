"""Attention tuning: the attention layers of a vision transformer and a new head learn."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from modicum.methods.adapted import AdaptedMethod
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit


class AttentionTuning(AdaptedMethod):
    """Fine-tunes queries, keys, values and output projections of all blocks."""

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "fine-tune the attention layers only: a third of the parameters"
    source: ClassVar[str] = (
        "Touvron et al., Three things everyone should know about ViTs, ECCV 2022 (arXiv 2203.09795)"
    )
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-4}

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        return [block.attn.requires_grad_(True) for block in plain_vit(backbone, self.name).blocks]

    def merge(self) -> nn.Module:
        return self.network
