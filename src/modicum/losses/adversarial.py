"""Least-squares adversarial losses: Mao et al., "Least Squares GAN", ICCV 2017, arXiv 1611.04076."""

import torch
from jaxtyping import Float
from torch import Tensor


def least_squares_generator_loss(fake_scores: Float[Tensor, "batch *scores"]) -> Float[Tensor, ""]:
    """Mean of ``(D(fake) - 1)^2``: how far the generator is from being taken for real.

    Args:
        fake_scores: the discriminator's scores of made images, one an image or one a patch.
    """
    return _mean_square(fake_scores - 1)


def least_squares_discriminator_losses(
    real_scores: Float[Tensor, "batch *scores"], fake_scores: Float[Tensor, "other *scores"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Means of ``(D(real) - 1)^2`` and ``D(fake)^2``, which the discriminator minimises together.

    RegGAN minimises their sum; CycleGAN halves it.

    Args:
        real_scores: scores of real images.
        fake_scores: scores of made images, detached from their generator.
    """
    return _mean_square(real_scores - 1), _mean_square(fake_scores)


def _mean_square(scores: Tensor) -> Tensor:
    """In at least float32, whatever precision the discriminator ran in."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).square().mean()
