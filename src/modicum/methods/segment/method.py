"""Supervised segmentation as a method: the baseline for other methods."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from modicum.methods.base import Context, MethodConfig, Stage
from modicum.methods.segment.config import TRAINING, SegmentConfig
from modicum.methods.segment.stage import SegmentStage
from modicum.methods.segmenting import SegmentingMethod


class Segment(SegmentingMethod):
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
        network = self.network(context)
        options = (
            context.loss_options if config.loss == "auto" else {**context.loss_options, "loss": config.loss}
        )
        loss = context.task.loss(context.targets, options)
        self._stage = SegmentStage(config, network, loss, context.image_size)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]
