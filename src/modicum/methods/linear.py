"""Linear probe: a frozen backbone's features, extracted once, and one linear layer trained on them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, ExtractStage, Method, MethodConfig, Stage
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Classifier, Frozen, linear_head
from modicum.tasks.base import Batch


class LinearConfig(MethodConfig):
    """Settings of the linear probe."""

    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of features set to zero before the head in training."
    )
    standardise: bool = Field(
        True,
        description="Batch normalisation without learned scale before the linear layer, so that one learning rate "
        "fits features of any scale (MAE, He et al. 2022, appendix A.1).",
    )


class PooledFeatures(ExtractStage):
    """The pooled feature vector of each image."""

    name = "extract"

    def __init__(self, backbone: Frozen) -> None:
        super().__init__()
        self.backbone = backbone

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        return self.backbone(batch["image"]).float()

    def settings(self) -> dict[str, Any]:
        return {"version": 1, "features": "pooled"}


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

    def __init__(self, config: LinearConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        frozen = Frozen(backbone)
        head: nn.Module = linear_head(backbone.num_features, context.task.num_outputs, config.dropout)
        if config.standardise:
            head = nn.Sequential(nn.BatchNorm1d(backbone.num_features, affine=False), head)
        self._extract = PooledFeatures(frozen)
        self._tune = ProbeStage(head, context.loss())
        self._predictor = Classifier(frozen, head)

    def stages(self) -> Sequence[Stage]:
        return [self._extract, self._tune]

    def predictor(self) -> nn.Module:
        return self._predictor

    def merged(self) -> nn.Module:
        return self._predictor.eval()
