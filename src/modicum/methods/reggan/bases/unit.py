"""UNIT: both kinds of images share a space of codes, each with an encoder into it and a decoder out of it.

M.-Y. Liu, T. Breuel, J. Kautz, "Unsupervised Image-to-Image Translation Networks", NeurIPS 2017, arXiv 1703.00848. As
in its release the encoders are variational with unit variance, and no layer is shared between the kinds. Without a
cycle the adversarial loss and the cycle of targets are left out (RegGAN's release).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modicum.methods.reggan.adversary import adversarial_losses, generator_loss
from modicum.methods.reggan.bases.base import Base, difference, named
from modicum.methods.reggan.config import RegGanConfig
from modicum.nn import MultiScaleDiscriminator, UnitDecoder, UnitEncoder
from modicum.nn.unit import discriminator_scales


class UnitBase(Base):
    """An encoder of sources, a decoder to targets, and the two of the way back.

    Args:
        config: the method's settings.
        image_size: height and width in pixels.
        channels: of sources and of targets.
    """

    discriminator: MultiScaleDiscriminator
    back_discriminator: MultiScaleDiscriminator

    def __init__(self, config: RegGanConfig, image_size: tuple[int, int], channels: tuple[int, int]) -> None:
        super().__init__(config, image_size, channels)
        sources, targets = channels
        networks = config.width, config.blocks_of_base
        scales = discriminator_scales(image_size)
        self.encoder, self.decoder = UnitEncoder(sources, *networks), UnitDecoder(targets, *networks)
        self.back_encoder, self.back_decoder = (
            UnitEncoder(targets, *networks),
            UnitDecoder(sources, *networks),
        )
        self.discriminator = MultiScaleDiscriminator(targets, config.discriminator_width, scales)
        if config.cycle:
            self.back_discriminator = MultiScaleDiscriminator(sources, config.discriminator_width, scales)

    def persistent_modules(self) -> tuple[str, ...]:
        return ("encoder", "decoder")  # codes are their means, without noise

    def generators(self) -> Sequence[nn.Module]:
        return [self.encoder, self.decoder, self.back_encoder, self.back_decoder]

    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        mean, back_mean = self.encoder(x), self.back_encoder(y)
        code, back_code = _noisy(mean), _noisy(back_mean)
        fake = self.decoder(code)
        self.fakes.keep(fake)
        again = self.back_encoder(fake)
        losses = {
            "adversarial": config.adversarial_weight * generator_loss(self.discriminator(fake)),
            "reconstruction": config.reconstruction_weight * difference(self.back_decoder(code), x),
            "back_reconstruction": config.reconstruction_weight * difference(self.decoder(back_code), y),
            "cycle": config.cycle_weight * difference(self.back_decoder(_noisy(again)), x),
            "kl": config.kl_weight * (_mean_square(mean) + _mean_square(back_mean) + _mean_square(again)),
        }
        if config.cycle:
            back = self.back_decoder(back_code)
            self.back_fakes.keep(back)
            back_again = self.encoder(back)
            score = generator_loss(self.back_discriminator(back))
            losses["back_adversarial"] = config.adversarial_weight * score
            losses["back_cycle"] = config.cycle_weight * difference(self.decoder(_noisy(back_again)), y)
            losses["kl"] = losses["kl"] + config.kl_weight * _mean_square(back_again)
        return fake, losses

    def discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        fake = self.fakes.take(lambda: self.decoder(_noisy(self.encoder(x))))
        return adversarial_losses(self.discriminator, y, fake, self.penalty)

    def back_discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        fake = self.back_fakes.take(lambda: self.back_decoder(_noisy(self.back_encoder(y))))
        return named("back_", adversarial_losses(self.back_discriminator, x, fake, self.penalty))


def _noisy(mean: Tensor) -> Tensor:
    """A draw from the normal distribution of unit variance around a code's mean."""
    return mean + torch.randn_like(mean)


def _mean_square(mean: Tensor) -> Tensor:
    """The divergence from the standard normal distribution, as the release scales it."""
    return mean.to(torch.promote_types(mean.dtype, torch.float32)).square().mean()
