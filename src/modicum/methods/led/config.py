"""Settings of LED. Defaults are the release's; what it does not have says so."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from modicum.methods.led.cut_stage import CutSettings
from modicum.methods.led.pair_source import Degrade, PairSettings
from modicum.nn.noise_schedule import TIMES, Prediction, Weighting

FLIPS: list[dict[str, Any]] = [{"name": "horizontal_flip", "p": 0.5}, {"name": "vertical_flip", "p": 0.5}]
"""The same draw for the image and what it is to become."""

CAUTION = "AI-enhanced image: structures may have been invented or removed"


class LedConfig(CutSettings, PairSettings):
    """Settings of LED."""

    degrade: Degrade = Field(
        "learned",
        description="Where poor twins of the targets come from: learned from the two pools (stage degrade), classical "
        "(uneven light, spots, blur), mixed (either, by chance), or pairs (the images of the data themselves).",
    )
    unet_channels: tuple[int, ...] = Field(
        (128, 128, 256, 256, 512, 512),
        min_length=1,
        description="Channels of the U-Net's levels, from full size on.",
    )
    attention_levels: tuple[int, ...] = Field((5,), description="Levels with attention, from 1 on.")
    blocks_per_level: int = Field(2, ge=1, description="Residual blocks of a level on the way down.")
    head_size: int = Field(8, ge=1, description="Channels of an attention head.")
    zero_init: bool = Field(
        False, description="Whether the last convolution begins at 0 (not in the release)."
    )
    checkpointing: bool = Field(
        False, description="Whether activations are computed twice instead of kept: less memory, more time."
    )
    prediction: Prediction = Field(
        "epsilon",
        description="What the network predicts: the noise (epsilon), the image (sample), or v, between them.",
    )
    weighting: Weighting = Field(
        "published",
        description="Of errors at different times. published: all alike; of sample, by the signal-to-noise ratio. "
        "min_snr: by that ratio, cut at snr_clip (not in the release).",
    )
    snr_clip: float = Field(5.0, gt=0, description="Largest signal-to-noise ratio of min_snr.")
    zero_terminal_snr: bool = Field(
        False,
        description="Whether nothing of the image is left at the last time (not in the release; not with epsilon).",
    )
    sampler: Literal["ddim", "dpm_solver"] = Field(
        "ddim", description="ddim, or dpm_solver (DPM-Solver++, second order), which needs fewer steps."
    )
    steps: int = Field(50, ge=1, le=TIMES, description="Sampling steps.")
    placement: Literal["published", "inside"] = Field(
        "published",
        description="published: steps over all times, of which those above the start are left out (50 from 800: 41). "
        "inside: all of them between the start and 0.",
    )
    start: int = Field(
        800,
        ge=0,
        lt=TIMES,
        description="Time from which images are enhanced (T_m): larger changes more, and invents more.",
    )
    start_behind: int = Field(
        200,
        ge=0,
        lt=TIMES,
        description="The same where the images are another run's outputs (predict --after).",
    )
    samples: int = Field(1, ge=1, description="Samples of each image, of which the mean is taken.")
    field_of_view: bool = Field(
        True,
        description="Whether enhanced images are black outside the field of view that is found in the image.",
    )

    @field_validator("unet_channels")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("channels are numbers from 1 on")
        return value

    @model_validator(mode="after")
    def _can_start(self) -> "LedConfig":
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "with zero_terminal_snr the noise says nothing of the image at the last time; set prediction to v"
            )
        return self
