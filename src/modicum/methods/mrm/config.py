"""Settings of MRM and MAE. Defaults are those of the papers' published code; sources are in the descriptions."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from modicum.methods.base import MethodConfig

# Pre-training as published for MRM: effective batch 256, base learning rate 1.5e-4 for 256 images, 200 epochs of
# MIMIC-CXR. No decay on one-dimensional tensors: the stage's parameter groups say so.
TRAINING: Mapping[str, Any] = {
    "epochs": 200,
    "batch_size": 256,
    "lr": 1.5e-4,
    "betas": (0.9, 0.95),
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup_epochs": 40,
    "clip_norm": 0.0,
    "select": "last",
    "augment": [{"name": "random_resized_crop", "area": [0.2, 1.0]}, {"name": "horizontal_flip"}],
}

# Masked autoencoding as published (appendix A.1, table 8): the same optimiser, with an effective batch of 4096 and the
# learning rate times 16 for it; 800 epochs.
MAE_TRAINING: Mapping[str, Any] = {**TRAINING, "epochs": 800}


class MaeConfig(MethodConfig):
    """Settings of masked autoencoding of images (He et al., CVPR 2022, arXiv 2111.06377)."""

    image_mask_ratio: float = Field(0.75, gt=0, lt=1, description="Share of the patches that are hidden.")
    normalise_target: bool = Field(
        True, description="Predict each patch without its mean and divided by its deviation."
    )
    target_scale: Literal[1, 2] = Field(
        1,
        description="How much larger than the network's input the predicted image is: 1 (MAE), or 2, whose patches show "
        "the same field in twice the detail (MRM).",
    )
    decoder_width: int = Field(512, ge=4, multiple_of=4, description="Features of a token in the decoder.")
    decoder_depth: int = Field(8, ge=1, description="Blocks of the decoder.")
    decoder_heads: int = Field(16, ge=1, description="Attention heads of a decoder's block.")
    positions: Literal["sincos", "kept"] = Field(
        "sincos",
        description="Fixed position embeddings of the encoder: sines and cosines (as published), or kept, those of the "
        "weights it starts from.",
    )
    mean: tuple[float, ...] = Field(
        (0.4978,), description="Subtracted from images in [0, 1]; one number for all channels (MRM)."
    )
    std: tuple[float, ...] = Field(
        (0.2449,), description="Divides images; one number for all channels (MRM)."
    )
    antialias: bool = Field(
        True,
        description="Smooth the image before it is halved for the network's input. The published code did not, as the "
        "torchvision of its time could not.",
    )


class MrmConfig(MaeConfig):
    """Settings of masked record modelling (Zhou et al., ICLR 2023, arXiv 2301.13155)."""

    target_scale: Literal[1, 2] = Field(
        2, description="How much larger than the network's input the predicted image is."
    )
    decoder_width: int = Field(768, ge=4, multiple_of=4, description="Features of a token in the decoder.")
    decoder_depth: int = Field(4, ge=1, description="Blocks of the decoder.")
    decoder_heads: int = Field(6, ge=1, description="Attention heads of a decoder's block.")
    report_mask_ratio: float = Field(
        0.5, gt=0, le=1, description="Share of a report's words that are hidden."
    )
    report_positions: Literal["masked", "all"] = Field(
        "masked",
        description="Tokens that the report's loss is the mean of: masked (the paper), or all positions of the batch, "
        "visible words and padding included (the published code). The values are not comparable.",
    )
    report_length: int = Field(100, ge=3, description="Tokens of a report; longer ones are cut.")
    report_width: int = Field(384, ge=1, description="Features of a report's token.")
    report_depth: int = Field(6, ge=1, description="Layers of the report's encoder.")
    report_heads: int = Field(6, ge=1, description="Attention heads of a layer of the report's encoder.")
    report_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of features and attention weights set to zero in the report's encoder.",
    )
    tied_output: bool = Field(
        False, description="Share the word embeddings with the output layer; the published code does not."
    )
    pooler: bool = Field(
        False,
        description="Have the published network's unused pooling layer, for parity of parameter counts.",
    )
    image_weight: float = Field(1.0, ge=0, description="Weight of the image's loss.")
    report_weight: float = Field(1.0, ge=0, description="Weight of the report's loss.")
