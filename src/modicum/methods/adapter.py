"""Adapters: a bottleneck after each feed-forward part of a frozen vision transformer."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.bottleneck import Bottleneck, SerialAdapter
from modicum.nn.plain_vit import plain_vit, vit_shape


class AdapterConfig(MethodConfig):
    """Settings of adapters."""

    bottleneck: int = Field(96, ge=1, description="Hidden features (one adapter a block, FPT+'s comparison).")


class Adapter(AdaptedMethod):
    """Trains adapters and a head.

    One adapter a block, on the output of the feed-forward part before its skip (Pfeiffer et al., arXiv
    2005.00052; Houlsby et al. put a second one after the attention). The up-projection starts at zero where
    Houlsby et al. start near zero, so that training begins at the backbone's own features.
    """

    name: ClassVar[str] = "adapter"
    summary: ClassVar[str] = "learn a bottleneck after each feed-forward part of a frozen vision transformer"
    source: ClassVar[str] = (
        "Houlsby et al., Parameter-Efficient Transfer Learning, ICML 2019 (arXiv 1902.00751)"
    )
    Config: ClassVar[type[MethodConfig]] = AdapterConfig
    # The paper searches 3e-5, 3e-4 and 3e-3 with Adam.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 3e-4}
    config: AdapterConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body = plain_vit(backbone, self.name)
        width, bottlenecks = vit_shape(body).width, []
        for block in body.blocks:
            bottlenecks.append(Bottleneck(width, self.config.bottleneck, nn.GELU()))
            block.mlp = SerialAdapter(block.mlp, bottlenecks[-1])
        return bottlenecks
