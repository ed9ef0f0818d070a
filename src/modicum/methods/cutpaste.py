"""CutPaste: normal images against the same with a piece of themselves pasted in; then how far features are from normal.

Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization" (CVPR 2021), sections 2 and 4: a
three-way classifier (normal, patch, scar), and a Gaussian of the features of normal images. It needs no abnormal image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.methods.base import Context, FitStage, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn import Backbone
from modicum.tasks.anomaly.task import learns_from_normal
from modicum.tasks.base import Batch
from modicum.transforms.cut_paste import cut_paste


class CutPasteConfig(MethodConfig):
    """Settings of CutPaste."""

    variants: Literal["three_way", "patch", "scar"] = Field(
        "three_way",
        description="What is told from normal images: patches and scars (the paper's best), or one of them.",
    )
    score: Literal["density", "classifier"] = Field(
        "density",
        description="density: squared Mahalanobis distance of the features from those of normal images (as published); "
        "classifier: the log-odds of anything pasted.",
    )
    shrinkage: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of the mean variance in the covariance, which few images leave singular.",
    )
    head_width: int = Field(
        128, ge=1, description="Width of the hidden layer before the classes (paper: 128)."
    )


class CutPasteStage(TrainStage):
    """Tells normal images from those with a patch or a scar."""

    name = "pretrain"
    scored = False
    learns_from_none = "it learns from normal images: name their class with --set normal=NAME"

    def __init__(self, encoder: Backbone, config: CutPasteConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.scars = {"three_way": (False, True), "patch": (False,), "scar": (True,)}[config.variants]
        width = config.head_width
        classes = 1 + len(self.scars)
        self.head = nn.Sequential(
            nn.Linear(encoder.num_features, width), nn.ReLU(), nn.Linear(width, classes)
        )

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return learns_from_normal(targets)

    def updates(self) -> Sequence[Update]:
        return [Update("pretrain", list(self.parameters()), self.losses)]

    def chance_losses(self, batch_size: int) -> dict[str, float]:
        """As many images of each kind."""
        return {"classification": math.log(1 + len(self.scars))}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images = batch["image"]
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        with torch.no_grad():
            shown = torch.cat([images, *(cut_paste(images, generator, scar) for scar in self.scars)])
        label = torch.arange(1 + len(self.scars), device=images.device).repeat_interleave(len(images))
        return {"classification": F.cross_entropy(self.head(self.encoder(shown)), label)}


class DensityStage(FitStage):
    """The mean of the features of normal images, and the inverse of their covariance."""

    name = "density"

    def __init__(self, encoder: Backbone, shrinkage: float) -> None:
        super().__init__()
        self._encoder = [encoder]  # its weights are the other stage's
        self.shrinkage = shrinkage
        width = encoder.num_features
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("precision", torch.eye(width))
        self._sums: tuple[Tensor, Tensor, int] | None = None

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return learns_from_normal(targets)

    def on_pass_start(self, number: int) -> None:
        self._sums = None

    def see(self, batch: Batch) -> None:
        features = self._encoder[0].to(batch["image"].device).eval()(batch["image"]).double()
        first, second, count = self._sums or (features.new_zeros(()), features.new_zeros(()), 0)
        self._sums = (first + features.sum(0), second + features.T @ features, count + len(features))

    def finish(self) -> None:
        assert self._sums is not None
        first, second, count = self._sums
        mean = first / count
        covariance = second / count - torch.outer(mean, mean)
        spread = covariance.diagonal().mean().clamp_min(1e-12)
        eye = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * spread * eye
        self.mean = mean.float()
        self.precision = torch.linalg.inv(shrunk).float()
        self._sums = None


class CutPasteScore(nn.Module):
    """The score of an image in ``[0, 1]``."""

    def __init__(self, pretrain: CutPasteStage, density: DensityStage | None) -> None:
        super().__init__()
        self.encoder, self.head, self.density = pretrain.encoder, pretrain.head, density

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        features = self.encoder(images)
        if self.density is None:
            logits = self.head(features)
            return (logits[:, 1:].logsumexp(1) - logits[:, 0])[:, None]
        away = features.float() - self.density.mean
        return torch.einsum("bi,ij,bj->b", away, self.density.precision, away)[:, None]


class CutPaste(Method):
    """Learns features by telling pasted images apart, and scores images by their distance from normal ones."""

    name: ClassVar[str] = "cutpaste"
    summary: ClassVar[str] = (
        "find abnormal images after normal ones alone: pieces pasted elsewhere, then distances"
    )
    source: ClassVar[str] = "Li et al., CVPR 2021 (arXiv 2104.04015)"
    tasks: ClassVar[tuple[str, ...]] = ("anomaly",)
    Config: ClassVar[type[MethodConfig]] = CutPasteConfig
    training: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.03,
        "weight_decay": 3e-5,
        "schedule": "cosine",
        "epochs": 100,
        "batch_size": 32,
        "augment": "none",
    }
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"pretrain": {}, "density": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": 256}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet18"}

    def __init__(self, config: CutPasteConfig, context: Context) -> None:
        super().__init__(config, context)
        encoder = context.backbone()
        self._pretrain = CutPasteStage(encoder, config)
        self._density = DensityStage(encoder, config.shrinkage) if config.score == "density" else None
        self._predictor = CutPasteScore(self._pretrain, self._density)

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        assert isinstance(config, CutPasteConfig)
        return {"output": "logit" if config.score == "classifier" else "score"}

    def stages(self) -> Sequence[Stage]:
        return [self._pretrain] if self._density is None else [self._pretrain, self._density]

    def predictor(self) -> nn.Module:
        return self._predictor
