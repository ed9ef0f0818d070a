"""Supervised segmentation as a method: the reference that others are compared with."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from modicum.methods.base import PREDICTOR, Context, Method, MethodConfig, Stage
from modicum.methods.segment.config import TRAINING, SegmentConfig
from modicum.methods.segment.stage import SegmentStage
from modicum.nn import FlipAveraged, SegmentationNetwork


class Segment(Method):
    """Trains an encoder and a decoder on images and their masks."""

    name: ClassVar[str] = "segment"
    summary: ClassVar[str] = "segmentation from masks: U-Net and other decoders on any encoder; the reference"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    Config: ClassVar[type[MethodConfig]] = SegmentConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    image: ClassVar[Mapping[str, Any]] = {"size": (512, 512)}
    # The smallest ResNet in general use: maps at strides 2, 4, 8, 16 and 32 for every decoder, weights for it are
    # everywhere, and a few dozen images with masks do not need more.
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet18"}

    config: SegmentConfig

    def __init__(self, config: SegmentConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        self._encoder = backbone.name
        network = SegmentationNetwork.on_backbone(
            config.architecture, backbone, context.task.num_outputs, config.decoder_width
        )
        options = (
            context.loss_options if config.loss == "auto" else {**context.loss_options, "loss": config.loss}
        )
        loss = context.task.loss(context.targets, options)
        self._stage = SegmentStage(config, network, loss, context.image_size)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return FlipAveraged(self._stage.network) if self.config.flips else self._stage.network

    def tile(self) -> tuple[int, int] | None:
        return self._stage.tile

    def exported(self, part: str = PREDICTOR) -> tuple[nn.Module, dict[str, Any]]:
        """The network; the card names its encoder."""
        network, card = super().exported(part)
        return network, {**card, "encoder": self._encoder}
