"""NICE-GAN: the discriminator of a kind of images also encodes them for the generator to the other kind.

R. Chen et al., "Reusing Discriminators for Encoding", CVPR 2020, arXiv 2003.00273. Encoders learn with the
discriminators alone, which go first in each step. In modes without a cycle there is no discriminator of sources to
encode them: the generator has a separate encoder (RegGAN's release).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods.reggan.adversary import adversarial_losses, generator_loss, real_fake_losses
from modicum.methods.reggan.bases.base import Adversary, Base, difference, named
from modicum.methods.reggan.config import RegGanConfig
from modicum.nn import NiceDiscriminator, NiceEncoder, NiceGenerator
from modicum.nn.nice_gan import Edges, global_depth


class NiceGanBase(Base):
    """Generators after encoders, and discriminators that score patches, large parts and evidence.

    Args:
        config: the method's settings.
        image_size: height and width in pixels.
        channels: of sources and of targets.

    Raises:
        InputError: ``fakes="same"`` in a mode whose generators learn last.
    """

    discriminator: NiceDiscriminator
    back_discriminator: NiceDiscriminator

    def __init__(self, config: RegGanConfig, image_size: tuple[int, int], channels: tuple[int, int]) -> None:
        super().__init__(config, image_size, channels)
        if config.cycle and config.fakes_of_mode == "same":
            raise InputError(
                f"with base 'nice_gan' discriminators of mode '{config.mode}' learn first, and cannot learn from the "
                "translations of the generators' step (fakes 'same')",
                "use fakes 'published', 'fresh' or 'pool'",
            )
        sources, targets = channels
        self.adversaries_first = config.cycle
        width, depth = config.discriminator_width, global_depth(image_size)
        release = config.networks == "release"
        full = image_size if config.full_generator or release else None
        blocks = config.blocks_of_base
        if config.cycle:
            # What generators read is as wide as what discriminators' encoders give.
            self.generator = NiceGenerator(targets, config.width, blocks, full, width)
            self.discriminator = NiceDiscriminator(targets, width, depth)
            self.back_generator = NiceGenerator(sources, config.width, blocks, full, width)
            self.back_discriminator = NiceDiscriminator(sources, width, depth)
            return
        edges: Edges = "replicate" if release else "reflect"
        self.generator = NiceGenerator(targets, config.width, blocks, full, edges=edges)
        if release:
            half = max(1, width // 2)
            self.discriminator = NiceDiscriminator(targets, half, depth, edges=edges, last_kernel=3)
        else:
            self.discriminator = NiceDiscriminator(targets, width, depth)
        self.encoder = NiceEncoder(sources, config.width, edges)

    def persistent_modules(self) -> tuple[str, ...]:
        return ("back_discriminator.encoder" if self.config.cycle else "encoder", "generator")

    def generators(self) -> Sequence[nn.Module]:
        if self.config.cycle:
            return [self.generator, self.back_generator]
        return [self.encoder, self.generator]

    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        if not config.cycle:
            fake = self.generator(self.encoder(x))
            self.fakes.keep(fake)
            return fake, {"adversarial": config.adversarial_weight * generator_loss(self.discriminator(fake))}
        # Encoders are left as they are: the update holds no parameter of theirs. Gradients go through them.
        code, back_code = self.back_discriminator.encoder(x), self.discriminator.encoder(y)
        fake, back = self.generator(code), self.back_generator(back_code)
        fake_code, scores = self.discriminator.look(fake)
        back_fake_code, back_scores = self.back_discriminator.look(back)
        return fake, {
            "adversarial": config.adversarial_weight * generator_loss(scores),
            "back_adversarial": config.adversarial_weight * generator_loss(back_scores),
            "cycle": config.cycle_weight * difference(self.back_generator(fake_code), x),
            "back_cycle": config.cycle_weight * difference(self.generator(back_fake_code), y),
            "identity": config.reconstruction_weight * difference(self.back_generator(code), x),
            "back_identity": config.reconstruction_weight * difference(self.generator(back_code), y),
        }

    def adversaries(self) -> Sequence[Adversary]:
        if self.config.cycle:
            both = nn.ModuleList([self.back_discriminator, self.discriminator])
            return [Adversary("discriminators", both, self._both_losses)]
        return [Adversary("discriminator", self.discriminator, self.discriminator_losses)]

    def discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Without a cycle."""
        fake = self.fakes.take(lambda: self.generator(self.encoder(x)))
        return adversarial_losses(self.discriminator, y, fake, self.penalty)

    def _both_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of both discriminators together: one's generated images come from the other's codes of real ones."""
        x, y = self.penalty.watched(x), self.penalty.watched(y)
        back_code, scores = self.discriminator.look(y)
        code, back_scores = self.back_discriminator.look(x)
        fake = self.fakes.take(lambda: self.generator(code.detach()))
        back = self.back_fakes.take(lambda: self.back_generator(back_code.detach()))
        losses = real_fake_losses(scores, self.discriminator(fake))
        losses |= self.penalty.losses(self.discriminator, y, scores, fake)
        back_losses = real_fake_losses(back_scores, self.back_discriminator(back))
        back_losses |= self.penalty.losses(self.back_discriminator, x, back_scores, back)
        return losses | named("back_", back_losses)
