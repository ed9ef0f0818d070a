"""Side tuning: a small network next to a frozen backbone, blended with its features."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.adapted import AdaptedStage
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.nn import Backbone, Frozen, linear_head
from modicum.nn.side_paths import SideNetwork


class SideConfig(MethodConfig):
    """Settings of side tuning."""

    width: int = Field(
        128, ge=4, multiple_of=4, description="Channels of the side network's last convolution."
    )


class SideTuned(nn.Module):
    """``head(alpha * B(x) + (1 - alpha) * S(x))``: frozen backbone ``B``, side network ``S``, learned ``alpha``.

    Args:
        backbone: the frozen backbone.
        side: maps normalised images to as many features as the backbone's.
        head: maps features to logits.
    """

    def __init__(self, backbone: Frozen, side: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self._backbone = backbone
        self.side = side
        self.head = head
        self.blend = nn.Parameter(torch.zeros(()))

    @property
    def backbone(self) -> Backbone:
        """The frozen backbone."""
        inner = self._backbone.module
        assert isinstance(inner, Backbone)
        return inner

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs"]:
        """Images in ``[0, 1]`` to logits."""
        with torch.no_grad():
            base = self._backbone(images)
        alpha = torch.sigmoid(self.blend)
        return self.head(alpha * base + (1 - alpha) * self.side(self.backbone.normalise(images)))


class SideTuning(Method):
    """Trains a side network, how much of it is blended in, and a head.

    The paper gives the blend, with alpha learned through a sigmoid, and leaves the side network to the task. Here
    it is four convolutions, not distilled from the backbone, and alpha starts at one half. Works with any backbone.
    """

    name: ClassVar[str] = "side"
    summary: ClassVar[str] = "learn a small network next to a frozen backbone and blend their features"
    source: ClassVar[str] = "Zhang et al., Side-Tuning, ECCV 2020 (arXiv 1912.13503)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = SideConfig
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}

    def __init__(self, config: SideConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        features = backbone.num_features
        head = linear_head(features, context.task.num_outputs)
        self.network = SideTuned(Frozen(backbone), SideNetwork(features, config.width), head)
        self._stage = AdaptedStage(self.network, context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self.network
