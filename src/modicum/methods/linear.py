"""Linear probe: a frozen backbone's features, extracted once, and one linear layer trained on them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, ExtractStage, Method, MethodConfig, Stage
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone, Classifier, Frozen, linear_head
from modicum.nn.patch_pooling import Pool, near_zero_head, pool_patches
from modicum.nn.plain_vit import plain_vit
from modicum.tasks.base import Batch


class LinearConfig(MethodConfig):
    """Settings of the linear probe."""

    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of features set to zero before the head in training."
    )
    standardise: bool = Field(
        True,
        description="Batch normalisation without learned scale before the linear layer, so that one learning rate "
        "fits features of any scale (MAE, He et al. 2022, appendix A.1); with pool=mean its norm takes that place.",
    )
    pool: Pool = Field(
        "backbone",
        description="backbone: its own pooling and norm; mean: mean of the patches and a new norm that learns with the "
        "head, which starts at logits near zero (Lian et al., arXiv 2401.12215); for plain vision transformers.",
    )


class PooledFeatures(ExtractStage):
    """The pooled feature vector of each image."""

    name = "extract"

    def __init__(self, backbone: Frozen, pool: Pool = "backbone") -> None:
        super().__init__()
        self.backbone = backbone
        self._pool = pool

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        return self.backbone(batch["image"]).float()

    def settings(self) -> dict[str, Any]:
        return {"version": 1, "features": "pooled" if self._pool == "backbone" else "mean of patches"}


class ProbeStage(SupervisedStage):
    """Trains the head on stored features."""

    reads = ("features",)

    def __init__(self, head: nn.Module, loss: nn.Module) -> None:
        super().__init__(loss)
        self.head = head

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.head.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.head(batch["features"])


class Linear(Method):
    """Trains one linear layer on frozen features."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = (
        "one linear layer on a frozen backbone's features, extracted once; seconds an epoch"
    )
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = LinearConfig
    training: ClassVar[Mapping[str, Any]] = {"epochs": 50, "batch_size": 64, "lr": 1e-3, "augment": "none"}
    augments: ClassVar[bool] = False

    def __init__(self, config: LinearConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        head = _head(backbone, config, context.task.num_outputs)
        frozen = Frozen(backbone)
        self._extract = PooledFeatures(frozen, config.pool)
        self._tune = ProbeStage(head, context.loss())
        self._predictor = Classifier(frozen, head)

    def stages(self) -> Sequence[Stage]:
        return [self._extract, self._tune]

    def predictor(self) -> nn.Module:
        return self._predictor

    def merge(self) -> nn.Module:
        if isinstance(self._predictor.head, NormedHead):  # its norm becomes timm's ``fc_norm``
            backbone = copy.deepcopy(self._predictor.backbone)
            backbone.body.fc_norm = self._predictor.head.norm
            return Classifier(backbone, self._predictor.head.linear).eval()
        return self._predictor.eval()


class NormedHead(nn.Module):
    """A norm that learns, dropout, one linear layer."""

    def __init__(self, norm: nn.Module, linear: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.dropout(self.norm(features)))


def _head(backbone: Backbone, config: LinearConfig, num_outputs: int) -> nn.Module:
    """The head; where it pools the patches, the backbone's new norm is moved into it, because it learns."""
    if config.pool == "mean":
        body = plain_vit(backbone, "linear with pool=mean")
        pool_patches(body)
        norm, body.fc_norm = body.fc_norm, nn.Identity()
        return NormedHead(norm, near_zero_head(backbone.num_features, num_outputs), config.dropout)
    head: nn.Module = linear_head(backbone.num_features, num_outputs, config.dropout)
    if config.standardise:
        head = nn.Sequential(nn.BatchNorm1d(backbone.num_features, affine=False), head)
    return head
