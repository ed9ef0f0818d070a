"""LDAM with deferred re-weighting: larger margins for rarer classes, and class weights towards the end of the training.

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss" (NeurIPS 2019, arXiv 1906.07413) and
its code: a classifier of cosines, margins by the fourth root of the number of images, weights by the effective number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.losses.long_tail import effective_weights, ldam_loss, ldam_margins
from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.long_tail import check_one_class
from modicum.nn import Classifier
from modicum.tasks.base import Batch


class LdamConfig(MethodConfig):
    """Settings of LDAM-DRW; defaults of the code."""

    margin: float = Field(0.5, gt=0, description="Of the rarest class, in cosines.")
    scale: float = Field(30.0, gt=0, description="Of the cosines.")
    reweight_from: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Share of the epochs after which classes are weighted by their effective number of images (160 of "
        "200 epochs as published); 1: never.",
    )
    beta: float = Field(0.9999, ge=0, lt=1, description="Of the effective number of images.")


class CosineHead(nn.Module):
    """Scaled cosines between features and one vector a class.

    Args:
        num_features: of the backbone.
        num_outputs: number of classes.
        scale: of the cosines.
    """

    def __init__(self, num_features: int, num_outputs: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_outputs, num_features))
        nn.init.xavier_uniform_(self.weight)
        self.scale = scale

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b classes"]:
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class LdamStage(TrainStage):
    """Minimises the margin loss; the class weights of an epoch follow from its number."""

    name = "tune"
    margins: Tensor
    later_weights: Tensor
    class_weights: Tensor

    def __init__(
        self,
        network: Classifier,
        config: LdamConfig,
        outputs: int,
        counts: Sequence[int] | None,
        epochs: int,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._config = config
        self._deferred_to = config.reweight_from * epochs
        alike = torch.ones(outputs)
        margins = alike if counts is None else ldam_margins(counts, config.margin)
        later = alike
        if counts is not None and config.reweight_from < 1:
            later = effective_weights(counts, config.beta, names)
        # Not persistent: they belong to the training labels, and to the number of the epoch.
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("later_weights", later, persistent=False)
        self.register_buffer("class_weights", alike.clone(), persistent=False)

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.network.parameters()), self.losses)]

    def on_epoch_start(self, epoch: int) -> None:
        late = epoch >= self._deferred_to
        self.class_weights.copy_(self.later_weights if late else torch.ones_like(self.later_weights))

    def on_epoch_resume(self, epoch: int) -> None:
        self.on_epoch_start(epoch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        cosines = self.network(batch["image"]).float() / self._config.scale
        loss = ldam_loss(cosines, batch["label"], self.margins, self._config.scale, self.class_weights)
        return {"classification": loss}

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class Ldam(Method):
    """Fine-tunes everything with margins by the number of images."""

    name: ClassVar[str] = "ldam"
    summary: ClassVar[str] = "long tails: fine-tune with larger margins for rare classes, late class weights"
    source: ClassVar[str] = "Cao et al., NeurIPS 2019 (arXiv 1906.07413)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = LdamConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}

    def __init__(self, config: LdamConfig, context: Context) -> None:
        super().__init__(config, context)
        check_one_class(self.name, context, "its margin loss")
        backbone = context.backbone()
        outputs = context.task.num_outputs
        network = Classifier(backbone, CosineHead(backbone.num_features, outputs, config.scale))
        counts = None
        if "label" in context.targets:
            counts = np.bincount(context.targets["label"], minlength=outputs).tolist()
        epochs = int(context.stage_training.get("tune", {}).get("epochs", 1))
        self._stage = LdamStage(
            network, config, outputs, counts, epochs, context.task.to_dict().get("classes")
        )

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network
