"""GLoRIA: images and reports aligned as wholes, and words with the regions that they read.

Huang et al., "GLoRIA: A Multimodal Global-Local Representation Learning Framework for Label-Efficient Medical Image
Recognition" (ICCV 2021).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.losses import image_text_contrast, word_region_contrast, word_region_similarity
from modicum.methods.base import Context, MethodConfig
from modicum.methods.image_text import (
    EncodedImages,
    EncodedTexts,
    ImageTextMethod,
    ImageTextModel,
    PairStage,
    TextConfig,
)
from modicum.methods.image_text.pairs import reaching_all, report_of, same_reports
from modicum.methods.stages import Update
from modicum.nn import Backbone, Bert
from modicum.nn.region_encoder import grid_of
from modicum.tasks.base import Batch

TRAINING: Mapping[str, Any] = {
    "epochs": 50,
    "batch_size": 48,
    "optimizer": "adamw",  # the papers: Adam, with a decay of 1e-6
    "lr": 5e-5,
    "weight_decay": 1e-6,
    "clip_norm": 0.25,
    "augment": [{"name": "random_resized_crop", "area": [0.6, 1.0]}],
}


class GLoRIAConfig(TextConfig):
    """Settings of GLoRIA (Huang et al., ICCV 2021)."""

    width: int = Field(768, ge=1, description="Features of regions, words and wholes.")
    report_length: int = Field(97, ge=3, description="Tokens of a report; longer ones are cut.")
    attention_temperature: float = Field(0.25, gt=0, description="Of a word's attention over regions.")
    word_temperature: float = Field(0.2, gt=0, description="Of the sum over words.")
    temperature: float = Field(0.1, gt=0, description="Of similarities in both losses.")
    global_weight: float = Field(1.0, ge=0, description="Weight of the alignment of wholes.")
    local_weight: float = Field(1.0, ge=0, description="Weight of the alignment of words and regions.")


class GLoRIAModel(ImageTextModel):
    """Regions and pooled features of images; words and their mean of texts.

    Args:
        backbone: of images.
        bert: of texts.
        config: the method's settings.
    """

    def __init__(self, backbone: Backbone, bert: Bert, config: GLoRIAConfig) -> None:
        super().__init__()
        self.backbone, self.bert, self.config = backbone, bert, config
        self.grid = grid_of(backbone)
        self.local_head, self.global_head = (nn.Linear(backbone.num_features, config.width) for _ in range(2))
        self.word_head = nn.Linear(bert.size.width, config.width)
        self.report_length, self.max_sentences = config.report_length, config.max_sentences

    def images(self, images: Float[Tensor, "b c h w"]) -> EncodedImages:
        features = self.backbone.feature_map(images)
        cells = self.backbone.spatial(features)
        assert cells is not None
        return EncodedImages(
            self.local_head(cells.flatten(2).transpose(1, 2)), self.global_head(self.backbone.pool(features))
        )

    def texts(self, tokens: Any, mask: Any, index: Any) -> EncodedTexts:
        words, counted = self.word_head(self.bert(tokens, mask)), index > 0
        mean = (words * counted[..., None]).sum(1) / counted.sum(1, keepdim=True).clamp_min(1)
        return EncodedTexts(words, counted, mean)

    def similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        first, second = (F.normalize(part.whole.float(), dim=1) for part in (images, texts))
        return first @ second.T / self.config.temperature

    def local_similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        config = self.config
        near = word_region_similarity(
            images.regions, texts.parts, texts.present, config.attention_temperature, config.word_temperature
        )
        return near / config.temperature

    def reading(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t s r"]:
        regions, words = (F.normalize(part.float(), dim=2) for part in (images.regions, texts.parts))
        scores = torch.einsum("brd,tsd->btsr", regions, words) / self.config.attention_temperature
        return scores.softmax(3)


class GLoRIAStage(PairStage):
    """Both losses over the same pairs."""

    name = "align"

    def __init__(self, network: GLoRIAModel, config: GLoRIAConfig) -> None:
        super().__init__(config.min_sentences)
        self.network, self.config = network, config

    def model(self) -> ImageTextModel:
        return self.network

    def updates(self) -> Sequence[Update]:
        return [Update(self.name, list(self.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        tokens, mask, index = report_of(batch)
        same = same_reports(tokens) if config.same_reports == "excluded" else None
        images, texts = self.network.images(batch["image"]), self.network.texts(tokens, mask, index)
        losses = {}
        if config.global_weight:
            losses["global"] = config.global_weight * image_text_contrast(
                images.whole,
                texts.whole,
                1 / config.temperature,
                present=texts.present.any(1),
                same=same,
            )
        if config.local_weight:
            temperatures = (config.attention_temperature, config.word_temperature, config.temperature)
            local = word_region_contrast(images.regions, texts.parts, texts.present, temperatures, same=same)
            losses["local"] = config.local_weight * local
        return reaching_all(losses, self)


class GLoRIA(ImageTextMethod):
    """Pre-trains an image network on reports, word by word."""

    name: ClassVar[str] = "gloria"
    summary: ClassVar[str] = "pre-train any image network on reports: align wholes, and words with regions"
    source: ClassVar[str] = "Huang et al., ICCV 2021"
    Config: ClassVar[type[MethodConfig]] = GLoRIAConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"align": {}}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50"}

    def __init__(self, config: GLoRIAConfig, context: Context) -> None:
        super().__init__(config, context)
        self.image_backbone = context.backbone()
        network = GLoRIAModel(self.image_backbone, self.bert(config, context), config)
        self.pair_stages = (GLoRIAStage(network, config),)
