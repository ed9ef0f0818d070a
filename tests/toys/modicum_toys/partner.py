"""Each image is mixed with one that a second, class-balanced sampler drew (as SPMix and balanced mix-ups do)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from modicum.batch import PARTNER, without_prefix
from modicum.methods import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.nn import Classifier, linear_head
from modicum.tasks.base import Batch


class MixStage(TrainStage):
    """The loss of a mixture is the mixture of the losses."""

    name = "tune"
    reads = ("image", "partner_image")
    partner_sampling = "balanced"

    def __init__(self, network: Classifier, loss: nn.Module, most: float) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self._most = most

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.network.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        share = self._most * torch.rand((), device=batch["image"].device)
        outputs = self.network((1 - share) * batch["image"] + share * batch["partner_image"])
        partner = without_prefix(batch, PARTNER)
        loss = (1 - share) * self.loss(outputs, batch) + share * self.loss(outputs, partner)
        return {"classification": loss}

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class ToyPartnerConfig(MethodConfig):
    """Settings of the mixing."""

    most: float = Field(0.5, ge=0, le=1, description="Largest share of the partner in a mixture.")


class ToyPartner(Method):
    """Fine-tunes on mixtures with class-balanced partners."""

    name: ClassVar[str] = "toy_partner"
    summary: ClassVar[str] = "fine-tune everything on mixtures with partners of rare classes"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = ToyPartnerConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}

    def __init__(self, config: ToyPartnerConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
        self._stage = MixStage(network, context.loss(), config.most)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merge(self) -> nn.Module:
        return self._stage.network.eval()
