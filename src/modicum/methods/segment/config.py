"""Settings of supervised segmentation."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from modicum.methods.base import MethodConfig
from modicum.tasks.segmentation.loss_choice import LossWords

TRAINING: Mapping[str, Any] = {
    "augment": "segmentation", "batch_size": 8, "lr": 1e-3, "weight_decay": 0.0, "epochs": 40, "repeats_per_epoch": 8,
}  # fmt: skip
"""Batch, learning rate, decay and augmentation are those of the baseline in AADG (Lyu et al., IEEE TMI 2022). An epoch
passes through the images several times, as segmentation has few of them and validates at full size."""


class SegmentConfig(MethodConfig):
    """Settings of supervised segmentation. The encoder is the run's backbone."""

    architecture: Literal["unet", "deeplabv3plus", "segformer", "upernet", "fpn"] = Field(
        "unet", description="The decoder; vision transformers serve upernet alone."
    )
    decoder_width: int = Field(
        256,
        ge=4,
        description="Channels of the decoder; of unet's first of five levels, which halve them down to 4; multiples of "
        "64 for fpn.",
    )
    encoder_lr_scale: float = Field(
        1.0, gt=0, description="Learning rate of the encoder as a multiple of the decoder's."
    )
    patch: int | None = Field(
        256,
        ge=32,
        description="Side in pixels of the windows that are learned from, at most the image's; null for whole images. "
        "AADG: 256.",
    )
    tile: int | None = Field(
        None,
        ge=64,
        description="Side in pixels of overlapping tiles in which larger images are predicted, where memory does not "
        "hold them whole; null for whole images.",
    )
    loss: LossWords = Field(
        "auto",
        description="Parts joined by +, each with a factor where it is not 1: dice+bce, 2*focal+dice, "
        "dice+bce+0.5*cldice. auto: dice+bce, or dice+cross_entropy for classes that exclude each other. AADG: bce.",
    )
    flips: bool = Field(
        False, description="Predict each image also mirrored, and average; takes four times as long."
    )
    mixup: float = Field(
        0.0, ge=0, description="Alpha of mixup (Zhang et al., ICLR 2018: 0.1 to 0.4); 0 for none."
    )
    mixstyle: float = Field(
        0.0, ge=0, le=1, description="Probability of MixStyle (Zhou et al., ICLR 2021: 0.5); 0 for none."
    )
