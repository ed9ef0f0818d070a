"""Settings of PRIOR. Defaults are those of the published code, except the sizes of the text network."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from modicum.errors import InputError
from modicum.methods.image_text import TextConfig

# The released pre-training: 98 images on each of 6 GPUs.
TRAINING: Mapping[str, Any] = {
    "batch_size": 98,
    "weight_decay": 1e-6,
    "schedule": "cosine",
    "clip_norm": 0.0,
    "select": "last",
    "augment": [{"name": "rotate", "degrees": [-5.0, 5.0]}],
}
STAGE_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "align": {"epochs": 20, "lr": 1e-5, "warmup_epochs": 1},
    "prototype": {"epochs": 30, "lr": 1e-5, "warmup_epochs": 1},
    "reconstruct": {"epochs": 100, "lr": 5e-6, "warmup_epochs": 5},
}


class PriorConfig(TextConfig):
    """Settings of PRIOR (Cheng et al., ICCV 2023, arXiv 2307.12577)."""

    width: int = Field(768, ge=1, description="Features of regions, sentences and wholes.")
    heads: int = Field(8, ge=1, description="Attention heads of the pools.")
    temperature: float = Field(
        0.01, gt=0, description="Of similarities at the start; learned, 0.01 at least."
    )
    regions: Literal["ordered", "scrambled"] = Field(
        "ordered",
        description="Local features of an image: cells of its feature map, or scrambled as in the release (for its "
        "weights).",
    )
    prototypes: int = Field(512, ge=2, description="Prototypes of sentences.")
    prototype_temperature: float = Field(
        0.9, gt=0, description="Of the softmax over prototypes; fixed, as published."
    )
    queries: int = Field(16, ge=1, description="Sentences of a report that are reconstructed.")
    decoder_depth: int = Field(8, ge=1, description="Layers of the decoder of sentences.")
    decoder_heads: int = Field(12, ge=1, description="Attention heads of the decoder of sentences.")
    last_stage: Literal["align", "prototype", "reconstruct"] = Field(
        "reconstruct", description="The stage to stop after."
    )
    global_weight: float = Field(1.0, ge=0, description="Weight of global alignment.")
    reconstruct_global_weight: float = Field(
        10.0, ge=0, description="Weight of global alignment in the last stage."
    )
    local_image_weight: float = Field(1.0, ge=0, description="Weight of local alignment of regions.")
    local_text_weight: float = Field(1.0, ge=0, description="Weight of local alignment of sentences.")
    prototype_weight: float = Field(
        10.0, ge=0, description="Weight of the distance of sentences to their prototypes."
    )
    image_weight: float = Field(1.0, ge=0, description="Weight of the reconstructed image.")
    sentence_weight: float = Field(10.0, ge=0, description="Weight of the reconstructed sentences.")
    divergence_weight: float = Field(
        1.0, ge=0, description="Weight of the divergence of reconstructed sentences over prototypes."
    )
    report_weight: float = Field(
        1.0, ge=0, description="Weight of the global alignment of reconstructed with true reports."
    )
    compat_layout: bool = Field(
        False,
        description="Have the release's unused tensors (a pooler, a projection, a table of words): parity of counts.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "PriorConfig":
        if not (self.global_weight or self.local_image_weight or self.local_text_weight):
            raise InputError(
                "global_weight, local_image_weight and local_text_weight are 0: the first stage would learn nothing",
                "leave one of them at 1",
            )
        if self.queries > self.max_sentences and self.last_stage == "reconstruct":
            raise InputError(
                f"queries is {self.queries}, and reports have {self.max_sentences} sentences at most (max_sentences)",
                f"set queries to {self.max_sentences} or less",
            )
        return self
