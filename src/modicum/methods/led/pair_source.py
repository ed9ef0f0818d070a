"""Poor twins of good images, aligned pixel by pixel: what LED and its rivals learn to undo."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from modicum.methods.base import MethodConfig
from modicum.tasks.base import Batch
from modicum.transforms.degradation_parameters import COMBINATIONS, REFERENCE
from modicum.transforms.fundus_degradation import degrade, draw_degradation, visible_field

Degrade = Literal["learned", "classical", "mixed", "pairs"]


class PairSettings(MethodConfig):
    """Settings of classical twins."""

    kinds: tuple[str, ...] = Field(
        COMBINATIONS,
        min_length=1,
        description="Classical degradations that are drawn from: three bits, for blur, spots and illumination.",
    )
    reference: int = Field(
        REFERENCE,
        ge=1,
        description="Side in pixels of the images that classical blur is stated for; smaller blurs more.",
    )

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if odd := [kind for kind in value if kind not in COMBINATIONS]:
            raise ValueError(f"'{odd[0]}' is none of {', '.join(COMBINATIONS)}")
        return value


class PairSource(nn.Module):
    """Gives good images their poor twins. Nothing in it gets gradients.

    Args:
        degrade: where twins come from.
        settings: of classical ones.
        degrader: learned network from good images in [0, 1] to poor ones; None where nothing is learned.
    """

    def __init__(self, degrade: Degrade, settings: PairSettings, degrader: nn.Module | None = None) -> None:
        super().__init__()
        self.degrade = degrade
        self.settings = settings
        self.degrader = degrader

    @torch.no_grad()
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Good images and their twins, ``[b, c, h, w]`` in [0, 1] each; draws are from PyTorch's global generator."""
        good = batch["target"]
        if self.degrade == "pairs":
            return good, batch["image"]
        if self.degrade == "classical":
            return good, self.classical(good)
        assert self.degrader is not None
        learned = self.degrader(good).to(good.dtype)
        if self.degrade == "learned":
            return good, learned
        chosen = (torch.rand(len(good)) < 0.5).to(good.device)[:, None, None, None]
        return good, torch.where(chosen, self.classical(good), learned)

    def classical(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Each image degraded by parameters of its own."""
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        kinds = self.settings.kinds
        masks = visible_field(images)
        twins = []
        for image, mask in zip(images, masks, strict=True):
            kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
            parameters = draw_degradation(generator, kind, reference=self.settings.reference)
            twins.append(degrade(image, parameters, mask))
        return torch.stack(twins)
