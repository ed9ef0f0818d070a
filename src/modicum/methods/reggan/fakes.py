"""The translations that a discriminator learns from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modicum.methods.reggan.config import FakeSource
from modicum.methods.reggan.image_pool import ImagePool


class Fakes(nn.Module):
    """Translations by one generator, given to its discriminator without the generator's graph.

    Args:
        source: ``same``, those of the generator's last step; ``pool``, these mixed with earlier ones; ``fresh``,
            computed again each time.
        capacity: number of translations in the pool.
        shape: channels, height and width of a translation.
    """

    def __init__(self, source: FakeSource, capacity: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.source = source
        self.pool = ImagePool(capacity, shape) if source == "pool" else None
        self._kept: Tensor | None = None

    def keep(self, translations: Tensor) -> None:
        """Keeps the translations of a generator's step, if the discriminator of the same step uses them."""
        if self.source != "fresh":
            self._kept = translations.detach()

    def take(self, make: Callable[[], Tensor]) -> Tensor:
        """Translations to learn from; ``make`` is called if none were kept."""
        translations, self._kept = self._kept, None
        if translations is None:
            with torch.no_grad():
                translations = make()
        return translations if self.pool is None else self.pool.exchange(translations)
