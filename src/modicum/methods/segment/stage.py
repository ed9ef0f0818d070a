"""The learning step of supervised segmentation."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.methods.base import Update
from modicum.methods.segment.config import SegmentConfig
from modicum.methods.supervised import SupervisedStage
from modicum.nn import SegmentationNetwork, insert_mixstyle
from modicum.nn.tiles import tiled
from modicum.tasks.base import Batch
from modicum.transforms import mixup

OVERLAP = 0.25
"""Overlap of tiles in validation, as a share of their side."""


class SegmentStage(SupervisedStage):
    """Minimises the task's loss over all parameters of one network.

    Args:
        config: the method's settings.
        network: maps images in ``[0, 1]`` to logits.
        loss: the task's loss, ``(outputs, batch) -> scalar``.
        image_size: height and width of the stored images.

    Raises:
        InputError: MixStyle with an encoder whose stages are not known.
    """

    def __init__(
        self,
        config: SegmentConfig,
        network: SegmentationNetwork,
        loss: nn.Module,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__(loss)
        self.config = config
        self.network = network
        self.patch = None if config.patch is None else _at_most(config.patch, image_size)
        self.tile = None if config.tile is None else _at_most(config.tile, image_size)
        if config.mixstyle:
            insert_mixstyle(network, config.mixstyle)

    def parameter_groups(self) -> Sequence[Any]:
        parts = self.network.decoder, self.network.head
        return [
            {"params": list(self.network.encoder.parameters()), "lr_scale": self.config.encoder_lr_scale},
            {"params": [parameter for part in parts for parameter in part.parameters()]},
        ]

    def updates(self) -> Sequence[Update]:
        return [Update("network", self.parameter_groups(), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a training batch, with mixup if configured."""
        if self.config.mixup:
            batch = mixup(batch, self.config.mixup)
        return {"segmentation": self.loss(self(batch), batch)}

    def forward(self, batch: Batch) -> Float[Tensor, "b outputs h w"]:
        """Logits; outside training in tiles, where the images are larger than those."""
        images = batch["image"]
        if self.training or self.tile is None or tuple(images.shape[2:]) == self.tile:
            return self.network(images)
        overlap = int(OVERLAP * self.tile[0]), int(OVERLAP * self.tile[1])
        return torch.stack([tiled(self.network, image, self.tile, overlap) for image in images])

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = self(batch)
        return outputs, {"segmentation": self.loss(outputs, batch)}


def _at_most(side: int, size: tuple[int, int]) -> tuple[int, int]:
    return min(side, size[0]), min(side, size[1])
