"""From the words for a loss (``dice+bce``, ``2*focal+dice``) to a module on assembled batches."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.losses import SegmentationLoss
from modicum.tasks.loss_words import loss_terms, refuse_settings

PARTS = ("dice", "bce", "cross_entropy", "focal", "cldice")


class OnMask(nn.Module):
    """Applies a loss to the outputs and the mask of an assembled batch, where it counts."""

    def __init__(self, loss: SegmentationLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return self.loss(outputs, batch["mask"], batch.get("fov"))


def chosen_loss(words: str, exclusive: bool, classes: Sequence[str], class_weights: Any = "none") -> OnMask:
    """Builds the loss of an expression in words.

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
    """Factors of the parts of a loss; see :func:`~modicum.tasks.loss_words.loss_terms`.

    >>> loss_parts("2*focal+dice")
    {'focal': 2.0, 'dice': 1.0}
    """
    return loss_terms(words, PARTS)


def _readable(words: str) -> str:
    if words != "auto":
        loss_parts(words)
    return words


LossWords = Annotated[str, AfterValidator(_readable)]
"""A setting with the words for a loss, or ``auto``; an unknown part is an error as soon as it is set."""


def validate_loss_settings(settings: Mapping[str, Any]) -> None:
    """Refuses what no segmentation has, before any mask is read.

    Args:
        settings: of the training, see :data:`~modicum.tasks.loss_words.LOSS_SETTINGS`.

    Raises:
        InputError: words that cannot be read, or settings without an effect.
    """
    _readable(settings.get("loss", "auto"))
    refuse_settings(settings, ["label_smoothing"], "losses of masks smooth no labels", "leave it at 0")
    refuse_settings(settings, ["class_weights_decay"], "weights of masks stay as they are", "leave it out")
    if isinstance(settings.get("class_weights"), str) and settings["class_weights"] != "none":
        raise InputError(
            f"class_weights={settings['class_weights']!r} is not an option of losses of masks (expected none or a list)",
            "leave class_weights at none (dice gives each class the same weight), or list one number a channel",
        )


def _class_weights(choice: Any, parts: Mapping[str, float], classes: Sequence[str]) -> Tensor | None:
    if choice is None or choice == "none":
        return None
    if isinstance(choice, str) or "cross_entropy" not in parts:
        raise InputError(
            f"class_weights={choice!r} is not an option of loss {'+'.join(parts)} of masks",
            "leave class_weights at none; dice gives each class the same weight",
        )
    if len(choice) != len(classes):
        raise InputError(
            f"class_weights has {len(choice)} values for {len(classes)} classes",
            f"give one for each class, in the order {', '.join(classes)}",
        )
    return torch.tensor([float(weight) for weight in choice])
