"""The method ``prior``: three stages over shared networks, and what is used of them afterwards."""

from collections.abc import Mapping
from typing import Any, ClassVar

from modicum.methods.base import Context, MethodConfig
from modicum.methods.image_text import ImageTextMethod, PairStage
from modicum.methods.prior.config import STAGE_TRAINING, TRAINING, PriorConfig
from modicum.methods.prior.stages import AlignStage, PrototypeStage, ReconstructStage
from modicum.nn import (
    CrossModalReconstruction,
    PriorNetwork,
    RegionEncoder,
    SentenceEncoder,
    SentencePrototypes,
)


class Prior(ImageTextMethod):
    """Pre-trains an image network and a text network on radiographs with their reports."""

    name: ClassVar[str] = "prior"
    summary: ClassVar[str] = (
        "pre-train any image network on reports: align wholes and parts through prototypes of sentences"
    )
    source: ClassVar[str] = "Cheng et al., ICCV 2023 (arXiv 2307.12577)"
    Config: ClassVar[type[MethodConfig]] = PriorConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = STAGE_TRAINING
    backbone: ClassVar[Mapping[str, Any]] = {"name": "resnet50", "mean": [0.4755] * 3, "std": [0.3011] * 3}

    def __init__(self, config: PriorConfig, context: Context) -> None:
        super().__init__(config, context)
        self.image_backbone = context.backbone()
        self.network = PriorNetwork(
            RegionEncoder(self.image_backbone, config.width, config.heads, config.regions),
            SentenceEncoder(
                self.bert(config, context, pooler=config.compat_layout),
                config.width,
                config.heads,
                config.max_sentences,
                dead_projection=config.compat_layout,
            ),
            config.width,
            config.temperature,
        )
        self.pair_stages = tuple(self._stages(config, context))

    def _stages(self, config: PriorConfig, context: Context) -> list[PairStage]:
        """Banks and decoders are made for the stages that have them."""
        stages: list[PairStage] = [AlignStage(self.network, config)]
        if config.last_stage == "align":
            return stages
        bank = SentencePrototypes(config.prototypes, config.width, config.prototype_temperature)
        stages.append(PrototypeStage(self.network, config, bank))
        if config.last_stage == "prototype":
            return stages
        vocabulary = context.task.vocabulary  # type: ignore[attr-defined]
        decoders = CrossModalReconstruction(
            self.network.images.grid,
            context.image_size,
            config.width,
            config.queries,
            config.decoder_depth,
            config.decoder_heads,
            config.regions,
            vocabulary.size if config.compat_layout else 0,
        )
        return [*stages, ReconstructStage(self.network, config, bank, decoders)]
