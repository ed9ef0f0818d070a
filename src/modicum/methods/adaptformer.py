"""AdaptFormer: a bottleneck parallel to each feed-forward part of a frozen vision transformer."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.bottleneck import Bottleneck, ParallelAdapter
from modicum.nn.plain_vit import plain_vit, vit_shape


class AdaptFormerConfig(MethodConfig):
    """Settings of AdaptFormer."""

    bottleneck: int = Field(64, ge=1, description="Hidden features (paper: 64).")
    scale: float = Field(
        0.1, gt=0, description="Weight of the bottleneck's output (paper: 0.1, not learned)."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of hidden features set to zero in training (published code: 0.1)."
    )


class AdaptFormer(AdaptedMethod):
    """Trains bottlenecks parallel to the feed-forward parts, and a head.

    ``x' + MLP(LN(x')) + s * up(ReLU(down(LN(x'))))`` as in the paper's equations. (The published code feeds the
    bottleneck with ``x'`` itself.) In a backbone with layer scale the bottleneck's output is scaled with the
    feed-forward part's.
    """

    name: ClassVar[str] = "adaptformer"
    summary: ClassVar[str] = (
        "learn a bottleneck parallel to each feed-forward part of a frozen vision transformer"
    )
    source: ClassVar[str] = "Chen et al., AdaptFormer, NeurIPS 2022 (arXiv 2205.13535)"
    Config: ClassVar[type[MethodConfig]] = AdaptFormerConfig
    # The paper uses SGD; this is a usual rate of AdamW for bottlenecks that start at zero.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}
    config: AdaptFormerConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body = plain_vit(backbone, self.name)
        width, bottlenecks = vit_shape(body).width, []
        for block in body.blocks:
            bottlenecks.append(Bottleneck(width, self.config.bottleneck, nn.ReLU(), self.config.dropout))
            block.mlp = ParallelAdapter(block.mlp, bottlenecks[-1], self.config.scale)
        return bottlenecks
