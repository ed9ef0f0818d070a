"""Exponential moving average of learned parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedParameters:
    """Keeps a moving average of the learnable parameters only (a frozen backbone is not copied).

    The decay is warmed up as ``min(decay, (1 + n) / (10 + n))`` at update ``n`` (from 0), so that early values do
    not linger.

    Args:
        parameters: learnable parameters by name.
        decay: weight of the past, in ``[0, 1)``.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self.decay = decay
        self.updates = 0
        self.average = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the parameters' current values."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.average.values()), list(self._parameters.values()), 1 - decay)

    @torch.no_grad()
    def load(self, average: Mapping[str, Tensor], updates: int) -> None:
        """Restores a saved state."""
        for name, value in self.average.items():
            value.copy_(average[name])
        self.updates = updates

    def take_over(self) -> None:
        """Makes the average the network's weights."""
        self._swap()

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Puts the average into the network for the duration of the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            current = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name].copy_(current)
