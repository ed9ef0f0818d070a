"""Compares images that are predicted or evaluated with what a run's training images looked like, and counts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from modicum.data.image import MedicalImage
from modicum.engine.inference.guards.character import ImageCharacter, character_of
from modicum.engine.inference.guards.embedding import EmbeddingTap
from modicum.engine.inference.guards.training_images import FEATURES, REASONS, TrainingImages
from modicum.wording import count_of

COLUMN = "unlike_training"
"""Of tables of predictions: reasons, separated by ``; ``; empty for an image that is like the training's."""
REFUSED = "unlike the training images: "
"""How the error of an image begins that ``strict`` refuses."""


@dataclass(frozen=True)
class Seen:
    """An image that is about to be compared.

    Attributes:
        record: as the network sees it.
        image: as it was decoded.
    """

    record: Shaped[np.ndarray, "height width channels"]
    image: MedicalImage

    @property
    def character(self) -> ImageCharacter:
        """What it looks like."""
        source = self.image.source
        return character_of(self.record, (source.height, source.width), self.image.spacing)


@dataclass
class ImageGuard:
    """Which images are unlike those of the training.

    Attributes:
        known: what these looked like.
        strict: whether images unlike them are refused: no answer, but a row with the reason.
        images: how many were compared.
        unlike: how many were unlike.
        reasons: how many for each reason.
    """

    known: TrainingImages
    strict: bool = False
    images: int = 0
    unlike: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _tap: EmbeddingTap | None = field(default=None, repr=False)

    @contextmanager
    def listening(self, network: nn.Module) -> Iterator[None]:
        """While a network predicts: its backbone's features are compared too, if those of the training are known."""
        if self.known.features is None:
            yield
            return
        with EmbeddingTap(network) as tap:
            self._tap = tap
            try:
                yield
            finally:
                self._tap = None

    def features(self, images: Tensor) -> Float[np.ndarray, "b d"] | None:
        """What the backbone said of a batch that was just predicted; None without one, or of another width."""
        found = None if self._tap is None else self._tap.take(images)
        kept = self.known.features
        return found if found is not None and kept is not None and found.shape[1] == len(kept.mean) else None

    def judge(
        self,
        seen: Sequence[Seen | ImageCharacter],
        features: Float[np.ndarray, "b d"] | None = None,
        by_network: Sequence[bool] | None = None,
    ) -> list[str]:
        """Compares images and counts them; returns each one's reasons as the table has them.

        Args:
            seen: the images.
            features: see :meth:`features`.
            by_network: what a network says that knows its images by itself.
        """
        characters = [one.character if isinstance(one, Seen) else one for one in seen]
        texts = []
        for row, reasons in enumerate(self.known.reasons(characters, features)):
            if by_network is not None and by_network[row] and FEATURES not in reasons:
                reasons = (*reasons, FEATURES)
            self.images += 1
            self.unlike += bool(reasons)
            self.reasons.update(reasons)
            texts.append("; ".join(reasons))
        return texts

    def refuses(self, reasons: str) -> str | None:
        """The error of an image with these reasons; None where it gets an answer."""
        return f"{REFUSED}{reasons}" if self.strict and reasons else None

    @property
    def counts(self) -> dict[str, Any]:
        """For ``metrics.json``: how many images were compared, how many were unlike, and why."""
        by_reason = {name: self.reasons[name] for name in REASONS if self.reasons[name]}
        return {"images": self.images, "unlike": self.unlike, "reasons": by_reason}

    def note(self) -> str:
        """What to know of the images, in a sentence; empty where all are like the training's."""
        return unlike_note(self.counts, self.strict)


def unlike_note(counts: dict[str, Any], strict: bool = False) -> str:
    """:meth:`ImageGuard.note` of counts as ``metrics.json`` has them."""
    unlike, images = counts.get("unlike", 0), counts.get("images", 0)
    if not unlike:
        return ""
    why = ", ".join(f"{number} {name}" for name, number in counts.get("reasons", {}).items())
    done = "refused" if strict else f"look at them before use (column {COLUMN}; --strict refuses them)"
    verb = "is" if unlike == 1 else "are"
    return f"{unlike:,} of {count_of(images, 'image')} {verb} unlike those of the training ({why}): {done}"
