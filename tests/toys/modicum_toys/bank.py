"""No gradients at all: a bank of what healthy images look like, and a decision over all images of a set together."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from modicum.methods import (
    Context,
    Decision,
    ExtractStage,
    FitStage,
    Method,
    MethodConfig,
    Rows,
    Stage,
)
from modicum.nn import Frozen
from modicum.tasks.base import Batch


class FeatureStage(ExtractStage):
    """The frozen backbone's feature vector of each image."""

    name = "extract"

    def __init__(self, backbone: Frozen) -> None:
        super().__init__()
        self.backbone = backbone

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        return self.backbone(batch["image"]).float()

    def settings(self) -> dict[str, Any]:
        return {"version": 1}


class BankStage(FitStage):
    """Healthy images, thinned to those that are not near one that is kept; then k-means of these, pass by pass.

    How many are kept is known after the first pass only.
    """

    name = "bank"
    reads = ("features",)

    def __init__(self, width: int, centres: int, radius: float, passes: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(0, width))
        self.register_buffer("centres", torch.zeros(0, width))
        self._centres, self._radius, self._passes = centres, radius, passes
        self._pass = 0
        self._sums, self._counts = torch.zeros(0, width), torch.zeros(0)

    def learns_from(self, targets):
        return targets["label"] == 0

    def on_pass_start(self, number: int) -> None:
        self._pass = number
        self._sums = torch.zeros_like(self.centres)
        self._counts = self.centres.new_zeros(len(self.centres))

    def see(self, batch: Batch) -> None:
        features = batch["features"].float()
        if self._pass == 0:
            for vector in features:
                if not len(self.kept) or torch.cdist(vector[None], self.kept).min() > self._radius:
                    self.kept = torch.cat([self.kept, vector[None]])
            return
        nearest = torch.cdist(features, self.centres).argmin(1)
        self._sums.index_add_(0, nearest, features)
        self._counts.index_add_(0, nearest, torch.ones_like(features[:, 0]))

    def finish(self) -> bool:
        if self._pass == 0:
            self.centres = self.kept[: self._centres].clone()
            return True
        moved = torch.where(
            self._counts[:, None] > 0, self._sums / self._counts[:, None].clamp_min(1), self.centres
        )
        shift = (moved - self.centres).norm(dim=1).max()
        self.centres = moved
        return bool(shift > 1e-4) and self._pass < self._passes

    def findings(self) -> dict[str, Any]:
        return {"kept": len(self.kept), "centres": len(self.centres), "passes": self._pass + 1}


class Novelty(nn.Module):
    """How far an image's features are from the nearest centre."""

    def __init__(self, backbone: Frozen, bank: BankStage) -> None:
        super().__init__()
        self.backbone = backbone
        self.bank = bank

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images).float()
        return torch.cdist(features, self.bank.centres).min(1, keepdim=True).values

    @torch.no_grad()
    def maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Where the feature map has its largest values."""
        backbone = self.backbone.module
        planes = backbone.spatial(backbone.feature_map(images)).norm(dim=1)
        return {"anomaly": planes / planes.amax((1, 2), keepdim=True).clamp_min(1e-12)}


class ToyBankConfig(MethodConfig):
    """Settings of the bank."""

    centres: int = Field(4, ge=1, description="Clusters of healthy images, at most.")
    radius: float = Field(1e-3, ge=0, description="Images nearer than this to one in the bank are left out.")
    passes: int = Field(5, ge=1, description="Passes of k-means, at most.")


class ToyBank(Method):
    """Says of each image of a set whether it belongs to the far or the near ones."""

    name: ClassVar[str] = "toy_bank"
    summary: ClassVar[str] = "distance to clusters of healthy images, split in two over the images of a set"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = ToyBankConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"bank": {}}
    decides_over: ClassVar[str] = "set"

    def __init__(self, config: ToyBankConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        frozen = Frozen(backbone)
        self._extract = FeatureStage(frozen)
        self._bank = BankStage(backbone.num_features, config.centres, config.radius, config.passes)
        self._predictor = Novelty(frozen, self._bank)

    def stages(self) -> Sequence[Stage]:
        return [self._extract, self._bank]

    def predictor(self) -> nn.Module:
        return self._predictor

    def decide(self, outputs: Tensor, rows: Rows) -> Decision:
        distance = outputs[:, 0]
        middle = (distance.min() + distance.max()) / 2  # 0 for a single image: it is neither far nor near
        slope = (distance.max() - distance.min()).clamp_min(1e-6) / 4
        novel = (distance - middle) / slope
        logits = novel[:, None].repeat(1, self.context.task.num_outputs)
        logits[:, 0] = -novel
        cluster = np.where((novel > 0).numpy(), "far", "near")
        return Decision(logits, {"distance": distance.numpy(), "cluster": cluster})
