"""Settings of RegGAN. Defaults are the paper's and its release's; sources in brackets are the paper's sections."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from modicum.methods.base import MethodConfig

Mode = Literal["p", "nc", "nc+r", "c", "c+r"]
BaseName = Literal["resnet", "nice_gan", "unit", "munit"]
FakeSource = Literal["fresh", "same", "pool"]

PUBLISHED_BLOCKS: Mapping[str, int] = {"resnet": 9, "nice_gan": 6, "unit": 4, "munit": 4}
RELEASE_BLOCKS = 7
"""Of NICE-GAN's generator in RegGAN's release."""

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
    "select": "last",
}


class RegGanConfig(MethodConfig):
    """Settings of RegGAN and of the translators that it is compared with."""

    mode: Mode = Field(
        "nc+r",
        description="p: Pix2Pix (pairs pixel by pixel). nc: adversarial loss alone. c: CycleGAN. +r: with registration; "
        "nc+r is RegGAN.",
    )
    base: BaseName = Field(
        "resnet",
        description="Networks and losses that registration is added to: CycleGAN's (resnet), NICE-GAN's, UNIT's or "
        "MUNIT's. Mode p is for resnet alone.",
    )

    # --- weights of losses
    adversarial_weight: float = Field(1.0, ge=0, description="Weight of the adversarial loss of generators.")
    correction_weight: float = Field(
        20.0, ge=0, description="Weight of the mean difference of the moved translation and the target (+r)."
    )
    smoothness_weight: float = Field(
        10.0, ge=0, description="Weight of the displacement field's squared changes, in pixels (+r)."
    )
    cycle_weight: float = Field(
        10.0, ge=0, description="Weight of the mean difference after a cycle (c; unit)."
    )
    pixel_weight: float = Field(100.0, ge=0, description="Weight of the mean difference of the pair (p).")
    reconstruction_weight: float = Field(
        10.0,
        ge=0,
        description="Weight of the mean difference of images and what their own kind's networks make of them "
        "(unit and munit; nice_gan in c, where the release calls it identity).",
    )
    kl_weight: float = Field(0.01, ge=0, description="Weight of the mean square of codes (unit).")
    code_weight: float = Field(
        1.0, ge=0, description="Weight of the mean differences of contents and styles found again (munit)."
    )
    munit_adversarial: Literal["corrected", "published"] = Field(
        "corrected",
        description="published: MUNIT's adversarial loss has the weight of the cycle in nc+r, as in the release, most "
        "likely by mistake.",
    )

    # --- networks
    width: int = Field(64, ge=1, description="Channels of generators at full size.")
    blocks: int | None = Field(
        None,
        ge=0,
        description="Residual blocks of generators: 9 for resnet, 6 for nice_gan (7 in the release), 4 for unit and "
        "munit.",
    )
    full_generator: bool = Field(
        False,
        description="nice_gan: scales and shifts from every position of the features instead of their means; 268 million "
        "parameters more at 256 pixels. NICE-GAN's release has both, RegGAN's this one.",
    )
    networks: Literal["light", "release"] = Field(
        "light",
        description="nice_gan: its paper's smaller setting (light), or those of RegGAN's release: full_generator with 7 "
        "blocks (277,648,960 parameters at 256 pixels); in modes without a cycle, edges repeated instead of mirrored, "
        "and a discriminator of half the width.",
    )
    discriminator_width: int = Field(
        64, ge=1, description="Channels of a discriminator after its first convolution."
    )
    registration_width: int = Field(
        32, ge=1, description="Channels of the registration network at full size; twice as many below."
    )
    registration_depth: int | None = Field(
        None, ge=1, description="How often registration halves the images; by their size (7 from 256 pixels)."
    )

    # --- registration
    field: Literal["displacement", "velocity"] = Field(
        "displacement",
        description="What the registration network gives: displacements (the paper), or velocities that are followed to "
        "displacements without folds. The smoothness loss is on the displacements either way.",
    )
    anchor_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of what pulls the mean displacement of all images to 0, in pixels; 0: nothing ties the "
        "translation to the position of its source (the paper). About 0.4 where the registration itself is needed.",
    )
    correction: Literal["mean", "foreground"] = Field(
        "mean",
        description="Pixels that the correction loss looks at: all alike (the paper), or those of the target's "
        "background (exactly 0) less.",
    )
    background_weight: float = Field(
        0.1, gt=0, le=1, description="Weight of a background pixel with correction: foreground."
    )

    # --- discriminators
    scores: Literal["mean", "patches"] = Field(
        "mean",
        description="What the adversarial losses of resnet see: the mean of an image's patch scores (the release), or "
        "each patch score (CycleGAN, Pix2Pix). The other bases' see patches.",
    )
    penalty: Literal["none", "r1", "interpolation"] = Field(
        "none",
        description="Penalty on a discriminator's gradient: at real images (r1), or where it is not 1 between real and "
        "generated images (interpolation, as WGAN-GP).",
    )
    penalty_weight: float = Field(10.0, ge=0, description="Weight of the penalty (10 in both papers).")
    fakes: Literal["published", "fresh", "same", "pool"] = Field(
        "published",
        description="Translations that discriminators learn from: fresh, generated again after the generator's step (as "
        "published for p, nc+r and all bases but resnet); pool, mixed with earlier ones (resnet's nc, c, c+r); same, "
        "those of the generator's step, which saves a pass.",
    )
    pool_size: int = Field(50, ge=1, description="Translations in the pool.")

    @model_validator(mode="after")
    def _networks_of_the_base(self) -> "RegGanConfig":
        if self.networks == "release" and self.base != "nice_gan":
            raise ValueError(
                f"networks 'release' is for base 'nice_gan'; those of base '{self.base}' are the release's already"
            )
        return self

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
        """Whether a registration network learns with the generator."""
        return self.mode.endswith("+r")

    @property
    def blocks_of_base(self) -> int:
        """Residual blocks, resolved."""
        if self.blocks is not None:
            return self.blocks
        return RELEASE_BLOCKS if self.networks == "release" else PUBLISHED_BLOCKS[self.base]

    @property
    def fakes_of_mode(self) -> FakeSource:
        """Where the discriminators' translations come from, resolved."""
        if self.fakes != "published":
            return self.fakes
        return "pool" if self.base == "resnet" and self.mode not in ("p", "nc+r") else "fresh"
