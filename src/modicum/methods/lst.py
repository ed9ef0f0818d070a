"""Ladder side tuning: a ladder of narrow blocks that reads every block of a frozen vision transformer."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from modicum.errors import InputError
from modicum.methods.adapted import AdaptedMethod
from modicum.methods.base import MethodConfig
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit, vit_shape
from modicum.nn.side_paths import LadderSide, replace_blocks


class LSTConfig(MethodConfig):
    """Settings of ladder side tuning."""

    reduction: int = Field(8, ge=1, description="How many times narrower the ladder is (paper: 8).")
    temperature: float = Field(0.1, gt=0, description="Temperature of the gates (paper: 0.1).")


class LST(AdaptedMethod):
    """Trains a ladder of narrow blocks, their gates, and a head.

    The paper's networks are language models and VL-T5. Chosen here for vision transformers: narrow blocks of the
    same kind with heads of 32 features; new weights, where the paper starts from pruned ones of the backbone; all
    layers kept (the paper may drop some). As in the paper the output of the ladder, projected up, takes the place
    of the backbone's; the backbone's (frozen) final norm and pooling follow.

    Learns ``depth * (12 w^2 + 13 w) + (depth + 1) * (D + 1) w + depth + 2 w + (w + 1) D`` numbers besides the head,
    with ``w = D / reduction``: 2,376,492 for ViT-B.
    """

    name: ClassVar[str] = "lst"
    summary: ClassVar[str] = (
        "learn a ladder of narrow blocks next to a frozen vision transformer; little memory"
    )
    source: ClassVar[str] = "Sung et al., LST: Ladder Side-Tuning, NeurIPS 2022 (arXiv 2206.06522)"
    Config: ClassVar[type[MethodConfig]] = LSTConfig
    # The paper's 3e-3 (GLUE, AdamW) is for a ladder that starts from pruned weights.
    training: ClassVar[Mapping[str, Any]] = {"epochs": 20, "batch_size": 16, "lr": 1e-3}
    config: LSTConfig

    def adapt(self, backbone: Backbone) -> Iterable[nn.Module]:
        body, config = plain_vit(backbone, self.name), self.config
        width = vit_shape(body).width
        if width % config.reduction:
            raise InputError(
                f"reduction={config.reduction} does not divide the width {width} of '{backbone.name}'",
                "pass for instance --set reduction=8",
            )
        ladder = LadderSide(body.blocks, width, config.reduction, config.temperature)
        replace_blocks(body, ladder, self.name)
        return ladder.learned
