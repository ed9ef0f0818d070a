"""Base class of the translators that registration is added to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modicum.methods.reggan.adversary import Penalty
from modicum.methods.reggan.config import RegGanConfig
from modicum.methods.reggan.fakes import Fakes


@dataclass(frozen=True)
class Adversary:
    """A discriminator and how it learns.

    Attributes:
        name: name of its update.
        network: the network that is trained.
        losses: maps sources and targets to named losses.
    """

    name: str
    network: nn.Module
    losses: Callable[[Tensor, Tensor], dict[str, Tensor]]


class Base(nn.Module, ABC):
    """A translator of sources x into targets y, all in [-1, 1], with its losses.

    A subclass makes its ``discriminator`` of targets and, where there is a cycle, a ``back_discriminator`` of sources.

    Args:
        config: the method's settings.
        image_size: height and width in pixels.
        channels: channels of sources and of targets.

    Attributes:
        adversaries_first: whether discriminators learn before the generators of a step.
        fakes, back_fakes: the translations that the discriminators learn from.
        penalty: penalty on the discriminators' gradients.
    """

    adversaries_first: bool = False
    discriminator: nn.Module
    back_discriminator: nn.Module

    def __init__(self, config: RegGanConfig, image_size: tuple[int, int], channels: tuple[int, int]) -> None:
        super().__init__()
        sources, targets = channels
        self.config = config
        self.penalty = Penalty(config.penalty, config.penalty_weight)
        self.fakes = Fakes(config.fakes_of_mode, config.pool_size, (targets, *image_size))
        if config.cycle:
            self.back_fakes = Fakes(config.fakes_of_mode, config.pool_size, (sources, *image_size))

    @abstractmethod
    def generators(self) -> Sequence[nn.Module]:
        """The networks that learn in the generators' update."""

    @abstractmethod
    def generator_losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Translations of the sources, with their graph, and the generators' losses by name, weighted."""

    @abstractmethod
    def discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of the discriminator of targets, from targets and translations of sources."""

    def back_discriminator_losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Losses of the discriminator of sources, from sources and translations of targets."""
        raise NotImplementedError

    def adversaries(self) -> Sequence[Adversary]:
        """The discriminators, in the order in which they learn: that of sources first."""
        adversary = Adversary("discriminator", self.discriminator, self.discriminator_losses)
        if not self.config.cycle:
            return [adversary]
        back = Adversary("back_discriminator", self.back_discriminator, self.back_discriminator_losses)
        return [back, adversary]

    @abstractmethod
    def persistent_modules(self) -> tuple[str, ...]:
        """Names of the submodules that :meth:`translator` consists of."""

    def translator(self) -> nn.Module:
        """The networks that translate, and no others: a module from images to images."""
        parts = [self.get_submodule(name) for name in self.persistent_modules()]
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def difference(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference, in at least float32."""
    return (predicted - target).abs().mean(dtype=torch.promote_types(predicted.dtype, torch.float32))


def named(prefix: str, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Losses with a prefix before their names."""
    return {f"{prefix}{name}": value for name, value in losses.items()}
