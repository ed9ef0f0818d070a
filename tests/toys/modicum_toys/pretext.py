"""Two stages that share an encoder: first it learns which way up healthy images are, then what the labels say."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from modicum.methods import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.supervised import NetworkStage
from modicum.nn import Backbone, Classifier, linear_head
from modicum.tasks.base import Batch


class TurnStage(TrainStage):
    """Predicts by how many quarter turns an image was turned (Gidaris et al., ICLR 2018), all four of each image."""

    name = "pretrain"
    scored = False

    def __init__(self, encoder: Backbone, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, 4)
        self._temperature = temperature

    def learns_from(self, targets):
        return targets["label"] == 0  # the first class: healthy images

    def updates(self) -> Sequence[Update]:
        return [Update("turns", list(self.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        images = batch["image"]
        turned = torch.cat([images.rot90(turns, (2, 3)) for turns in range(4)])
        turns = torch.arange(4, device=images.device).repeat_interleave(len(images))
        return {"turn": F.cross_entropy(self.head(self.encoder(turned)) / self._temperature, turns)}


class ToyPretextConfig(MethodConfig):
    """Settings of the pretext method."""

    temperature: float = Field(1.0, gt=0, description="Divides the logits of the quarter turns.")


class ToyPretext(Method):
    """Pre-trains by quarter turns, then fine-tunes."""

    name: ClassVar[str] = "toy_pretext"
    summary: ClassVar[str] = "predict quarter turns of healthy images, then fine-tune everything"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = ToyPretextConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pretrain": {"epochs": 5, "lr": 1e-3, "augment": "none", "select": "last"},
        "tune": {},
    }

    def __init__(self, config: ToyPretextConfig, context: Context) -> None:
        super().__init__(config, context)
        encoder = context.backbone()
        self._pretrain = TurnStage(encoder, config.temperature)
        network = Classifier(encoder, linear_head(encoder.num_features, context.task.num_outputs))
        self._tune = NetworkStage(network, context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._pretrain, self._tune]

    def predictor(self) -> nn.Module:
        return self._tune.network

    def merge(self) -> nn.Module:
        return self._tune.network.eval()
