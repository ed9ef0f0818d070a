"""Losses of classification by name, with the outputs that each needs and with class weights."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.manifest import all_grades, name_classes
from modicum.data.sampling import decayed_weights, label_shares
from modicum.errors import InputError
from modicum.losses import (
    CrossEntropy,
    FocalLoss,
    GradeRegressionLoss,
    LogitAdjustedCrossEntropy,
    MaskedBCEWithLogits,
    QuadraticKappaLoss,
    WeightedSum,
    class_weights_from_counts,
    effective_weights,
)
from modicum.losses.ordered import GradeDistance
from modicum.tasks.loss_words import loss_terms, refuse_settings
from modicum.wording import listed

Output = Literal["logits", "score"]
OF_LOGITS = ("cross_entropy", "focal", "kappa", "logit_adjusted")
"""Of a logit a class."""
OF_SCORE: dict[str, GradeDistance] = {
    "mse": "mean_square_error",
    "mae": "mean_absolute_error",
    "smooth_l1": "smooth_l1",
}
"""Of one output an image, its severity in grades."""
OF_FINDINGS = ("bce",)
"""Of a logit a finding."""
_SMOOTHED = ("cross_entropy", "logit_adjusted")
"""Losses that label_smoothing is for."""
NAMES = (*OF_LOGITS, *OF_SCORE, *OF_FINDINGS)


def terms_of(words: str) -> dict[str, float]:
    """Factors of the losses in a sum, all of one kind of output.

    Raises:
        InputError: an unknown loss, or losses whose outputs differ.
    """
    terms = loss_terms(words, NAMES)
    kinds = {
        "a severity score": [name for name in terms if name in OF_SCORE],
        "a logit a class": [name for name in terms if name in OF_LOGITS],
        "a logit a finding": [name for name in terms if name in OF_FINDINGS],
    }
    named = [f"{' and '.join(names)} of {output}" for output, names in kinds.items() if names]
    if len(named) > 1:
        raise InputError(
            f"loss '{words}' mixes {', '.join(named)}: a network has one kind of output",
            f"join losses of one kind: {', '.join(OF_LOGITS)}; or {', '.join(OF_SCORE)}",
        )
    return terms


def output_of(words: str) -> Output:
    """The kind of network output that a loss needs. Raises as :func:`terms_of`."""
    return "score" if set(terms_of(words)) <= set(OF_SCORE) else "logits"


def usual_loss(kind: str, output: Output) -> str:
    """What ``auto`` means."""
    if output == "score":
        return "mse"
    return "bce" if kind == "multi-label" else "cross_entropy"


def validate_loss_settings(settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuses words that cannot be read, and settings that a loss would not use, before any data are read.

    Args:
        settings: of the training, see :data:`~modicum.tasks.loss_words.LOSS_SETTINGS`.
        options: of the task; ``thresholds`` are of a severity score alone.

    Raises:
        InputError: settings that do not fit the loss.
    """
    words = settings.get("loss", "auto")
    names = set() if words == "auto" else set(terms_of(words))
    if names and not names & set(_SMOOTHED):
        refuse_settings(
            settings, ["label_smoothing"], f"loss '{words}' smooths no labels", "it goes with cross_entropy"
        )
    if settings.get("class_weights") != "dynamic":
        refuse_settings(
            settings,
            ["class_weights_decay"],
            "class weights stay as they are",
            "it goes with class_weights=dynamic",
        )
    chosen = options.get("thresholds") or "midpoints"
    if chosen != "midpoints" and not (names and names <= set(OF_SCORE)):
        raise InputError(
            f"thresholds={chosen!r} has no effect: loss '{words}' is not of a severity score",
            f"use a loss of one: {', '.join(OF_SCORE)}, or leave thresholds out",
        )


def check_fits(words: str, kind: str, ordered: bool, classes: Sequence[str] = ()) -> None:
    """Whether the labels allow a loss. Two classes are ordered: the second is the positive one.

    Args:
        words: names of losses.
        kind: of the labels.
        ordered: whether the classes are grades.
        classes: for the remedy where a grade is missing among them.

    Raises:
        InputError: findings and classes want different losses, and grades an order.
    """
    names = set(terms_of(words))
    findings = kind == "multi-label"
    if findings != (names <= set(OF_FINDINGS)):
        fit = ", ".join(OF_FINDINGS if findings else (*OF_LOGITS, *OF_SCORE))
        raise InputError(f"loss '{words}' does not fit {kind} labels", f"use {fit}")
    needs_order = sorted(names & {*OF_SCORE, "kappa"})
    if needs_order and kind == "multi-class" and not ordered:
        if grades := all_grades(classes):
            absent = [name for name in grades if name not in classes]
            raise InputError(
                f"loss '{words}': {' and '.join(needs_order)} needs all grades, and no image has {listed(absent)}",
                f"if these are grades, name all of them with --classes {','.join(grades)}",
            )
        raise InputError(
            f"loss '{words}': {' and '.join(needs_order)} needs grades, and these classes have no order",
            "pass --set ordered=true if they rise in the order of --classes, or use cross_entropy or focal",
        )


def make_loss(
    words: str,
    class_weights: Float[Tensor, "classes"] | None = None,
    label_smoothing: float = 0.0,
    decay: float | None = None,
    prior: Float[Tensor, "classes"] | None = None,
) -> "OnBatch":
    """Builds the loss of an expression in words, ``(outputs, batch) -> scalar``.

    Args:
        words: a name or a weighted sum, see :func:`terms_of`.
        class_weights: one weight a class (of findings: a factor on present ones); None: all count the same.
        label_smoothing: of cross-entropy.
        decay: factor from an epoch to the next on what the weights have above 1; None: they stay as they are.
        prior: share of each class among the labels that training feeds, for ``logit_adjusted``.
    """
    losses: dict[str, nn.Module] = {}
    for name in terms_of(words):
        if name == "bce":
            losses[name] = MaskedBCEWithLogits(class_weights)
        elif name == "focal":
            losses[name] = FocalLoss(class_weights=class_weights)
        elif name == "logit_adjusted":
            losses[name] = LogitAdjustedCrossEntropy(prior, class_weights, label_smoothing)
        elif name == "kappa":
            losses[name] = QuadraticKappaLoss(class_weights)
        elif name in OF_SCORE:
            losses[name] = GradeRegressionLoss(OF_SCORE[name], class_weights)
        else:
            losses[name] = CrossEntropy(class_weights, label_smoothing)
    terms = [(factor, losses[name]) for name, factor in terms_of(words).items()]
    loss = terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else WeightedSum(terms)
    target = "labels" if "bce" in losses else "label"
    if decay is None or class_weights is None:
        return OnBatch(loss, target)
    return OnBatchByEpoch(loss, target, class_weights, decay)


def weights_of(
    choice: Any, targets: Mapping[str, np.ndarray], classes: Sequence[str]
) -> Float[Tensor, "classes"] | None:
    """Class weights as a user chose them.

    Args:
        choice: ``none``, ``balanced``, ``dynamic`` (balanced at first), ``effective``, or one number a class.
        targets: ``label`` or ``labels`` of the training rows; empty where nothing will be learned.
        classes: names of the classes or findings.

    Returns:
        Of classes largest count / own count, or by the effective number of images (Cui et al., CVPR 2019); of findings
        absent / present images.

    Raises:
        InputError: not one number a class, or a class without images has to be weighted.
    """
    if choice is None or choice == "none" or not targets:
        return None  # without training rows nothing will be learned: a run opened for prediction
    if choice == "effective":
        if "labels" in targets:
            raise InputError(
                "class_weights=effective is for classes, and these are findings", "use class_weights=balanced"
            )
        counts = np.bincount(targets["label"], minlength=len(classes)).tolist()
        return effective_weights(counts, names=classes)
    if choice in ("balanced", "dynamic"):
        if "labels" in targets:
            positives = np.nansum(targets["labels"], axis=0)
            negatives = np.nansum(1 - targets["labels"], axis=0)
            return torch.tensor(negatives / np.maximum(positives, 1), dtype=torch.float32)
        counts = np.bincount(targets["label"], minlength=len(classes)).tolist()
        return class_weights_from_counts(counts, classes)
    weights = torch.tensor([float(weight) for weight in choice], dtype=torch.float32)
    if len(weights) != len(classes):
        raise InputError(
            f"class_weights has {len(weights)} values for {len(classes)} classes",
            f"give one for each class, in the order {name_classes(classes)}",
        )
    return weights


def prior_of(
    words: str, targets: Mapping[str, np.ndarray], num_classes: int, sampling: str
) -> Float[Tensor, "classes"] | None:
    """The share of each class among the labels that training feeds, for a loss that corrects by it; else None.

    Raises:
        InputError: a sampling whose shares change from epoch to epoch.
    """
    if "logit_adjusted" not in terms_of(words) or "label" not in targets:
        return None
    counts = np.bincount(targets["label"], minlength=num_classes)
    return torch.from_numpy(label_shares(counts, sampling)).float()


class OnBatch(nn.Module):
    """Applies a loss to the outputs and one target of the batch."""

    def __init__(self, loss: nn.Module, target: str) -> None:
        super().__init__()
        self.loss = loss
        self.target = target

    def forward(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return self.loss(outputs, batch[self.target])


class OnBatchByEpoch(OnBatch):
    """A loss whose class weights tend to 1 as the epochs go on: ``f w + (1 - f)`` with ``f = decay ** epoch``.

    The ``dynamic`` re-weighting of Huang et al. (Diagnostics 2023, 13, 1664); the weights of an epoch depend on nothing
    but its number.
    """

    def __init__(
        self, loss: nn.Module, target: str, class_weights: Float[Tensor, "classes"], decay: float
    ) -> None:
        super().__init__(loss, target)
        self.decay = decay
        self._first = class_weights.double().cpu().numpy()

    @torch.no_grad()
    def on_epoch_start(self, epoch: int) -> None:
        """Sets the weights of an epoch (from 0)."""
        weights = torch.from_numpy(decayed_weights(self._first, epoch, self.decay))
        for name, buffer in self.loss.named_buffers():
            if name.rpartition(".")[2] in ("class_weights", "pos_weight"):
                buffer.copy_(weights)
