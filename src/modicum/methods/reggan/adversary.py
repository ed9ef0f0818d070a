"""Adversarial losses of generators and discriminators, for discriminators with one or several score maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modicum.losses import (
    interpolation_penalty,
    least_squares_discriminator_losses,
    least_squares_generator_loss,
    r1_penalty,
)

Scores = Sequence[Tensor]
"""A batch's scores, in one part or several, ``[b, ...]`` each; losses of parts are added."""

Discriminator = Callable[[Tensor], Scores]
"""Maps images to scores."""


def generator_loss(scores: Scores) -> Tensor:
    """Adversarial loss of a generator: generated images should score 1."""
    return torch.stack([least_squares_generator_loss(part) for part in scores]).sum()


def real_fake_losses(real: Scores, fake: Scores) -> dict[str, Tensor]:
    """Losses of a discriminator: real images should score 1, generated ones 0; not halved."""
    losses = [least_squares_discriminator_losses(*parts) for parts in zip(real, fake, strict=True)]
    reals, fakes = zip(*losses, strict=True)
    return {"real": torch.stack(reals).sum(), "fake": torch.stack(fakes).sum()}


@dataclass(frozen=True)
class Penalty:
    """The penalty on a discriminator's gradient, weighted.

    Attributes:
        kind: see :class:`~modicum.methods.reggan.RegGanConfig`.
        weight: weight of the penalty.
    """

    kind: Literal["none", "r1", "interpolation"]
    weight: float

    def watched(self, real: Tensor) -> Tensor:
        """Real images, ready to be scored: with gradients where the penalty needs them."""
        return real.detach().requires_grad_() if self.kind == "r1" else real

    def losses(
        self, discriminator: Discriminator, real: Tensor, real_scores: Scores, fake: Tensor
    ) -> dict[str, Tensor]:
        """The penalty, if there is one.

        Args:
            discriminator: scores images.
            real: the result of :meth:`watched`.
            real_scores: their scores.
            fake: generated images.
        """
        if self.kind == "r1":
            return {"penalty": self.weight * r1_penalty(real_scores, real)}
        if self.kind == "interpolation":
            return {"penalty": self.weight * interpolation_penalty(discriminator, real, fake)}
        return {}


def adversarial_losses(
    discriminator: Discriminator, real: Tensor, fake: Tensor, penalty: Penalty
) -> dict[str, Tensor]:
    """All losses of a discriminator.

    Args:
        discriminator: scores images; no layer of it mixes the images of a batch.
        real: real images.
        fake: as many generated images, detached from their generator.
        penalty: penalty on the gradient.
    """
    if penalty.kind != "r1":
        # In one pass.
        scores = discriminator(torch.cat([real, fake]))
        real_scores, fake_scores = (
            [part[: len(real)] for part in scores],
            [part[len(real) :] for part in scores],
        )
    else:
        # Only the real images' pass is differentiated twice.
        real = penalty.watched(real)
        real_scores, fake_scores = list(discriminator(real)), list(discriminator(fake))
    return real_fake_losses(real_scores, fake_scores) | penalty.losses(discriminator, real, real_scores, fake)
