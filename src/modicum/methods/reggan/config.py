"""Settings of RegGAN. Defaults are the paper's and its release's; sources in brackets are the paper's sections."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from modicum.methods.base import MethodConfig

Mode = Literal["p", "nc", "nc+r", "c", "c+r"]

# The training loop as published: Adam without weight decay, clipping or a schedule.
TRAINING: Mapping[str, Any] = {
    "epochs": 80,
    "batch_size": 1,
    "lr": 1e-4,
    "betas": (0.5, 0.999),
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "clip_norm": 0.0,
    "augment": "none",
}


class RegGanConfig(MethodConfig):
    """Settings of RegGAN and of the translators that it is compared with."""

    mode: Mode = Field(
        "nc+r",
        description="p: Pix2Pix (pairs pixel by pixel). nc: adversarial loss alone. c: CycleGAN. +r: with registration; "
        "nc+r is RegGAN.",
    )
    adversarial_weight: float = Field(1.0, ge=0, description="Weight of the adversarial loss of generators.")
    correction_weight: float = Field(
        20.0, ge=0, description="Weight of the mean difference of the moved translation and the target (+r)."
    )
    smoothness_weight: float = Field(
        10.0, ge=0, description="Weight of the displacement field's squared changes, in pixels (+r)."
    )
    cycle_weight: float = Field(10.0, ge=0, description="Weight of the mean difference after a cycle (c).")
    pixel_weight: float = Field(100.0, ge=0, description="Weight of the mean difference of the pair (p).")
    width: int = Field(64, ge=1, description="Channels of the generator after its first convolution.")
    blocks: int = Field(9, ge=0, description="Residual blocks of the generator.")
    discriminator_width: int = Field(
        64, ge=1, description="Channels of a discriminator after its first convolution."
    )
    registration_width: int = Field(
        32, ge=1, description="Channels of the registration network at full size; twice as many below."
    )
    registration_depth: int | None = Field(
        None, ge=1, description="How often registration halves the images; by their size (7 from 256 pixels)."
    )
    scores: Literal["mean", "patches"] = Field(
        "mean",
        description="What the adversarial losses see: the mean of an image's patch scores (the release), or each patch "
        "score (CycleGAN, Pix2Pix).",
    )
    fakes: Literal["published", "fresh", "same", "pool"] = Field(
        "published",
        description="Translations that discriminators learn from: fresh, made again after the generator's step (as "
        "published for p and nc+r); pool, mixed with earlier ones (nc, c, c+r); same, those of the generator's step, "
        "which saves a pass.",
    )
    pool_size: int = Field(50, ge=1, description="Translations in the pool.")

    @property
    def pairwise(self) -> bool:
        """Whether pairs are compared pixel by pixel, and the discriminator sees the source too."""
        return self.mode == "p"

    @property
    def cycle(self) -> bool:
        """Whether a second generator translates back."""
        return self.mode in ("c", "c+r")

    @property
    def registration(self) -> bool:
        """Whether a registration network learns beside the generator."""
        return self.mode.endswith("+r")

    @property
    def fakes_of_mode(self) -> Literal["fresh", "same", "pool"]:
        """Where the discriminators' translations come from, resolved."""
        if self.fakes != "published":
            return self.fakes
        return "fresh" if self.mode in ("p", "nc+r") else "pool"
