"""Grades of diabetic retinopathy: a plain network with a well-chosen recipe, then what both eyes say together.

Huang et al., "Identifying the key components in ResNet-50 for diabetic retinopathy grading from fundus images: a
systematic investigation" (Diagnostics 2023, 13, 1664; arXiv 2110.14160), sections 3.2 to 3.6, and its code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage, Update
from modicum.methods.decision import Decision, Rows
from modicum.methods.stages import Targets
from modicum.methods.supervised import NetworkStage, SupervisedStage
from modicum.nn import Backbone, Classifier
from modicum.nn.attribution import grad_cam, input_gradient
from modicum.nn.maxout import fusion_head
from modicum.recipes.grading import BOTH_EYES, MEAN, STD
from modicum.tasks.base import Batch

ONE_EYE = "one_eye"
"""The stage that learns the grade of an eye from its photograph; everything learns."""


class DrGradingConfig(MethodConfig):
    """Settings of DR grading."""

    fusion: bool = Field(
        True, description="Whether both eyes of a patient are graded together; false: each eye alone."
    )


class FeaturesAndGrade(nn.Module):
    """What one photograph says: its features, and after them the outputs of the one-eye network.

    Both eyes of a patient then cost two passes of the encoder, not four.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch both"]:
        features = self.network.backbone(images)
        return torch.cat([features, self.network.head(features)], 1)

    def explain(
        self, image: Float[Tensor, "1 c h w"], output: int
    ) -> tuple[Float[Tensor, "1 1 rows columns"], str] | None:
        """Where the eye's own grade comes from."""
        if (heat_map := grad_cam(self.network, image, output)) is not None:
            return heat_map, "Grad-CAM of this eye alone"
        heat_map = input_gradient(self.network, image, output)
        return None if heat_map is None else (heat_map, "input gradient of this eye alone")


class BothEyesStage(SupervisedStage):
    """Learns the grade of an eye from the features of both; the encoder and its batch statistics stay as they are.

    Its outputs are those of :class:`FeaturesAndGrade`; :meth:`DrGrading.decide` joins the eyes.
    """

    name = "both_eyes"
    reads = ("image", "fellow_image")
    decided = True
    learns_from_none = (
        "both eyes need the columns patient and eye (L or R), and patients of whom both eyes are training images; "
        "leave the stage out with --set fusion=false"
    )

    def __init__(self, eye: FeaturesAndGrade, head: nn.Module, loss: nn.Module) -> None:
        super().__init__(loss)
        self.eye = eye
        self.head = head

    def train(self, mode: bool = True) -> "BothEyesStage":
        super().train(mode)
        self.eye.eval()  # the release let its batch statistics drift
        return self

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return targets["has_fellow"]

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.head.parameters())

    def updates(self) -> Sequence[Update]:
        return [Update("head", self.parameter_groups(), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            eyes = [self.eye.network.backbone(batch[name]) for name in self.reads]
        return {"classification": self.loss(self.head(torch.cat(eyes, 1)), batch)}

    def forward(self, batch: Batch) -> Tensor:
        return self.eye(batch["image"])

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self(batch), {}


class DrGrading(Method):
    """One eye, then both."""

    name: ClassVar[str] = "dr_grading"
    summary: ClassVar[str] = (
        "grade fundus photographs by a severity score, first one eye, then both of a patient"
    )
    source: ClassVar[str] = "Huang et al., Diagnostics 2023, 13, 1664 (arXiv 2110.14160)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = DrGradingConfig
    training: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule_by": "epoch",
        "warmup_epochs": 0,
        "loss": "mse",
    }
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "one_eye": {
            "epochs": 25,
            "batch_size": 16,
            "lr": 1e-3,
            "schedule": "cosine",
            "clip_norm": 0.0,
            "augment": "fundus",
        },
        "both_eyes": BOTH_EYES,
    }
    image: ClassVar[Mapping[str, Any]] = {"size": 512, "crop": "fundus", "filter": "lanczos"}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50", "mean": MEAN, "std": STD}
    decides_over: Literal["image", "set"] = "set"  # type: ignore[misc]  # one eye alone: "image"

    def __init__(self, config: DrGradingConfig, context: Context) -> None:
        super().__init__(config, context)
        encoder = context.backbone()
        width, outputs = encoder.num_features, context.task.num_outputs
        network = Classifier(encoder, nn.Linear(width, outputs))  # as PyTorch initialises it
        self._one = NetworkStage(network, context.loss(), ONE_EYE)
        self._both: BothEyesStage | None = None
        self.decides_over = "set" if config.fusion else "image"
        if config.fusion:
            eye = FeaturesAndGrade(network)
            self._both = BothEyesStage(eye, fusion_head(width, outputs), context.loss())

    @property
    def encoder(self) -> Backbone:
        """The encoder of an eye."""
        assert isinstance(self._one.network, Classifier)
        return self._one.network.backbone

    def stages(self) -> Sequence[Stage]:
        return [self._one] if self._both is None else [self._one, self._both]

    def predictor(self) -> nn.Module:
        return self._one.network if self._both is None else self._both.eye

    def decide(self, outputs: Float[Tensor, "n both"], rows: Rows) -> Decision:
        if self._both is None:
            return Decision(outputs)
        head = self._both.head
        given = outputs.to(next(head.parameters()).device)
        width = self.encoder.num_features
        features, alone = given[:, :width], given[:, width:]
        fellow = torch.from_numpy(rows.fellow()).to(given.device)
        missing = fellow < 0
        joint = head(torch.cat([features, features[fellow.clamp_min(0)]], 1))
        decided = torch.where(missing[:, None], alone, joint)
        return Decision(decided, {"fellow_missing": missing.cpu().numpy()})

    def merge(self) -> nn.Module:
        if self._both is not None:
            return super().merge()
        return self._one.network.eval()
