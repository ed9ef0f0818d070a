"""Contrastive pre-training on patches around lesions, so that an encoder learns what lesions look like.

Huang et al., "Lesion-based Contrastive Learning for Diabetic Retinopathy Grading from Fundus Images" (MICCAI 2021,
arXiv 2107.08274), sections 2.2 and 2.3, and its code. Patches anywhere and whole images (SimCLR, Chen et al., ICML
2020) are the controls.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.losses import nt_xent
from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn import Backbone
from modicum.recipes.grading import LESION_CONTRAST, MEAN, STD
from modicum.tasks.base import Batch
from modicum.transforms import Augmentation
from modicum.transforms.patches import Placement, cut_patches, patch_corners

Views = Literal["lesions", "random", "whole"]


class LesionContrastConfig(MethodConfig):
    """Settings of lesion-based contrastive learning."""

    views: Views = Field(
        "lesions",
        description="What is compared: patches around boxes (as published), patches at random places, or whole images "
        "(SimCLR).",
    )
    patch: int = Field(
        128, ge=8, description="Side of patches in pixels; of whole images, their side as input."
    )
    placement: Placement = Field(
        "inside",
        description="Where a patch lies around its box: anywhere inside the image, or by the release's rule (published), "
        "which leaves the image at its right and lower border.",
    )
    boxes_per_image: int = Field(
        1,
        ge=1,
        description="Boxes of an image in a batch (1 as published); they are no negatives of each other.",
    )
    patch_augment: str | list[dict[str, Any]] = Field(
        "lesion_patch", description="Augmentation of each view: a preset's name, or a list of operations."
    )
    temperature: float = Field(0.07, gt=0, description="Of the similarities.")
    head: Literal["mlp", "linear"] = Field(
        "mlp", description="Projection: two layers (as published), or one."
    )
    projection: int = Field(128, ge=1, description="Dimensions in which views are compared.")


class ContrastStage(TrainStage):
    """Two views of a patch are to be alike, and unlike those of all other images.

    Args:
        encoder: images to features.
        config: the method's settings.
    """

    name = "contrast"
    scored = False
    learns_from_none = (
        "name the boxes with --boxes, or learn without: --set views=random or --set views=whole"
    )

    def __init__(self, encoder: Backbone, config: LesionContrastConfig) -> None:
        super().__init__()
        self.reads = ("image", "boxes") if config.views == "lesions" else ("image",)
        self.encoder = encoder
        self.head = projection_head(encoder.num_features, config.projection, config.head)
        self.config = config
        self.augment = Augmentation(config.patch_augment, config.patch)

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return targets["has_boxes"] if self.config.views == "lesions" else None

    def updates(self) -> Sequence[Update]:
        return [Update("contrast", list(self.parameters()), self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        """The encoder; the head serves learning alone."""
        return ("encoder",)

    def chance_losses(self, batch_size: int) -> dict[str, float]:
        """All views on one point: the logarithm of the number of vectors that each is compared with."""
        each = 1 if self.config.views == "whole" else self.config.boxes_per_image
        compared = 2 * batch_size * each - 2 * (each - 1) - 1
        return {"contrast": math.log(compared)} if compared > 1 else {}

    def views_of(self, batch: Batch) -> tuple[Batch, Int[Tensor, "pairs"]]:
        """Two views of each pair one after the other, before augmentation, and which image each pair is of.

        All draws are from PyTorch's global generator.
        """
        images = batch["image"]
        if self.config.views == "whole":
            return {"image": torch.cat([images, images])}, torch.arange(len(images))
        boxes, rows = self._boxes(batch)
        size, side = (images.shape[2], images.shape[3]), self.config.patch
        cut = []
        for _ in range(2):
            draws = torch.rand(len(boxes), 2, dtype=boxes.dtype)
            corners = patch_corners(boxes, size, side, draws, self.config.placement)
            cut.append(cut_patches(images, corners, side, rows))
        return {"image": torch.cat(cut)}, rows

    def _boxes(self, batch: Batch) -> tuple[Float[Tensor, "pairs 4"], Int[Tensor, "pairs"]]:
        """Boxes drawn from those of each image that fit a patch, and the row of each; without repetition in an image."""
        if self.config.views == "random":
            return _points(batch["image"], self.config.boxes_per_image)
        boxes = batch["boxes"].double().cpu()
        extent = boxes[..., 2:].ceil() - boxes[..., :2].floor()
        usable = boxes.isfinite().all(-1) & (extent <= self.config.patch).all(-1)
        order = torch.rand(usable.shape).masked_fill(~usable, -1).argsort(1, descending=True)
        taken = order[:, : self.config.boxes_per_image]
        rows = torch.arange(len(boxes))[:, None].expand_as(taken)
        kept = usable.gather(1, taken)
        return boxes.gather(1, taken[..., None].expand(*taken.shape, 4))[kept], rows[kept]

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Int[Tensor, "pairs"]]:
        """The embeddings of both views of each pair, and which image each pair is of."""
        views, rows = self.views_of(batch)
        seed = int(torch.randint(2**62, (1,)))
        views = self.augment(views, torch.Generator().manual_seed(seed))
        first, second = self.head(self.encoder(views["image"])).chunk(2)  # one pass: shared batch statistics
        return first, second, rows

    def preview(self, batch: Batch) -> Float[Tensor, "pairs views c h w"]:
        """Of each pair: both views as they are cut, then as they are augmented."""
        cut, rows = self.views_of(batch)
        augmented = self.augment(cut, torch.Generator().manual_seed(0))
        plain, changed = cut["image"], augmented["image"]
        if plain.shape != changed.shape:  # whole images, at the size of the input
            plain = F.interpolate(plain, changed.shape[-2:], mode="bilinear", antialias=True)
        count = len(rows)
        return torch.stack([plain[:count], plain[count:], changed[:count], changed[count:]], 1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        first, second, rows = self.embed(batch)
        same = rows[:, None] == rows[None] if self.config.boxes_per_image > 1 else None
        return {"contrast": nt_xent(first, second, self.config.temperature, not_negative=same)}


def _points(images: Tensor, count: int) -> tuple[Float[Tensor, "pairs 4"], Int[Tensor, "pairs"]]:
    """Boxes of one pixel at random places of each image."""
    limit = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float64)
    begin = torch.floor(torch.rand(len(images) * count, 2, dtype=torch.float64) * limit)
    return torch.cat([begin, begin + 1], 1), torch.arange(len(images)).repeat_interleave(count)


def projection_head(width: int, outputs: int = 128, kind: Literal["mlp", "linear"] = "mlp") -> nn.Sequential:
    """From features to the space in which views are compared: two layers with a ReLU between (no norm), or one.

    4,458,624 parameters for ResNet-50's 2,048 features and 128 outputs; 262,272 of the linear one.
    """
    if kind == "linear":
        return nn.Sequential(nn.Linear(width, outputs))
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


class LesionContrast(Method):
    """Pre-trains an encoder on patches around lesions."""

    name: ClassVar[str] = "lesion_contrast"
    summary: ClassVar[str] = (
        "pre-train any network on unlabelled images by contrasting patches around lesions"
    )
    source: ClassVar[str] = "Huang et al., MICCAI 2021 (arXiv 2107.08274)"
    tasks: ClassVar[tuple[str, ...]] = ("encoder",)
    Config: ClassVar[type[MethodConfig]] = LesionContrastConfig
    training: ClassVar[Mapping[str, Any]] = LESION_CONTRAST
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"contrast": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": 512, "crop": "fundus", "filter": "lanczos"}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50", "mean": MEAN, "std": STD}

    def __init__(self, config: LesionContrastConfig, context: Context) -> None:
        super().__init__(config, context)
        self._stage = ContrastStage(context.backbone(), config)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.encoder

    def merge(self) -> nn.Module:
        """The encoder as a timm network, without a head."""
        return self._stage.encoder.eval()
