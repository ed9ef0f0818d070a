"""From the words for a loss (``dice+bce``, ``2*focal+dice``) to a module on assembled batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.losses import SegmentationLoss

PARTS = ("dice", "bce", "cross_entropy", "focal", "cldice")


class OnMask(nn.Module):
    """Applies a loss to the outputs and the mask of an assembled batch, where it counts."""

    def __init__(self, loss: SegmentationLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return self.loss(outputs, batch["mask"], batch.get("fov"))


def chosen_loss(words: str, exclusive: bool, classes: Sequence[str], class_weights: Any = "none") -> OnMask:
    """The loss that words stand for.

    Args:
        words: as :func:`loss_parts` reads them; ``auto`` for Dice and cross-entropy.
        exclusive: channels exclude each other.
        classes: names of the channels.
        class_weights: ``none``, or one number a channel for cross-entropy.

    Raises:
        InputError: words that cannot be read or do not fit the channels.
    """
    fit, unfit = ("cross_entropy", "bce") if exclusive else ("bce", "cross_entropy")
    parts = loss_parts(f"dice+{fit}" if words == "auto" else words)
    if unfit in parts:
        what = "exclude each other" if exclusive else "do not exclude each other"
        raise InputError(f"loss '{unfit}' does not fit classes that {what}", f"use {fit}")
    weights = _class_weights(class_weights, parts, classes)
    return OnMask(SegmentationLoss(parts, exclusive=exclusive, class_weights=weights))


def loss_parts(words: str) -> dict[str, float]:
    """Factors of the parts of a loss.

    Raises:
        InputError: an unknown part, one that is there twice, or a factor that is no number above 0.

    >>> loss_parts("2*focal+dice")
    {'focal': 2.0, 'dice': 1.0}
    """
    parts: dict[str, float] = {}
    for word in words.split("+"):
        factor, star, name = (piece.strip() for piece in word.rpartition("*"))
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = 0.0
        if name not in PARTS or name in parts or not 0 < weight < float("inf"):
            raise InputError(
                f"loss '{words}': '{word.strip()}' is no part, or there twice",
                f"join some of {', '.join(PARTS)} by +, for instance dice+0.5*focal",
            )
        parts[name] = weight
    return parts


def _class_weights(choice: Any, parts: Mapping[str, float], classes: Sequence[str]) -> Tensor | None:
    if choice is None or choice == "none":
        return None
    if choice == "balanced" or "cross_entropy" not in parts:
        raise InputError(
            f"class_weights={choice!r} is nothing that loss {'+'.join(parts)} of masks has",
            "leave class_weights at none; dice gives each class the same weight",
        )
    if len(choice) != len(classes):
        raise InputError(
            f"class_weights has {len(choice)} values for {len(classes)} classes",
            f"give one each, in the order {', '.join(classes)}",
        )
    return torch.tensor([float(weight) for weight in choice])
