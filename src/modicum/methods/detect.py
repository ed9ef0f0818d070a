"""Faster R-CNN as a method: boxes with classes and scores, learned from boxes.

The defaults are those of the lesion detector of "Lesion-based Contrastive Learning for Diabetic Retinopathy Grading from
Fundus Images" (Huang et al., MICCAI 2021), whose release configures MMDetection.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn.faster_rcnn import BoxLoss, DetectorSettings, FasterRcnn
from modicum.tasks.base import Batch
from modicum.tasks.detection.pictures import TRUE, boxed


class DetectConfig(MethodConfig):
    """Settings of Faster R-CNN; the source of all defaults is the release's configuration."""

    anchor_scale: float = Field(
        8.0,
        gt=0,
        description="Side of the smallest boxes that are looked for on each map, in strides (8: from 32 px).",
    )
    channels: int = Field(256, ge=1, description="Of the feature pyramid.")
    head_width: int = Field(1024, ge=1, description="Of the two layers that look at a box.")
    box_loss: BoxLoss = Field("l1", description="Of edges: l1 as published, or smooth_l1 as in torchvision.")
    frozen_stages: int | None = Field(
        None,
        ge=0,
        le=4,
        description="Stages of the backbone that are not trained, with its stem (1 as published). By default 1 where it "
        "comes with weights, 0 where these are random.",
    )
    norms: Literal["auto", "fixed", "batch"] = Field(
        "auto",
        description="Batch norms of the backbone: with the statistics that they have (fixed, as published), or of each "
        "batch. auto: fixed where the backbone comes with weights.",
    )
    score_floor: float = Field(0.05, ge=0, lt=1, description="Boxes with a lower score are not given.")
    proposals: int = Field(
        1000, ge=1, description="Places of an image that are looked at, at most; fewer are quicker."
    )
    samples: int = Field(512, ge=2, description="Of these, places that are learned from in each image.")
    max_detections: int = Field(100, ge=1, description="The most boxes that are given of an image.")
    overlap: float = Field(
        0.5, gt=0, le=1, description="Of two boxes of one class that overlap by more, the lower one goes."
    )


class DetectStage(TrainStage):
    """Learns to propose boxes and to tell what is in them, both at once.

    Args:
        network: the detector.
        frozen_stages: stages of its backbone that are not trained.
    """

    name = "tune"
    reads = ("image", "boxes")
    learns_from_none = "name the boxes with --boxes; an empty list says that an image has none"

    def __init__(self, network: FasterRcnn, frozen_stages: int) -> None:
        super().__init__()
        self.network = network
        self.frozen_stages = frozen_stages

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"]:
        """Images of whose boxes something is said, be it that there are none."""
        return targets["annotated"]

    def updates(self) -> Sequence[Update]:
        held = {id(parameter) for parameter in self.network.early_parameters(self.frozen_stages)}
        learned = [parameter for parameter in self.network.parameters() if id(parameter) not in held]
        return [Update("detector", learned, self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.network.losses(batch["image"], batch["boxes"], batch["box_classes"])

    def forward(self, batch: Batch) -> Float[Tensor, "b detections 6"]:
        return self.network(batch["image"])

    def preview(self, batch: Batch) -> Float[Tensor, "images views c h w"]:
        """Each image as it is, and with the boxes that it is learned from."""
        pictures = []
        for image, boxes in zip(batch["image"].cpu(), batch["boxes"].cpu(), strict=True):
            kept = boxes[boxes.isfinite().all(1)]
            pixels = image.mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
            drawn = torch.from_numpy(boxed(pixels, [(kept.numpy(), TRUE)], enlarge=False))
            pictures.append(torch.stack([image.expand(3, -1, -1), drawn.permute(2, 0, 1) / 255]))
        return torch.stack(pictures)

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Detections; the losses are those of drawn proposals, which validation does without."""
        return self(batch), {}


class Detect(Method):
    """Trains a Faster R-CNN with a feature pyramid."""

    name: ClassVar[str] = "detect"
    summary: ClassVar[str] = (
        "boxes with classes and scores: Faster R-CNN with a feature pyramid on any network"
    )
    source: ClassVar[str] = (
        "Ren et al., NeurIPS 2015 (arXiv 1506.01497); settings of Huang et al., MICCAI 2021"
    )
    tasks: ClassVar[tuple[str, ...]] = ("detection",)
    Config: ClassVar[type[MethodConfig]] = DetectConfig
    training: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "lr": 0.005,
        "epochs": 100,
        "batch_size": 2,
        "schedule": "multi_step",
        "milestones": [50, 80],
        "gamma": 0.1,
        "warmup_epochs": 3.7,  # 100 steps of 54 images, two at a time
        "clip_norm": 0.0,
        "augment": [{"name": "horizontal_flip", "p": 0.5}],
    }
    image: ClassVar[Mapping[str, Any]] = {"size": (1200, 1600), "resize": "pad"}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50"}

    config: DetectConfig

    def __init__(self, config: DetectConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        random = backbone.random
        frozen = config.frozen_stages if config.frozen_stages is not None else int(not random)
        settings = DetectorSettings(
            anchor_scale=config.anchor_scale,
            channels=config.channels,
            head_width=config.head_width,
            box_loss=config.box_loss,
            score_floor=config.score_floor,
            proposals=config.proposals,
            samples=config.samples,
            max_detections=config.max_detections,
            overlap=config.overlap,
        )
        fixed = config.norms == "fixed" or (config.norms == "auto" and not random)
        network = FasterRcnn(backbone, context.task.num_outputs, settings, fixed_norms=fixed)
        self._stage = DetectStage(network, frozen)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network
