"""What generators and discriminators minimise against each other, whatever a discriminator's scores look like."""

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
"""Of a batch, in one part or several, ``[b, ...]`` each; losses of parts are added."""

Judge = Callable[[Tensor], Scores]
"""From images to scores."""


def convincing_loss(scores: Scores) -> Tensor:
    """How far made images are from being taken for real."""
    return torch.stack([least_squares_generator_loss(part) for part in scores]).sum()


def discerning_losses(real: Scores, fake: Scores) -> dict[str, Tensor]:
    """Of a discriminator: real images are 1, made ones 0; not halved."""
    losses = [least_squares_discriminator_losses(*parts) for parts in zip(real, fake, strict=True)]
    reals, fakes = zip(*losses, strict=True)
    return {"real": torch.stack(reals).sum(), "fake": torch.stack(fakes).sum()}


@dataclass(frozen=True)
class Penalty:
    """The penalty on a discriminator's gradient, weighted.

    Attributes:
        kind: see :class:`~modicum.methods.reggan.RegGanConfig`.
        weight: of the penalty.
    """

    kind: Literal["none", "r1", "interpolation"]
    weight: float

    def watched(self, real: Tensor) -> Tensor:
        """Real images as they have to be scored."""
        return real.detach().requires_grad_() if self.kind == "r1" else real

    def losses(self, judge: Judge, real: Tensor, real_scores: Scores, fake: Tensor) -> dict[str, Tensor]:
        """The penalty, where there is one.

        Args:
            judge: scores images.
            real: what :meth:`watched` gave.
            real_scores: its scores.
            fake: made images.
        """
        if self.kind == "r1":
            return {"penalty": self.weight * r1_penalty(real_scores, real)}
        if self.kind == "interpolation":
            return {"penalty": self.weight * interpolation_penalty(judge, real, fake)}
        return {}


def tell_apart(judge: Judge, real: Tensor, fake: Tensor, penalty: Penalty) -> dict[str, Tensor]:
    """All losses of a discriminator.

    Args:
        judge: scores images; no layer of it mixes the images of a batch.
        real: real images.
        fake: as many made images, detached from their generator.
        penalty: on the gradient.
    """
    if penalty.kind != "r1":
        # In one pass.
        scores = judge(torch.cat([real, fake]))
        real_scores, fake_scores = (
            [part[: len(real)] for part in scores],
            [part[len(real) :] for part in scores],
        )
    else:
        # Only the real images' pass is differentiated twice.
        real = penalty.watched(real)
        real_scores, fake_scores = list(judge(real)), list(judge(fake))
    return discerning_losses(real_scores, fake_scores) | penalty.losses(judge, real, real_scores, fake)
