"""The learning step of RegGAN and of its rivals: generators (with registration), then discriminators.

Symbols of the paper: x the source, y the misaligned target, G the generator from x to y, F the one back, R the
registration network, D_A and D_B the discriminators of sources and targets.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.losses import (
    correction_loss,
    least_squares_discriminator_losses,
    least_squares_generator_loss,
    smoothness_loss,
)
from modicum.methods.base import TrainStage, Update
from modicum.methods.reggan.config import RegGanConfig
from modicum.methods.reggan.image_pool import ImagePool
from modicum.methods.reggan.translator import Translator
from modicum.nn import PatchDiscriminator, RegistrationNetwork, ResnetGenerator, registration_depth, warp
from modicum.nn.patch_discriminator import SMALLEST_SIDE
from modicum.nn.resnet_generator import SIDE_FACTOR
from modicum.tasks.base import Batch


class RegGanStage(TrainStage):
    """Learns to translate ``image`` into ``target``, both in [-1, 1].

    The generator side (G, F and R) is one update with one backward pass of the total. The paper gives each network an
    Adam of its own; as Adam knows no more than each parameter's own gradients, one over all of them is the same (where
    gradients are clipped, which the paper does not do, their norm is a common one).

    Args:
        config: the method's settings.
        image_size: height and width in pixels, multiples of 4.
        channels: of sources and of targets.
        make_translator: makes a generator from its numbers of channels in and out; by default
            :class:`~modicum.nn.ResnetGenerator`.

    Raises:
        InputError: images that the networks cannot take.
    """

    name = "translate"

    def __init__(
        self,
        config: RegGanConfig,
        image_size: tuple[int, int],
        channels: tuple[int, int] = (1, 1),
        make_translator: Callable[[int, int], Translator] | None = None,
    ) -> None:
        super().__init__()
        _check_size(image_size)
        make = make_translator or (
            lambda inputs, outputs: ResnetGenerator(inputs, outputs, config.width, config.blocks)
        )
        sources, targets = channels
        self.config = config
        self._shapes = {"image": (sources, *image_size), "target": (targets, *image_size)}
        self.generator = make(sources, targets)
        self.discriminator = PatchDiscriminator(
            targets + sources if config.pairwise else targets, config.discriminator_width
        )
        self.back_generator = make(targets, sources) if config.cycle else None
        self.back_discriminator = (
            PatchDiscriminator(sources, config.discriminator_width) if config.cycle else None
        )
        self.registration = _registration(config, image_size, targets) if config.registration else None
        pooled = config.fakes_of_mode == "pool"
        self.pool = ImagePool(config.pool_size, (targets, *image_size)) if pooled else None
        self.back_pool = (
            ImagePool(config.pool_size, (sources, *image_size)) if pooled and config.cycle else None
        )
        self._made: dict[str, Tensor] = {}

    def updates(self) -> Sequence[Update]:
        """Generators with registration; then the discriminators, of sources first."""
        generators = [self.generator, self.back_generator, self.registration]
        updates = [Update("generators", _parameters(generators), self.generator_losses)]
        if self.back_discriminator is not None:
            parameters = _parameters([self.back_discriminator])
            updates.append(Update("back_discriminator", parameters, self.back_discriminator_losses))
        return [
            *updates,
            Update("discriminator", _parameters([self.discriminator]), self.discriminator_losses),
        ]

    def forward(self, batch: Batch) -> Float[Tensor, "b channels h w"]:
        """Translations; registration takes no part in them."""
        return self.generator(batch["image"])

    def displacement(self, batch: Batch) -> Float[Tensor, "b 2 h w"]:
        """Where the targets lie against the translations: ``warp(translation, field)`` is like the target.

        This aligns pictures of two modalities, a second use of what was learned.

        Raises:
            InputError: the mode has no registration.
        """
        if self.registration is None:
            raise InputError(f"mode '{self.config.mode}' learns no registration", "use nc+r or c+r")
        return self.registration(self(batch), batch["target"])

    # --- the generators' side --------------------------------------------------------------------------------------

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The total of the paper's section 3 by its terms, weighted."""
        x, y = self._pair(batch)
        config = self.config
        fake = self.generator(x)
        self._keep("fake", fake)
        losses = {"adversarial": config.adversarial_weight * self._convince(self.discriminator, fake, x)}
        if config.pairwise:
            losses["pixel"] = config.pixel_weight * (fake - y).abs().mean()
        if self.registration is not None:
            # No gradient is stopped: G learns through what is moved and through what R sees.
            field = self.registration(fake, y)
            losses["correction"] = config.correction_weight * correction_loss(warp(fake, field), y)
            losses["smoothness"] = config.smoothness_weight * smoothness_loss(field)
        if self.back_generator is not None and self.back_discriminator is not None:
            back = self.back_generator(y)
            self._keep("back", back)
            losses["back_adversarial"] = config.adversarial_weight * self._convince(
                self.back_discriminator, back
            )
            losses["cycle"] = config.cycle_weight * (self.back_generator(fake) - x).abs().mean()
            losses["back_cycle"] = config.cycle_weight * (self.generator(back) - y).abs().mean()
        return losses

    def _keep(self, name: str, made: Tensor) -> None:
        """For the discriminator's update of the same step, unless that makes its own."""
        if self.config.fakes_of_mode != "fresh":
            self._made[name] = made.detach()

    def _convince(self, discriminator: PatchDiscriminator, fake: Tensor, x: Tensor | None = None) -> Tensor:
        return least_squares_generator_loss(self._scores(discriminator, fake, x))

    # --- the discriminators ----------------------------------------------------------------------------------------

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of D_B: real targets are 1, translations 0; not halved."""
        x, y = self._pair(batch)
        fake = self._fakes("fake", self.generator, x, self.pool)
        real_loss, fake_loss = self._tell_apart(self.discriminator, y, fake, x)
        return {"real": real_loss, "fake": fake_loss}

    def back_discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of D_A, with sources and translations of targets."""
        assert self.back_discriminator is not None
        assert self.back_generator is not None
        x, y = self._pair(batch)
        fake = self._fakes("back", self.back_generator, y, self.back_pool)
        real_loss, fake_loss = self._tell_apart(self.back_discriminator, x, fake)
        return {"back_real": real_loss, "back_fake": fake_loss}

    def _fakes(self, name: str, generator: Translator, images: Tensor, pool: ImagePool | None) -> Tensor:
        """Translations to learn from, without the generator's graph."""
        made = self._made.pop(name, None)
        if made is None:
            with torch.no_grad():
                made = generator(images)
        return made if pool is None else pool.exchange(made)

    def _tell_apart(
        self, discriminator: PatchDiscriminator, real: Tensor, fake: Tensor, x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # In one pass: no layer mixes the images of a batch.
        both = torch.cat([real, fake])
        scores = self._scores(discriminator, both, None if x is None else torch.cat([x, x]))
        return least_squares_discriminator_losses(scores[: len(real)], scores[len(real) :])

    def _scores(self, discriminator: PatchDiscriminator, images: Tensor, x: Tensor | None) -> Tensor:
        seen = torch.cat([x, images], 1) if self.config.pairwise and x is not None else images
        return discriminator(seen) if self.config.scores == "mean" else discriminator.patches(seen)

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if "target" not in batch:
            raise InputError("a batch has no 'target' to translate into", "give pairs of image and target")
        for name, expected in self._shapes.items():
            if batch[name].shape[1:] != expected:
                raise InputError(
                    f"'{name}' of shape {list(batch[name].shape)} is not what the networks were made for, "
                    f"{list(expected)} an image",
                    "bring all pairs to one size and number of channels",
                )
        return batch["image"], batch["target"]


def _check_size(image_size: tuple[int, int]) -> None:
    height, width = image_size
    if height % SIDE_FACTOR or width % SIDE_FACTOR or min(image_size) < SMALLEST_SIDE:
        raise InputError(
            f"images of {height}x{width} pixels cannot be translated",
            f"use an image size whose sides are multiples of {SIDE_FACTOR} from {SMALLEST_SIDE} on",
        )


def _registration(config: RegGanConfig, image_size: tuple[int, int], channels: int) -> RegistrationNetwork:
    depth = config.registration_depth or registration_depth(image_size)
    return RegistrationNetwork(channels, depth, config.registration_width)


def _parameters(networks: Sequence[Translator | nn.Module | None]) -> list[nn.Parameter]:
    return [parameter for network in networks if network is not None for parameter in network.parameters()]
