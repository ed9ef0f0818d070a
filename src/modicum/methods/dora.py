"""DoRA: LoRA that learns the size of each output apart from its direction."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.low_rank import LowRankClassifier, Target, add_low_rank
from modicum.nn.plain_vit import plain_vit


class DoRAConfig(MethodConfig):
    """Settings of DoRA."""

    rank: int = Field(16, ge=1, description="Rank of each update.")
    alpha: float = Field(
        32.0, gt=0, description="The update's weight is alpha / rank (paper: twice the rank)."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the input set to zero in training; above 0 each projection is computed twice.",
    )
    targets: tuple[Target, ...] = Field(
        ("qv",), min_length=1, description="Projections with updates: qv, proj (the attention's output), mlp."
    )


class DoRA(AdaptedMethod):
    """Trains low-rank updates, a magnitude for each output of the updated projections, and a head.

    On queries and values as LoRA here: ViT-B, rank 16 and five classes give 12 * 2 * 768 magnitudes more than
    LoRA's 593,669, which is 612,101.
    """

    name: ClassVar[str] = "dora"
    summary: ClassVar[str] = "LoRA with magnitudes learned apart; merges into a plain network"
    source: ClassVar[str] = "Liu et al., DoRA, ICML 2024 (arXiv 2402.09353)"
    Config: ClassVar[type[MethodConfig]] = DoRAConfig
    # As LoRA: the paper keeps its settings but for a little lower rate.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 5e-4}
    config: DoRAConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        config = self.config
        return add_low_rank(
            plain_vit(backbone, self.name),
            rank=config.rank,
            alpha=config.alpha,
            dropout=config.dropout,
            targets=config.targets,
            dora=True,
        )

    def classifier(self, backbone: Backbone, head: nn.Module, parts: list[nn.Module]) -> LowRankClassifier:
        return LowRankClassifier(backbone, head, parts)

    def merge(self) -> nn.Module:
        assert isinstance(self.network, LowRankClassifier)
        return self.network.plain()
