"""Contrastive unpaired translation: what an image becomes in the style of another pool, place by place.

Park et al., "Contrastive Learning for Unpaired Image-to-Image Translation" (ECCV 2020, arXiv 2007.15651), with its
release's defaults. Symbols: x an image, z one of the other pool, G the generator, D the discriminator. Inside, images are
in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from modicum.errors import InputError
from modicum.losses import least_squares_discriminator_losses, least_squares_generator_loss, patch_nce
from modicum.methods.base import MethodConfig, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn import CutGenerator, PatchDiscriminator, ResnetGenerator
from modicum.nn.cut_generator import encoder_features, feature_widths, xavier_normal
from modicum.nn.resnet_generator import SIDE_FACTOR
from modicum.tasks.base import Batch

SMALLEST_POOL = 4
"""Images of each pool, below which nothing can be said of its style."""

CUT_TRAINING: Mapping[str, Any] = {
    "epochs": 400,
    "batch_size": 1,
    "optimizer": "adam",
    "lr": 2e-4,
    "betas": (0.5, 0.999),
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0,
    "clip_norm": 0.0,
    "ema_decay": 0.0,
    "select": "last",
}
"""The training loop of CUT; the rate falls linearly over the second half of the epochs."""


class CutSettings(MethodConfig):
    """Settings of CUT."""

    generator: Literal["cut", "isecret"] = Field(
        "cut",
        description="cut: CycleGAN's with antialiased sizes. isecret: I-SECRET's, CycleGAN's as it was.",
    )
    generator_width: int = Field(64, ge=1, description="Channels of the generator at full size.")
    generator_blocks: int = Field(9, ge=0, description="Residual blocks of the generator.")
    discriminator_width: int = Field(
        64, ge=1, description="Channels of the discriminator after its first convolution."
    )
    adversarial_weight: float = Field(1.0, ge=0, description="Weight of the generator's adversarial loss.")
    nce_weight: float = Field(1.0, ge=0, description="Weight of PatchNCE (10 in FastCUT).")
    nce_identity: bool = Field(
        True, description="Whether images of the other pool are to stay as they are (not in FastCUT)."
    )
    nce_places: int = Field(256, ge=2, description="Places of an image that are compared.")
    nce_width: int = Field(256, ge=1, description="Dimensions in which places are compared.")
    nce_temperature: float = Field(0.07, gt=0, description="Divides the similarities of places.")


class Translator(nn.Module):
    """A generator for images in [0, 1] of any size; sides that 4 does not divide are continued by reflection."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels h w"]:
        height, width = images.shape[2:]
        padded = functional.pad(
            2 * images - 1, (0, -width % SIDE_FACTOR, 0, -height % SIDE_FACTOR), mode="reflect"
        )
        output = self.generator(padded)[:, :, :height, :width]
        return (output.to(torch.promote_types(output.dtype, torch.float32)) + 1) / 2


class CutStage(TrainStage):
    """Learns to give images of one pool the style of another.

    Args:
        settings: networks and weights of losses.
        name: of the stage.
        pools: names in a batch of the images that are translated, and of those whose style they get.
        channels: of both.
        epochs: of the training; the rate falls over their second half.
        scored: whether the task scores the translations.
    """

    learns_from_none = "give images of both pools"

    def __init__(
        self,
        settings: CutSettings,
        name: str,
        pools: tuple[str, str],
        channels: tuple[int, int],
        epochs: int,
        scored: bool,
    ) -> None:
        super().__init__()
        self.name, self.scored = name, scored
        self.settings, self.pools, self.epochs = settings, pools, epochs
        make = CutGenerator if settings.generator == "cut" else ResnetGenerator
        generator = make(*channels, settings.generator_width, settings.generator_blocks)
        self.translator = Translator(generator)
        self.discriminator = PatchDiscriminator(channels[1], settings.discriminator_width)
        width = settings.nce_width
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
            for features in feature_widths(generator, channels[0])
        )
        xavier_normal(self)

    @property
    def generator(self) -> CutGenerator | ResnetGenerator:
        """From [-1, 1] to [-1, 1]."""
        found = self.translator.generator
        assert isinstance(found, CutGenerator | ResnetGenerator)
        return found

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        """All rows. Raises :class:`~modicum.errors.InputError` where there are too few."""
        rows = max((len(values) for values in targets.values()), default=SMALLEST_POOL)
        if rows < SMALLEST_POOL:
            raise InputError(
                f"stage '{self.name}' has pools of {rows} images",
                f"give at least {SMALLEST_POOL} of each, or learn without: --set degrade=classical",
            )
        return None

    def updates(self) -> Sequence[Update]:
        """D, then G with what places are compared by."""
        generators = [*self.generator.parameters(), *self.heads.parameters()]
        return [
            Update(
                "discriminator",
                list(self.discriminator.parameters()),
                self.discriminator_losses,
                lr_factor=self.lr_factor,
            ),
            Update("generator", generators, self.generator_losses, lr_factor=self.lr_factor),
        ]

    def lr_factor(self, epoch: int) -> float:
        """1 for the first half of the epochs, then linearly towards 0."""
        constant = self.epochs - self.epochs // 2
        return 1 - max(0, epoch + 1 - constant) / (self.epochs // 2 + 1)

    def persistent_modules(self) -> tuple[str, ...]:
        """The generator."""
        return ("translator",)

    def forward(self, batch: Batch) -> Float[Tensor, "b channels h w"]:
        """Translations in [0, 1]."""
        return self.translator(batch[self.pools[0]])

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Half of ``(D(G(x)))^2`` and of ``(D(z) - 1)^2``, over patches."""
        x, z = self._pair(batch)
        with torch.no_grad():
            fake = self.generator(x)
        real, faked = least_squares_discriminator_losses(
            self.discriminator.patches(z), self.discriminator.patches(fake)
        )
        return {"real": real / 2, "fake": faked / 2}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The adversarial loss, and PatchNCE of x and G(x); with identity its mean with that of z and G(z)."""
        x, z = self._pair(batch)
        settings = self.settings
        fake = self.generator(x)
        score = least_squares_generator_loss(self.discriminator.patches(fake))
        losses = {"adversarial": settings.adversarial_weight * score}
        if not settings.nce_identity:
            return losses | {"nce": settings.nce_weight * self.nce(x, fake)}
        half = settings.nce_weight / 2
        return losses | {
            "nce": half * self.nce(x, fake),
            "identity": half * self.nce(z, self.generator(z)),
        }

    def nce(self, source: Float[Tensor, "b c h w"], made: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """PatchNCE over layers of the generator's encoder, at places that are drawn once for both images."""
        parts = []
        queries = encoder_features(self.generator, made)
        keys = encoder_features(self.generator, source)
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            count = query.shape[2] * query.shape[3]
            places = torch.randperm(count)[: self.settings.nce_places].to(query.device)
            embedded = [
                functional.normalize(head(features.flatten(2)[:, :, places].transpose(1, 2)), dim=2)
                for features in (query, key)
            ]
            parts.append(patch_nce(embedded[0], embedded[1], self.settings.nce_temperature))
        return torch.stack(parts).mean()

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        first, second = (2 * batch[name] - 1 for name in self.pools)
        sides = (0, -first.shape[3] % SIDE_FACTOR, 0, -first.shape[2] % SIDE_FACTOR)
        if any(sides):
            first, second = (functional.pad(one, sides, mode="reflect") for one in (first, second))
        return first, second
