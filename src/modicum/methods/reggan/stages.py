"""The learning step of RegGAN and of the methods it is compared with: generators, registration, discriminators.

Symbols of the paper: x the source, y the misaligned target, G the generator from x to y, F the one back, R the
registration network, D_A and D_B the discriminators of sources and targets. Inside all images are in [-1, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.distributed import gather_without_gradient
from modicum.errors import InputError
from modicum.losses import correction_loss, foreground_weight, smoothness_loss
from modicum.methods.base import TrainStage, Update
from modicum.methods.reggan.bases import Base, make_base
from modicum.methods.reggan.config import RegGanConfig
from modicum.nn import RegistrationNetwork, integrate, registration_depth, warp
from modicum.nn.patch_discriminator import SMALLEST_SIDE
from modicum.nn.resnet_generator import SIDE_FACTOR
from modicum.tasks.base import Batch

ANCHOR_MEMORY = 0.98
"""Momentum of the running mean displacement: a single batch's mean is mostly its images' true motion."""
BACKGROUND = -1.0
"""Value of the background, 0 in images in [0, 1], after :func:`inward`."""


class RegGanStage(TrainStage):
    """Learns to translate ``image`` into ``target``, both in [0, 1].

    The generators' side (with R) is one update with one backward pass of the total. The paper gives each network an
    separate Adam; as Adam uses only each parameter's own gradients, one over all of them is the same (where
    gradients are clipped, which the paper does not do, their norm is a common one).

    Args:
        config: the method's settings.
        image_size: height and width in pixels, multiples of 4.
        channels: channels of sources and of targets.
        base: the translator that registration is added to; by default the configuration's.

    Raises:
        InputError: an image size that the networks cannot take, or a mode that the base does not have.
    """

    name = "translate"
    mean_displacement: Tensor

    def __init__(
        self,
        config: RegGanConfig,
        image_size: tuple[int, int],
        channels: tuple[int, int] = (1, 1),
        base: Base | None = None,
    ) -> None:
        super().__init__()
        _check_size(image_size)
        sources, targets = channels
        self.config = config
        self._shapes = {"image": (sources, *image_size), "target": (targets, *image_size)}
        self.base = base or make_base(config, image_size, channels)
        self.registration: RegistrationNetwork | None = None
        if config.registration:
            depth = config.registration_depth or registration_depth(image_size)
            self.registration = RegistrationNetwork(targets, depth, config.registration_width)
            if config.anchor_weight > 0:
                self.register_buffer("mean_displacement", torch.zeros(2))

    def updates(self) -> Sequence[Update]:
        """Generators with registration, and the discriminators before or after them."""
        networks = [*self.base.generators(), *([self.registration] if self.registration is not None else [])]
        generators = Update("generators", _parameters(networks), self.generator_losses)
        adversaries = [
            Update(adversary.name, _parameters([adversary.network]), partial(self._losses, adversary.losses))
            for adversary in self.base.adversaries()
        ]
        return [*adversaries, generators] if self.base.adversaries_first else [generators, *adversaries]

    def persistent_modules(self) -> tuple[str, ...]:
        """The translator and the registration network, without discriminators and pools, which hold patients' images."""
        names = [f"base.{name}" for name in self.base.persistent_modules()]
        return (*names, "registration") if self.registration is not None else tuple(names)

    def forward(self, batch: Batch) -> Float[Tensor, "b channels h w"]:
        """Translations in [0, 1]; registration takes no part in them."""
        return outward(self.base.translator()(inward(batch["image"])))

    def displacement(self, batch: Batch) -> Float[Tensor, "b 2 h w"]:
        """Displacements between translations and targets: ``warp(translation, field)`` matches the target.

        In pixels, rows (down) first, then columns (right). This aligns images of two modalities, a second use of
        the trained networks.

        Raises:
            InputError: the mode has no registration, or an image is missing.
        """
        x, y = self._pair(batch)
        return self._field(self.base.translator()(x), y)

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the total loss (paper, section 3), weighted."""
        x, y = self._pair(batch)
        config = self.config
        fake, losses = self.base.generator_losses(x, y)
        if self.registration is not None:
            # No gradient is stopped: G learns through what is moved and through what R sees.
            field = self._field(fake, y)
            weight = None
            if config.correction == "foreground":
                weight = foreground_weight(y, BACKGROUND, config.background_weight)
            losses["correction"] = config.correction_weight * correction_loss(warp(fake, field), y, weight)
            losses["smoothness"] = config.smoothness_weight * smoothness_loss(field)
            if config.anchor_weight > 0:
                losses["anchor"] = config.anchor_weight * self._anchor(field)
        return losses

    def _anchor(self, field: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        """Pulls a batch's mean displacement against the running mean over all images.

        The correction and smoothness losses do not change if G shifts all its images and R shifts them back. Motions
        between the two images of a pair that have no direction in common have a mean of 0, which settles the shift. One
        image's own displacement is not penalised: only what all have in common.
        """
        batch_mean = field.float().mean((0, 2, 3))
        if self.training:
            with torch.no_grad():
                whole = gather_without_gradient(batch_mean[None]).mean(0)
                self.mean_displacement.lerp_(whole, 1 - ANCHOR_MEMORY)
        return (self.mean_displacement.clone() * batch_mean).sum()

    def _losses(
        self, losses: Callable[[Tensor, Tensor], dict[str, Tensor]], batch: Batch
    ) -> dict[str, Tensor]:
        return losses(*self._pair(batch))

    def _field(self, moving: Tensor, fixed: Tensor) -> Tensor:
        if self.registration is None:
            raise InputError(
                f"mode '{self.config.mode}' learns no registration", "train with mode nc+r or c+r"
            )
        output = self.registration(moving, fixed)
        return integrate(output) if self.config.field == "velocity" else output

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x and y of a batch, in [-1, 1], checked."""
        for name, expected in self._shapes.items():
            if name not in batch:
                raise InputError(f"a batch has no '{name}'", "give batches with both 'image' and 'target'")
            if batch[name].shape[1:] != expected:
                raise InputError(
                    f"'{name}' has shape {list(batch[name].shape)}, but the networks take {list(expected)} an image",
                    "convert all pairs to this size and number of channels",
                )
        return inward(batch["image"]), inward(batch["target"])


def inward(images: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]; 0 becomes -1 exactly."""
    return 2 * images - 1


def outward(images: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1], in at least float32."""
    return (images.to(torch.promote_types(images.dtype, torch.float32)) + 1) / 2


def _check_size(image_size: tuple[int, int]) -> None:
    height, width = image_size
    if height % SIDE_FACTOR or width % SIDE_FACTOR or min(image_size) < SMALLEST_SIDE:
        raise InputError(
            f"images of {height}x{width} pixels cannot be translated",
            f"use an image size whose sides are multiples of {SIDE_FACTOR} from {SMALLEST_SIDE} on",
        )


def _parameters(networks: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [parameter for network in networks for parameter in network.parameters()]
