"""ConVIRT: images and single sentences of their reports, aligned as wholes.

Zhang et al., "Contrastive Learning of Medical Visual Representations from Paired Images and Text" (MLHC 2022, arXiv
2010.00747).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.losses import cross_modal_cluster_loss, image_text_contrast
from modicum.methods.base import Context, MethodConfig
from modicum.methods.image_text import (
    EncodedImages,
    EncodedTexts,
    ImageTextMethod,
    ImageTextModel,
    PairStage,
    TextConfig,
)
from modicum.methods.image_text.pairs import report_of, same_reports
from modicum.methods.stages import Update
from modicum.nn import Backbone, Bert
from modicum.tasks.base import Batch

TRAINING: Mapping[str, Any] = {
    "epochs": 200,
    "batch_size": 32,
    "optimizer": "adamw",  # the papers: Adam, with a decay of 1e-6
    "lr": 1e-4,
    "weight_decay": 1e-6,
    "clip_norm": 0.0,
    "augment": [
        {"name": "random_resized_crop", "area": [0.6, 1.0]},
        {"name": "rotate", "degrees": [-20.0, 20.0]},
        {"name": "color_jitter", "brightness": 0.4, "contrast": 0.4},
    ],
}


class ConVIRTConfig(TextConfig):
    """Settings of ConVIRT (Zhang et al., MLHC 2022)."""

    width: int = Field(512, ge=1, description="Dimensions in which images and texts are compared.")
    temperature: float = Field(0.1, gt=0, description="Of similarities.")
    image_to_text: float = Field(
        0.75, ge=0, le=1, description="Weight of the loss from image to text; the other way has the rest."
    )
    one_sentence: bool = Field(
        True,
        description="Learn from one sentence drawn at random from each report, as published; else from all of it.",
    )
    clusters: int = Field(
        0,
        ge=0,
        description="Prototypes that images and texts share and predict of each other (MGCA, Wang et al., NeurIPS 2022: "
        "500); 0 for none, as in ConVIRT.",
    )
    cluster_weight: float = Field(1.0, ge=0, description="Weight of the loss of these prototypes.")


class ConVIRTModel(ImageTextModel):
    """Pooled features of both networks, through two layers each.

    Args:
        backbone: of images.
        bert: of texts; its tokens are pooled by their maximum.
        config: the method's settings.
    """

    grid = None

    def __init__(self, backbone: Backbone, bert: Bert, config: ConVIRTConfig) -> None:
        super().__init__()
        self.backbone, self.bert = backbone, bert
        self.image_head, self.text_head = (
            nn.Sequential(nn.Linear(inputs, config.width), nn.ReLU(), nn.Linear(config.width, config.width))
            for inputs in (backbone.num_features, bert.size.width)
        )
        self.temperature = config.temperature
        self.report_length, self.max_sentences = config.report_length, config.max_sentences

    def images(self, images: Float[Tensor, "b c h w"]) -> EncodedImages:
        whole = self.image_head(self.backbone(images))
        return EncodedImages(whole[:, None], whole)

    def texts(self, tokens: Any, mask: Any, index: Any) -> EncodedTexts:
        words = self.bert(tokens, mask)
        first = torch.zeros_like(mask)
        first[:, 0] = True
        pooled = words.masked_fill(~(mask | first)[..., None], -torch.inf).amax(1)
        whole = self.text_head(pooled)
        return EncodedTexts(whole[:, None], mask.any(1, keepdim=True), whole)

    def similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        first, second = (F.normalize(part.whole.float(), dim=1) for part in (images, texts))
        return first @ second.T / self.temperature


class ConVIRTStage(PairStage):
    """One loss, each way: an image's own sentence among those of the batch."""

    name = "align"

    def __init__(self, network: ConVIRTModel, config: ConVIRTConfig) -> None:
        super().__init__(config.min_sentences)
        self.network, self.config = network, config
        self.clusters = nn.Parameter(torch.randn(config.clusters, config.width)) if config.clusters else None

    def model(self) -> ImageTextModel:
        return self.network

    def updates(self) -> Sequence[Update]:
        return [Update(self.name, list(self.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        tokens, mask, index = report_of(batch)
        same = same_reports(tokens) if config.same_reports == "excluded" else None
        if self.training and config.one_sentence:
            mask = one_sentence_of(mask, index, torch.rand(len(tokens)).to(tokens.device))
        images, texts = self.network.images(batch["image"]), self.network.texts(tokens, mask, index)
        loss = image_text_contrast(
            images.whole,
            texts.whole,
            1 / config.temperature,
            present=(index > 0).any(1),
            same=same,
            weights=(config.image_to_text, 1 - config.image_to_text),
        )
        if self.clusters is None:
            return {"contrast": loss}
        shared = cross_modal_cluster_loss(images.whole, texts.whole, self.clusters, (index > 0).any(1))
        return {"contrast": loss, "clusters": config.cluster_weight * shared}


def one_sentence_of(mask: Tensor, index: Tensor, draws: Float[Tensor, "b"]) -> Tensor:
    """A mask that shows one sentence of each report, and the tokens of none (``[CLS]``, ``[SEP]``).

    Args:
        mask: False for padding.
        index: number of each token's sentence.
        draws: uniform in [0, 1), one a report.
    """
    chosen = 1 + (draws * index.amax(1).clamp_min(1)).floor().long()
    return mask & ((index == chosen[:, None]) | (index < 0))


class ConVIRT(ImageTextMethod):
    """Pre-trains an image network on single sentences of reports."""

    name: ClassVar[str] = "convirt"
    summary: ClassVar[str] = "pre-train any image network on reports: align images and sentences as wholes"
    source: ClassVar[str] = "Zhang et al., MLHC 2022 (arXiv 2010.00747)"
    Config: ClassVar[type[MethodConfig]] = ConVIRTConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"align": {}}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50"}

    def __init__(self, config: ConVIRTConfig, context: Context) -> None:
        super().__init__(config, context)
        self.image_backbone = context.backbone()
        network = ConVIRTModel(self.image_backbone, self.bert(config, context), config)
        self.pair_stages = (ConVIRTStage(network, config),)
