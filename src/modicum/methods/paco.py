"""PaCo: supervised contrast with class centres, where a slowly following encoder sees the second view.

Cui et al., "Parametric Contrastive Learning" (ICCV 2021, arXiv 2107.12028) and the folder LT of its code: momentum 0.999,
a projector of two layers, vectors of 128 numbers, a queue of 8192; only first views are anchors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.losses import PaCoLoss
from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.long_tail import check_one_class, class_counts, fed_prior
from modicum.methods.spmix.config import ContrastConfig
from modicum.nn import Classifier, linear_head
from modicum.nn.momentum_copy import MomentumCopy
from modicum.tasks.base import Batch
from modicum.transforms import Augmentation


class PaCoConfig(ContrastConfig):
    """Settings of PaCo."""

    projection: int = Field(128, ge=1, description="Dimensions in which images are compared.")
    momentum: float = Field(
        0.999,
        ge=0,
        le=1,
        description="Of the encoder of the second view, a step: what it keeps of itself; the rest is the first view's.",
    )


class PaCoStage(TrainStage):
    """Learns from two views of each image; the second view's encoder and projector follow the first's, step by step.

    Args:
        network: what predicts.
        loss: PaCo's, with its queue.
        config: the method's settings.
        image_size: of the views.
    """

    name = "tune"

    def __init__(
        self, network: Classifier, loss: PaCoLoss, config: PaCoConfig, image_size: tuple[int, int]
    ) -> None:
        super().__init__()
        width = network.backbone.num_features
        self.network = network
        self.contrast = loss
        self.projector = nn.Sequential(
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, config.projection),
        )
        self.followers = nn.ModuleList(
            MomentumCopy(part, config.momentum) for part in (network.backbone, self.projector)
        )
        self.augments = [
            Augmentation(name, image_size) for name in (config.query_augment, config.key_augment)
        ]

    def updates(self) -> Sequence[Update]:
        learned = [*self.network.parameters(), *self.projector.parameters()]
        return [Update("network", learned, self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        """The network; what projects, follows and queues serves learning alone."""
        return ("network",)

    def on_epoch_start(self, epoch: int) -> None:
        if epoch == 0:  # the network may have got its weights since it was made
            for follower in self._copies():
                follower.start()

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])

    def _copies(self) -> list[MomentumCopy]:
        return [part for part in self.followers if isinstance(part, MomentumCopy)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        seeds = torch.randint(2**62, (2,)).tolist()
        first, second = (
            augment({"image": batch["image"]}, torch.Generator().manual_seed(seed))["image"]
            for augment, seed in zip(self.augments, seeds, strict=True)
        )
        features = self.network.backbone(first)
        query = F.normalize(self.projector(features).float(), dim=1)
        for follower in self._copies() if self.training else ():
            follower.follow()
        encoder, projector = self.followers
        key = F.normalize(projector(encoder(second)).float(), dim=1)
        return {"contrast": self.contrast(query, key, batch["label"], self.network.head(features))}


class PaCo(Method):
    """Supervised contrast with class centres and a momentum encoder, corrected by the class prior."""

    name: ClassVar[str] = "paco"
    summary: ClassVar[str] = (
        "long tails: supervised contrast with class centres, a momentum encoder and the class prior"
    )
    source: ClassVar[str] = "Cui et al., ICCV 2021 (arXiv 2107.12028)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = PaCoConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {"augment": "none"}}
    """The views have augmentations of their own."""

    config: PaCoConfig

    def __init__(self, config: PaCoConfig, context: Context) -> None:
        super().__init__(config, context)
        check_one_class(self.name, context, "PaCo's loss")
        training = {**context.training, **context.stage_training.get("tune", {})}
        backbone = context.backbone()
        network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
        sampling = str(training.get("sampling", "natural"))
        loss = PaCoLoss(
            config.projection,
            fed_prior(context, class_counts(context), sampling, config.queue),
            queue=config.queue,
            temperature=config.temperature,
            alpha=config.same_class_weight,
            gamma=config.others_weight,
            label_smoothing=float(training.get("label_smoothing", 0.0)),
        )
        self._stage = PaCoStage(network, loss, config, context.image_size)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merge(self) -> nn.Module:
        return self._stage.network.eval()
