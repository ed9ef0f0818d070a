"""Settings of AADG. Defaults are the paper's and its release's; where the release has a defect, the default avoids it.

Symbols of the paper: M policies of Q sub-policies of L operations each.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from modicum.errors import did_you_mean
from modicum.methods.base import MethodConfig
from modicum.tasks.segmentation.loss_choice import LossWords
from modicum.transforms import POLICY_OPERATIONS

# The training loop as published for vessels: Adam without weight decay or clipping, eight images of each of three
# domains. Optic disc and cup: 150 epochs of one pass.
TRAINING: Mapping[str, Any] = {
    "epochs": 300,
    "batch_size": 24,
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "clip_norm": 0.0,
    "augment": "none",
    "sampling": "round_robin",
    "repeats_per_epoch": 3,
}


class AadgConfig(MethodConfig):
    """Settings of the network, of the search, of its reward and of the corrections of the release.

    The encoder is the run's backbone.
    """

    architecture: Literal["deeplabv3plus", "unet", "segformer", "upernet", "fpn"] = Field(
        "deeplabv3plus", description="The decoder; vision transformers serve upernet alone."
    )
    decoder_width: int = Field(
        256,
        ge=4,
        description="Channels of the decoder; of unet's first of five levels, which halve them down to 4; multiples of "
        "64 for fpn.",
    )
    loss: LossWords = Field(
        "auto",
        description="Parts joined by +, each with a factor where it is not 1: dice+bce, 2*focal+dice. auto: bce as in "
        "the paper, cross_entropy for classes that exclude each other.",
    )
    scale: tuple[float, float] = Field(
        (0.5, 2.0),
        description="Limits of the random factors of width and height, after the policies (paper: 0.5 to 2 for "
        "vessels, 1 to 1.5 for optic disc and cup).",
    )
    scale_probability: float = Field(0.8, ge=0, le=1, description="Share of images that are scaled.")
    placement: Literal["anywhere", "release"] = Field(
        "anywhere",
        description="Where images smaller than their window are put: anywhere in it, or within 5 pixels of its centre, "
        "as in the release.",
    )
    patch: int | None = Field(
        256,
        ge=32,
        description="Side in pixels of the windows that are learned from, at most the image's; null for whole images.",
    )
    tile: int | None = Field(
        None,
        ge=64,
        description="Side in pixels of overlapping tiles in which larger images are predicted, where memory does not "
        "hold them whole; null for whole images.",
    )
    flips: bool = Field(
        False, description="Predict each image also mirrored, and average; takes four times as long."
    )
    search_after: int | None = Field(
        None,
        ge=0,
        description="Epochs of plain training before the search; null for a fifth of all epochs, as in the paper.",
    )
    search_lr_factor: float = Field(
        0.1, gt=0, description="What the segmentation network's learning rate is multiplied by in the search."
    )
    policies: int = Field(6, ge=2, description="Policies an epoch, and copies of each image (M).")
    sub_policies: int = Field(5, ge=1, description="Sub-policies of a policy (Q).")
    length: int = Field(2, ge=1, description="Operations of a sub-policy, one after another (L).")
    magnitudes: int = Field(10, ge=2, description="Bins of an operation's magnitude.")
    exclude: tuple[str, ...] = Field((), description="Operations that the search leaves out.")
    drop_operations: int = Field(
        0, ge=0, description="Further operations that the search leaves out, drawn with the run's seed."
    )
    temperature: float = Field(2.0, gt=0, description="Divides the controller's squashed logits (T).")
    bound: float = Field(2.5, gt=0, description="Largest size of a squashed logit before that (C).")
    controller_width: int = Field(100, ge=1, description="Units of the controller's LSTM.")
    controller_embedding: int = Field(32, ge=1, description="Size of the embedding of a decision.")
    controller_lr: float = Field(3.5e-4, gt=0, description="Learning rate of the controller's Adam.")
    learner: Literal["ppo", "reinforce"] = Field(
        "ppo", description="How the controller learns from rewards; reinforce takes one step an epoch."
    )
    ppo_steps: int = Field(5, ge=1, description="Steps of PPO an epoch, on the same policies.")
    ppo_clip: float = Field(0.2, gt=0, lt=1, description="How far PPO follows a policy's likelihood ratio.")
    entropy_weight: float = Field(1e-5, ge=0, description="Weight of the entropy bonus.")
    ppo_entropy: bool = Field(
        False,
        description="Whether PPO has the entropy bonus too. The release computes it and leaves it out; Adam would follow "
        "it alone, at full rate, wherever rewards are equal.",
    )
    blur: float = Field(
        0.05, gt=0, description="Scale of the Sinkhorn divergence, squared its regularisation."
    )
    discriminator_lr: float = Field(1e-3, gt=0, description="Learning rate of the discriminator of domains.")
    discriminator_width: int = Field(
        128, ge=1, description="Size of the feature that rewards are taken from."
    )
    momentum: float = Field(
        0.999, ge=0, le=1, description="What the discriminator's slow copy keeps of itself in an epoch."
    )
    chunk: int = Field(
        0,
        ge=0,
        description="Images in a pass of the network, made again for the backward pass: less memory, a third more time. "
        "0: all at once. Not with batch normalisation, whose statistics are the whole batch's.",
    )
    cutout_labels: Literal["keep", "erase"] = Field(
        "keep",
        description="Whether the truth under a cutout stays (as in the release, whose scaling step brings it back) or "
        "becomes background, as its Cutout means to.",
    )
    soft_labels: Literal["whole", "release"] = Field(
        "whole",
        description="whole: soft domain labels add up to 1. release: those of the last domain do not (0.975 on average).",
    )
    first_copy: Literal["separate", "shared"] = Field(
        "separate",
        description="separate: the slow copy is a copy. shared: during the first epoch of the search it is the "
        "discriminator itself, as in the release.",
    )

    @field_validator("exclude")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in POLICY_OPERATIONS:
                raise ValueError(f"unknown operation '{name}'; {did_you_mean(name, POLICY_OPERATIONS)}")
        return names

    @field_validator("scale")
    @classmethod
    def _grows(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0 < limits[0] <= limits[1]:
            raise ValueError("give two numbers above 0, the smaller first, such as [0.5, 2.0]")
        return limits

    @model_validator(mode="after")
    def _something_to_choose(self) -> "AadgConfig":
        if len(self.operations) < 2:
            raise ValueError(
                f"excluding {', '.join(self.exclude)} leaves nothing to choose from; exclude fewer"
            )
        maximum = len(self.operations) - 2
        if self.drop_operations > maximum:
            raise ValueError(
                f"dropping {self.drop_operations} of {len(self.operations)} operations leaves nothing to choose from; at "
                f"most {maximum}"
            )
        return self

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations that the search chooses from."""
        return tuple(name for name in POLICY_OPERATIONS if name not in self.exclude)
