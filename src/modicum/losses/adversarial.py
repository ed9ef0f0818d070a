"""Least-squares adversarial losses, and penalties on a discriminator's gradients.

Mao et al., "Least Squares GAN", ICCV 2017, arXiv 1611.04076.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def least_squares_generator_loss(fake_scores: Float[Tensor, "batch *scores"]) -> Float[Tensor, ""]:
    """The generator's loss, the mean of ``(D(fake) - 1)^2``.

    Args:
        fake_scores: the discriminator's scores of generated images, one an image or one a patch.
    """
    return _mean_square(fake_scores - 1)


def least_squares_discriminator_losses(
    real_scores: Float[Tensor, "batch *scores"], fake_scores: Float[Tensor, "other *scores"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The discriminator's two losses, the means of ``(D(real) - 1)^2`` and ``D(fake)^2``.

    RegGAN minimises their sum; CycleGAN halves it.

    Args:
        real_scores: scores of real images.
        fake_scores: scores of generated images, detached from their generator.
    """
    return _mean_square(real_scores - 1), _mean_square(fake_scores)


def r1_penalty(
    scores: Sequence[Float[Tensor, "batch ..."]], images: Float[Tensor, "batch c h w"]
) -> Float[Tensor, ""]:
    """Half the mean squared norm of the scores' gradient at real images.

    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018, arXiv 1801.04406.

    Args:
        scores: the discriminator's scores of the images, in one part or several; means of parts are added.
        images: real images that required gradients when they were scored.
    """
    return _squared_gradients(scores, images).mean() / 2


def interpolation_penalty(
    discriminator: Callable[[Tensor], Sequence[Tensor]],
    real: Float[Tensor, "batch c h w"],
    fake: Float[Tensor, "batch c h w"],
) -> Float[Tensor, ""]:
    """Gradient penalty: mean of ``(norm - 1)^2`` of the scores' gradient, between real and generated images.

    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, arXiv 1704.00028. Ratios are drawn from
    PyTorch's global generator.

    Args:
        discriminator: maps images to their scores, in one part or several; means of parts are added.
        real: real images.
        fake: as many generated images.
    """
    ratio = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = (ratio * real.detach() + (1 - ratio) * fake.detach()).requires_grad_()
    # The root has no derivative at 0, where a discriminator with constant scores begins.
    norms = (_squared_gradients(discriminator(between), between) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def _squared_gradients(scores: Sequence[Tensor], images: Tensor) -> Tensor:
    """For each image, the squared norm of the gradient of its scores' means; differentiable itself."""
    total = torch.stack([part.flatten(1).mean(1).sum() for part in scores]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32)).square().sum((1, 2, 3))


def _mean_square(scores: Tensor) -> Tensor:
    """Mean of squares in at least float32, whatever precision the discriminator ran in."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).square().mean()
