"""LoRA: low-rank updates of a frozen vision transformer's query and value projections."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.methods.adapted import AdaptedMethod, AdaptedStage
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.drop_path import add_drop_path
from modicum.nn.low_rank import LowRankClassifier, Target, add_low_rank
from modicum.nn.patch_pooling import Pool, near_zero_head, pool_patches
from modicum.nn.plain_vit import plain_vit


class LoRAConfig(MethodConfig):
    """Settings of LoRA."""

    rank: int = Field(
        16,
        ge=1,
        description="Rank of each update (4 for 1 % of NIH or CheXpert's labels, 8 or 16 for 10 %, 32 for all).",
    )
    alpha: float = Field(
        32.0,
        gt=0,
        description="The update's weight is alpha / rank; 32 for every rank in the published code.",
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the update's input set to zero in training (published code: 0.1).",
    )
    targets: tuple[Target, ...] = Field(
        ("qv",),
        min_length=1,
        description="Projections with updates: qv (the paper), proj (the attention's output), mlp.",
    )
    pool: Pool = Field(
        "backbone",
        description="backbone: its own pooling and norm; mean: mean of the patches and a new norm that learns, with "
        "a head that starts at logits near zero (the published code).",
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of images whose branch the last block leaves out in training, rising from 0 at the first "
        "(published code: 0.1).",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor on the learning rate from a block to the one before it (published code with AdamW: 0.65).",
    )


class LoRA(AdaptedMethod):
    """Trains low-rank updates and a head.

    Follows the published code of Lian et al.: one pair of matrices for queries and one for values in every block,
    nothing for keys; alpha stays when the rank changes, so the updates' weight is 8, 4, 2, 1 at rank 4, 8, 16, 32.
    Training starts at the backbone's own features.
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "learn low-rank updates of queries and values; merges into a plain network"
    source: ClassVar[str] = (
        "Hu et al., LoRA, ICLR 2022 (arXiv 2106.09685); for radiographs Lian et al., MIDL 2024 (arXiv 2401.12215)"
    )
    Config: ClassVar[type[MethodConfig]] = LoRAConfig
    # Lian et al. with AdamW: 3e-3 times batch / 256, at their batches of 64.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 7.5e-4}
    config: LoRAConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body, config = plain_vit(backbone, self.name), self.config
        layers = add_low_rank(
            body, rank=config.rank, alpha=config.alpha, dropout=config.dropout, targets=config.targets
        )
        if config.pool == "mean":
            pool_patches(body)
        return [*layers, *add_drop_path(body, config.drop_path)]

    def head(self, num_features: int) -> nn.Module:
        if self.config.pool == "backbone":
            return super().head(num_features)
        return near_zero_head(num_features, self.context.task.num_outputs)

    def classifier(self, backbone: Backbone, head: nn.Module, parts: list[nn.Module]) -> LowRankClassifier:
        return LowRankClassifier(backbone, head, parts)

    def stage(self) -> AdaptedStage:
        return AdaptedStage(self.network, self.context.loss(), self.config.layer_decay)

    def merge(self) -> nn.Module:
        assert isinstance(self.network, LowRankClassifier)
        return self.network.plain()
