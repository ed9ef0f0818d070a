"""CycleGAN and Pix2Pix with the paper's networks, and their common core, the adversarial loss alone.

J.-Y. Zhu et al., ICCV 2017, arXiv 1703.10593; P. Isola et al., CVPR 2017, arXiv 1611.07004.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from modicum.methods.reggan.adversary import Scores, adversarial_losses, generator_loss
from modicum.methods.reggan.bases.base import Base, difference, named
from modicum.methods.reggan.config import RegGanConfig
from modicum.nn import PatchDiscriminator, ResnetGenerator


class ResnetBase(Base):
    """A generator G from x to y; in c also F back; a discriminator for what each makes.

    Args:
        config: the method's settings.
        image_size: height and width in pixels.
        channels: of sources and of targets.
        make_generator: from numbers of channels in and out to a module that translates; the paper's by default.
    """

    discriminator: PatchDiscriminator
    back_discriminator: PatchDiscriminator

    def __init__(
        self,
        config: RegGanConfig,
        image_size: tuple[int, int],
        channels: tuple[int, int],
        make_generator: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__(config, image_size, channels)
        make = make_generator or (
            lambda inputs, outputs: ResnetGenerator(inputs, outputs, config.width, config.blocks_of_base)
        )
        sources, targets = channels
        self.generator = make(sources, targets)
        self.discriminator = PatchDiscriminator(
            targets + sources if config.pairwise else targets, config.discriminator_width
        )
        if config.cycle:
            self.back_generator = make(targets, sources)
            self.back_discriminator = PatchDiscriminator(sources, config.discriminator_width)

    def persistent_modules(self) -> tuple[str, ...]:
        return ("generator",)

    def generators(self) -> Sequence[nn.Module]:
        return [self.generator, self.back_generator] if self.config.cycle else [self.generator]

    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        fake = self.generator(x)
        self.fakes.keep(fake)
        losses = {"adversarial": config.adversarial_weight * generator_loss(self._score(fake, x))}
        if config.pairwise:
            losses["pixel"] = config.pixel_weight * difference(fake, y)
        if config.cycle:
            back = self.back_generator(y)
            self.back_fakes.keep(back)
            losses["back_adversarial"] = config.adversarial_weight * generator_loss(self._back_score(back))
            losses["cycle"] = config.cycle_weight * difference(self.back_generator(fake), x)
            losses["back_cycle"] = config.cycle_weight * difference(self.generator(back), y)
        return fake, losses

    def discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of D_B, from targets and translations of sources."""
        fake = self.fakes.take(lambda: self.generator(x))
        return adversarial_losses(lambda images: self._score(images, x), y, fake, self.penalty)

    def back_discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of D_A, from sources and translations of targets."""
        fake = self.back_fakes.take(lambda: self.back_generator(y))
        return named("back_", adversarial_losses(self._back_score, x, fake, self.penalty))

    def _score(self, images: Tensor, x: Tensor) -> Scores:
        """Scores of real or generated targets whose sources are x; a source may have several images."""
        if self.config.pairwise:
            images = torch.cat([x.repeat(len(images) // len(x), 1, 1, 1), images], 1)
        return self._scores(self.discriminator, images)

    def _back_score(self, images: Tensor) -> Scores:
        return self._scores(self.back_discriminator, images)

    def _scores(self, discriminator: PatchDiscriminator, images: Tensor) -> Scores:
        return [discriminator.patches(images) if self.config.scores == "patches" else discriminator(images)]
