"""MUNIT: images are content, which both kinds share, and style, which each kind has its own.

X. Huang et al., "Multimodal Unsupervised Image-to-Image Translation", ECCV 2018, arXiv 1804.04732. A translation is the
source's content in a style drawn at random. Without a cycle the adversarial loss of translations back, and content and
style found again of targets, are left out (RegGAN's release). The release also translates validation images into random
styles; here their style is the mean of those, so that the same image has the same translation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modicum.methods.reggan.adversary import adversarial_losses, generator_loss
from modicum.methods.reggan.bases.base import Base, difference, named
from modicum.methods.reggan.config import RegGanConfig
from modicum.nn import MultiScaleDiscriminator, MunitDecoder, MunitStyleEncoder, UnitEncoder
from modicum.nn.munit import STYLE
from modicum.nn.unit import discriminator_scales


class MunitBase(Base):
    """For each kind of images an encoder of content, one of style, and a decoder.

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
        self.encoder, self.decoder = UnitEncoder(sources, *networks), MunitDecoder(targets, *networks)
        self.back_encoder, self.back_decoder = (
            UnitEncoder(targets, *networks),
            MunitDecoder(sources, *networks),
        )
        self.source_style = MunitStyleEncoder(sources, config.width)
        self.target_style = MunitStyleEncoder(targets, config.width)
        self.discriminator = MultiScaleDiscriminator(targets, config.discriminator_width, scales)
        if config.cycle:
            self.back_discriminator = MultiScaleDiscriminator(sources, config.discriminator_width, scales)
        slip = config.mode == "nc+r" and config.munit_adversarial == "published"
        self.adversarial_weight = config.cycle_weight if slip else config.adversarial_weight

    def persistent_modules(self) -> tuple[str, ...]:
        return ("encoder", "decoder")

    def generators(self) -> Sequence[nn.Module]:
        encoders = [self.encoder, self.back_encoder, self.source_style, self.target_style]
        return [*encoders, self.decoder, self.back_decoder]

    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        content, back_content = self.encoder(x), self.back_encoder(y)
        style, back_style = _random_style(y), _random_style(x)
        fake, back = self.decoder(content, style), self.back_decoder(back_content, back_style)
        self.fakes.keep(fake)
        own_x, own_y = self.source_style(x), self.target_style(y)
        losses = {
            "adversarial": self.adversarial_weight * generator_loss(self.discriminator(fake)),
            "reconstruction": config.reconstruction_weight * difference(self.back_decoder(content, own_x), x),
            "back_reconstruction": config.reconstruction_weight
            * difference(self.decoder(back_content, own_y), y),
            "content": config.code_weight * difference(self.back_encoder(fake), content),
            "back_style": config.code_weight * difference(self.source_style(back), back_style),
        }
        if config.cycle:
            self.back_fakes.keep(back)
            score = generator_loss(self.back_discriminator(back))
            losses["back_adversarial"] = self.adversarial_weight * score
            losses["back_content"] = config.code_weight * difference(self.encoder(back), back_content)
            losses["style"] = config.code_weight * difference(self.target_style(fake), style)
        return fake, losses

    def discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        fake = self.fakes.take(lambda: self.decoder(self.encoder(x), _random_style(x)))
        return adversarial_losses(self.discriminator, y, fake, self.penalty)

    def back_discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        fake = self.back_fakes.take(lambda: self.back_decoder(self.back_encoder(y), _random_style(y)))
        return named("back_", adversarial_losses(self.back_discriminator, x, fake, self.penalty))


def _random_style(images: Tensor) -> Tensor:
    """A style for each image, standard normal."""
    return torch.randn(len(images), STYLE, device=images.device, dtype=images.dtype)
