"""Disentangled transfer learning: low-rank maps next to a frozen vision transformer, fed back into its last blocks."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.errors import InputError
from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit, vit_shape
from modicum.nn.side_paths import CompactSide, replace_blocks


class DTLConfig(MethodConfig):
    """Settings of DTL."""

    rank: int = Field(2, ge=1, description="Rank of the maps (paper: 2).")
    fed_from: int | None = Field(
        None,
        ge=1,
        description="First block, counted from 1, into whose output the side is fed; the upper half by default "
        "(paper: 7 of 12).",
    )
    beta: float = Field(100.0, gt=0, description="Sharpness of the activation (paper: 100).")


class DTL(AdaptedMethod):
    """Trains the compact side network and a head.

    Gradients flow back to the first block that is fed, not further. The published code pools over the
    patches; here the backbone's own pooling stays. DTL+'s shared depth-wise convolution is left out.
    """

    name: ClassVar[str] = "dtl"
    summary: ClassVar[str] = "learn rank-2 maps next to a frozen vision transformer, fed into its last blocks"
    source: ClassVar[str] = "Fu et al., DTL: Disentangled Transfer Learning, AAAI 2024 (arXiv 2312.07856)"
    Config: ClassVar[type[MethodConfig]] = DTLConfig
    # Published commands: AdamW, 1e-3, decay 0.05, batches of 32.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}
    config: DTLConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body, config = plain_vit(backbone, self.name), self.config
        shape = vit_shape(body)
        fed_from = config.fed_from or shape.depth // 2 + 1
        if fed_from > shape.depth:
            raise InputError(
                f"fed_from={fed_from}: '{backbone.name}' has {shape.depth} blocks",
                f"pass --set fed_from={shape.depth // 2 + 1}",
            )
        if config.rank > shape.width:
            raise InputError(
                f"rank {config.rank:,} is above the width of '{backbone.name}', which is {shape.width:,}",
                f"set rank to {shape.width:,} or less (paper: 2)",
            )
        side = CompactSide(body.blocks, shape.width, config.rank, fed_from, config.beta)
        replace_blocks(body, side, self.name)
        return []
