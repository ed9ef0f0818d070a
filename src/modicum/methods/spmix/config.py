"""Settings of SPMix. Defaults are those of the paper and its code, where a description says nothing else."""

from typing import Any, Literal

from pydantic import Field

from modicum.methods.base import MethodConfig

Mix = Literal["auto", "tokens", "features", "pixels", "none"]
Foreground = Literal["balanced", "natural"]
Guide = Literal["both", "foreground", "constant", "shuffled"]
Saliency = Literal["fine_grained", "spectral_residual", "column", "mask"]


class ContrastConfig(MethodConfig):
    """Settings of supervised contrast of two views with class centres."""

    temperature: float = Field(0.2, gt=0, description="Of the similarities.")
    same_class_weight: float = Field(
        0.05,
        ge=0,
        description="Weight of each image of the same class beside that of the class's centre, 1 (alpha).",
    )
    others_weight: float = Field(1.0, ge=0, description="Weight of other images in the denominator (gamma).")
    queue: int = Field(
        8192, ge=0, description="Vectors of earlier batches to contrast with; 0 for none. Any length."
    )
    query_augment: str | list[dict[str, Any]] = Field(
        "skin_query", description="Augmentation of the first view: a preset's name, or a list of operations."
    )
    key_augment: str | list[dict[str, Any]] = Field(
        "skin_key", description="Augmentation of the second view: a preset's name, or a list of operations."
    )


class GPaCoConfig(ContrastConfig):
    """Settings of GPaCo."""

    contrast: bool = Field(
        True,
        description="Whether GPaCo's loss trains two views of each image; false: the task's loss (--set loss=...) trains "
        "one view.",
    )
    projection: int = Field(256, ge=1, description="Dimensions in which images are compared.")
    projection_width: int = Field(4096, ge=1, description="Of the hidden layers of projector and predictor.")


class SPMixConfig(GPaCoConfig):
    """Settings of SPMix."""

    mix: Mix = Field(
        "auto",
        description="What is mixed: patch tokens of a transformer (tokens, as published), the feature map of stride 16 "
        "of a CNN (features), pixels, or nothing (none). auto: tokens where the backbone has some, else pixels.",
    )
    foreground: Foreground = Field(
        "balanced",
        description="Which images keep their labels: those of a class-balanced sampler on backgrounds as they come "
        "(balanced, the paper), or the other way round (natural, its released code). The loss's class prior follows.",
    )
    guide: Guide = Field(
        "both",
        description="What decides the shares: saliency of both images (as published), of the foreground alone, a "
        "constant of 0.5, or, as a control, saliency of other images of the batch (shuffled).",
    )
    alpha: float = Field(0.8, ge=0.5, le=1, description="The foreground's largest share of a patch.")
    strict: bool = Field(
        False,
        description="Whether only images of a rarer class than their background's are mixed; others stay as they are.",
    )
    saliency_by: Saliency = Field(
        "fine_grained",
        description="Where saliency comes from: computed (fine_grained: differences from surroundings; "
        "spectral_residual), maps in the column saliency (column), or lesion masks in the column mask.",
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Half width of uniform noise on normalised saliency maps; 0.5 in the released code, which makes flat "
        "maps random.",
    )
    patch: int = Field(16, ge=1, description="Side of a patch in pixels, where pixels are mixed.")
