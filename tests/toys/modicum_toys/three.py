"""Three trainings over shared networks: views are matched, prototypes are found with the encoder held, all is tuned."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient
from modicum.methods import Context, Method, Stage, TrainStage, Update
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone
from modicum.tasks.base import Batch

WIDTH, PROTOTYPES = 16, 6


class Encoder(nn.Module):
    """Images to vectors of length one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Linear(backbone.num_features, WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.projection(self.backbone(images)), dim=1)


class Scorer(nn.Module):
    """An image's similarity to each prototype, and logits from these."""

    def __init__(self, encoder: Encoder, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.prototypes = nn.Parameter(F.normalize(torch.randn(PROTOTYPES, WIDTH), dim=1))
        self.head = nn.Linear(PROTOTYPES, num_outputs)

    def similarity(self, images: Tensor) -> Tensor:
        return self.encoder(images) @ F.normalize(self.prototypes, dim=1).T

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.similarity(images))


class MatchStage(TrainStage):
    """An image and its mirror image are alike, other images of the batch (of all processes) are not."""

    name = "match"
    scored = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def updates(self) -> Sequence[Update]:
        return [Update("match", list(self.encoder.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        views = (batch["image"], batch["image"].flip(3))
        first, second = (gather_with_gradient(self.encoder(view)) for view in views)
        return {
            "match": F.cross_entropy(first @ second.T / 0.2, torch.arange(len(first), device=first.device))
        }


class PrototypeStage(TrainStage):
    """Each image's vector is near one of the prototypes. Its update leaves the encoder out, so the encoder is held."""

    name = "prototypes"
    scored = False

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def updates(self) -> Sequence[Update]:
        return [Update("prototypes", [self.scorer.prototypes], self.losses, options={"weight_decay": 0.0})]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        nearest = self.scorer.similarity(batch["image"]).max(1).values
        return {"distance": (1 - nearest).mean()}


class TuneStage(SupervisedStage):
    """Learns the labels with everything."""

    def __init__(self, scorer: Scorer, loss: nn.Module) -> None:
        super().__init__(loss)
        self.scorer = scorer

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.scorer.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.scorer(batch["image"])


class ToyThree(Method):
    """Matches views, finds prototypes, tunes everything."""

    name: ClassVar[str] = "toy_three"
    summary: ClassVar[str] = "match views, find prototypes with the encoder held, then fine-tune everything"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    training: ClassVar[Mapping[str, Any]] = {"epochs": 10, "lr": 1e-3}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "match": {"epochs": 4},
        "prototypes": {"epochs": 2, "optimizer": "sgd", "lr": 0.1},
        "tune": {},
    }

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self._scorer = Scorer(Encoder(context.backbone()), context.task.num_outputs)
        self._stages = (
            MatchStage(self._scorer.encoder),
            PrototypeStage(self._scorer),
            TuneStage(self._scorer, context.loss()),
        )

    def stages(self) -> Sequence[Stage]:
        return self._stages

    def predictor(self) -> nn.Module:
        return self._scorer
