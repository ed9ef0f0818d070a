"""Which translations a discriminator learns from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modicum.methods.reggan.config import FakeSource
from modicum.methods.reggan.image_pool import ImagePool


class Fakes(nn.Module):
    """Translations by one generator, handed to its discriminator without the generator's graph.

    Args:
        source: ``same``, those of the generator's last step; ``pool``, these mixed with earlier ones; ``fresh``, made
            again each time.
        capacity: translations in the pool.
        shape: channels, height and width of a translation.
    """

    def __init__(self, source: FakeSource, capacity: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.source = source
        self.pool = ImagePool(capacity, shape) if source == "pool" else None
        self._made: Tensor | None = None

    def keep(self, made: Tensor) -> None:
        """Remembers the translations of a generator's step, where the discriminator of the same step wants them."""
        if self.source != "fresh":
            self._made = made.detach()

    def take(self, make: Callable[[], Tensor]) -> Tensor:
        """Translations to learn from; ``make`` is called where none were kept."""
        made, self._made = self._made, None
        if made is None:
            with torch.no_grad():
                made = make()
        return made if self.pool is None else self.pool.exchange(made)
