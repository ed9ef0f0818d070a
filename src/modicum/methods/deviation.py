"""Deviation network: scores of normal images stay near those of a prior, abnormal ones lie far above.

Pang et al., "Deep Anomaly Detection with Deviation Networks" (KDD 2019), equations 4 to 6, with the pixels' scores of
"Explainable Deep Few-shot Anomaly Detection with Deviation Networks" (arXiv 2108.00462), section 3.2: an image's score is
the mean of its highest 10 %. The abnormal images are rows of split ``reference`` (one is enough), without masks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn import Backbone
from modicum.tasks.anomaly.task import learns_from_normal
from modicum.tasks.base import Batch


class DeviationConfig(MethodConfig):
    """Settings of the deviation network."""

    margin: float = Field(
        5.0,
        gt=0,
        description="Standard deviations of the prior by which abnormal images are to lie above its mean (paper: 5).",
    )
    top: float = Field(
        0.1, gt=0, le=1, description="Share of places whose scores make an image's: its highest (paper: 0.1)."
    )
    prior_draws: int = Field(
        5000, ge=2, description="Draws of the prior, a standard normal, in each step (paper: 5000)."
    )


def deviation_loss(
    scores: Float[Tensor, "b"],
    abnormal: Bool[Tensor, "b"],
    prior: Float[Tensor, "draws"],
    margin: float = 5.0,
) -> Float[Tensor, ""]:
    """``|d|`` of normal images, ``max(0, margin - d)`` of abnormal ones, d the score in standard deviations of the prior.

    Args:
        scores: one an image.
        abnormal: the truth.
        prior: draws of the scores that normal images should have.
        margin: see the formula.
    """
    deviation = (scores - prior.mean()) / prior.std()
    each = torch.where(abnormal, (margin - deviation).clamp_min(0), deviation.abs())
    return each.mean()


class DeviationNetwork(nn.Module):
    """A score at each place of the feature map, and the mean of the highest as the image's."""

    def __init__(self, backbone: Backbone, top: float, margin: float) -> None:
        super().__init__()
        self.backbone, self.top, self.margin = backbone, top, margin
        self.scorer = nn.Conv2d(backbone.num_features, 1, 1)

    def places(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b rows columns"]:
        """The absolute score of each place."""
        planes = self.backbone.spatial(self.backbone.feature_map(images))
        return self.scorer(planes)[:, 0].abs()

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        places = self.places(images).flatten(1)
        count = max(1, int(self.top * places.shape[1]))
        return places.topk(count, 1).values.mean(1, keepdim=True)

    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """``anomaly``: ``1 - exp(-score / margin)`` of each place, in ``[0, 1]``."""
        return {"anomaly": 1 - torch.exp(-self.places(images).float() / self.margin)}


class DeviationStage(TrainStage):
    """Normal images, and as many draws of the abnormal ones, mirrored and turned by quarters at random."""

    name = "deviate"
    scored = False
    learns_from_none = "it learns from normal images: name their class with --set normal=NAME"
    abnormal: Tensor

    def __init__(
        self, network: DeviationNetwork, abnormal: Float[Tensor, "k c h w"], config: DeviationConfig
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        # They are read again where a run goes on, and are no part of what is learned.
        self.register_buffer("abnormal", abnormal, persistent=False)

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return learns_from_normal(targets)

    def persistent_modules(self) -> tuple[str, ...]:
        return ("network",)

    def updates(self) -> Sequence[Update]:
        return [Update("deviate", list(self.network.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images = batch["image"]
        drawn = self.abnormal[torch.randint(len(self.abnormal), (len(images),)).to(images.device)]
        square = drawn.shape[2] == drawn.shape[3]
        views = torch.randint(8, (len(images),)).tolist()
        turned = torch.stack([_view(one, view, square) for one, view in zip(drawn, views, strict=True)])
        scores = self.network(torch.cat([images, turned]))[:, 0]
        abnormal = torch.arange(2, device=images.device).repeat_interleave(len(images)).bool()
        prior = torch.randn(self.config.prior_draws).to(scores.device)
        return {"deviation": deviation_loss(scores.float(), abnormal, prior, self.config.margin)}


def _view(image: Float[Tensor, "c h w"], view: int, square: bool) -> Float[Tensor, "c h w"]:
    """One of the eight views of a square, or of the four of a rectangle that keep its shape."""
    turned = image.rot90(view % 4 if square else 2 * (view % 2), (1, 2))
    return turned.flip(2) if view >= 4 else turned


class Deviation(Method):
    """Learns a score that lifts one or a few abnormal images above normal ones."""

    name: ClassVar[str] = "deviation"
    summary: ClassVar[str] = "find abnormal images after normal ones and one abnormal one, without masks"
    source: ClassVar[str] = "Pang et al., KDD 2019 (arXiv 1911.08623); arXiv 2108.00462"
    tasks: ClassVar[tuple[str, ...]] = ("anomaly",)
    Config: ClassVar[type[MethodConfig]] = DeviationConfig
    training: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "lr": 2e-4,
        "weight_decay": 1e-5,
        "epochs": 50,
        "batch_size": 24,
        "augment": "none",
    }
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deviate": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": 256}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet18"}

    def __init__(self, config: DeviationConfig, context: Context) -> None:
        super().__init__(config, context)
        network = DeviationNetwork(context.backbone(), config.top, config.margin)
        channels = context.task.channels
        abnormal = torch.zeros(1, channels, *context.image_size)
        if context.has_data:
            abnormal = _abnormal_of(context.reference())
        self._stage = DeviationStage(network, abnormal, config)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network


def _abnormal_of(reference: Batch) -> Float[Tensor, "k c h w"]:
    """The abnormal images among the reference rows.

    Raises:
        InputError: there are none.
    """
    found = reference["image"][reference["label"] == 1] if reference else torch.zeros(0)
    if not len(found):
        raise InputError(
            "deviation learns from an abnormal image too, and no abnormal row has the split 'reference'",
            "write 'reference' in column 'split' of its row, with its class as label",
        )
    if not bool(found.isfinite().all()):
        raise InputError(
            "a reference image has values that are not numbers (NaN)", "read the file anew, or repair it"
        )
    return found
