"""Learns from what is marked by boxes: is a window marked, or its mirror image on the other side? Then the labels."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.methods import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.supervised import NetworkStage
from modicum.nn import Backbone, Classifier, linear_head
from modicum.tasks.base import Batch

WINDOW = 16
"""Side in pixels that windows are brought to."""


class MarkedStage(TrainStage):
    """Tells marked windows from windows of the same size at the mirrored place of the same image."""

    name = "marked"
    reads = ("image", "boxes")
    scored = False

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, 1)

    def learns_from(self, targets):
        return targets["has_boxes"]

    def updates(self) -> Sequence[Update]:
        return [Update("marked", list(self.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images, boxes = batch["image"], batch["boxes"]
        rows, _ = torch.nonzero(boxes[..., 0].isfinite(), as_tuple=True)
        found = boxes[boxes[..., 0].isfinite()]
        mirrored = torch.stack(
            [images.shape[3] - found[:, 2], found[:, 1], images.shape[3] - found[:, 0], found[:, 3]], 1
        )
        windows = torch.cat([windows_of(images[rows], found), windows_of(images[rows], mirrored)])
        marked = torch.arange(len(windows), device=images.device) < len(found)
        return {
            "marked": F.binary_cross_entropy_with_logits(
                self.head(self.encoder(windows))[:, 0], marked.float()
            )
        }


def windows_of(images: Tensor, boxes: Tensor) -> Tensor:
    """The part of each image inside its box (left, top, right, bottom in pixels), ``[b, c, WINDOW, WINDOW]``."""
    size = boxes.new_tensor([images.shape[3], images.shape[2]])
    centre = (boxes[:, :2] + boxes[:, 2:]) / size - 1  # from -1 to 1
    half = (boxes[:, 2:] - boxes[:, :2]) / size
    moves = torch.zeros(len(boxes), 2, 3, device=boxes.device)
    moves[:, 0, 0], moves[:, 1, 1], moves[:, :, 2] = half[:, 0], half[:, 1], centre
    grid = F.affine_grid(moves, [len(boxes), images.shape[1], WINDOW, WINDOW], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class ToyBoxes(Method):
    """Pre-trains on boxes, then fine-tunes."""

    name: ClassVar[str] = "toy_boxes"
    summary: ClassVar[str] = "tell marked windows from others, then fine-tune everything"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "marked": {"epochs": 5, "augment": "light", "batch_size": 8},
        "tune": {},
    }

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        encoder = context.backbone()
        self._marked = MarkedStage(encoder)
        network = Classifier(encoder, linear_head(encoder.num_features, context.task.num_outputs))
        self._tune = NetworkStage(network, context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._marked, self._tune]

    def predictor(self) -> nn.Module:
        return self._tune.network

    def merge(self) -> nn.Module:
        return self._tune.network.eval()
