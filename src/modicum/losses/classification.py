"""Losses of classification: one class, several findings, or an ordered grade.

Each is a pure function; the module of the same name holds its settings, with weights as buffers, so that
they move to the model's device.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from modicum.data import sampling

GradeDistance = Literal["mean_square_error", "mean_absolute_error", "smooth_l1"]


def _probabilities(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Softmax in at least float32, whatever precision the network ran in."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def class_weights_from_counts(counts: Sequence[int] | Int[Tensor, "classes"]) -> Float[Tensor, "classes"]:
    """Class weights that balance the loss: largest count / count of the class.

    Huang et al., "Identifying the key components in ResNet-50 for diabetic retinopathy grading" (Diagnostics
    2023, 13, 1664): the ``balance`` re-weighting, in which the largest class has weight 1.

    Raises:
        InputError: a class has no images.

    >>> class_weights_from_counts([100, 20, 40, 8, 4]).tolist()
    [1.0, 5.0, 2.5, 12.5, 25.0]
    """
    whole = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts, dtype=np.int64)
    return torch.from_numpy(sampling.class_weights(whole)).float()


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    class_weights: Float[Tensor, "classes"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean of -log softmax(logits)[target], weighted by the target's class.

    The mean is PyTorch's weighted mean, sum(w loss) / sum(w), so that weights do not change the learning
    rate.

    Args:
        logits: one score a class.
        target: class numbers from 0.
        class_weights: one weight a class, see :func:`class_weights_from_counts`.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.

    >>> logits = torch.tensor([[2.0, 1, 0, -1, -2], [0, 0, 0, 0, 0], [-1, 0, 1, 2, 3]])
    >>> round(cross_entropy(logits, torch.tensor([0, 2, 3])).item(), 4)
    1.1711
    """
    return functional.cross_entropy(logits, target, class_weights, label_smoothing=label_smoothing)


def masked_bce_with_logits(
    logits: Float[Tensor, "batch findings"],
    targets: Float[Tensor, "batch findings"],
    pos_weight: Float[Tensor, "findings"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy over the known entries of a table of findings.

    Args:
        logits: one score an image and finding.
        targets: 1 present, 0 absent, NaN unknown. Values between are soft labels.
        pos_weight: one factor a finding for its present entries.

    Returns:
        The mean over known entries. Where none is known, 0, still attached to the graph, so that a batch
        without labels gives zero gradients and no error.

    >>> unknown = float("nan")
    >>> loss = masked_bce_with_logits(torch.zeros(2, 2), torch.tensor([[1.0, unknown], [0.0, unknown]]))
    >>> round(loss.item(), 4)  # log 2
    0.6931
    """
    is_known = ~targets.isnan()
    # Replaced before the loss, not only left out after it: NaN times 0 would still be NaN in the gradient.
    certain = torch.where(is_known, targets, 0.0)
    losses = functional.binary_cross_entropy_with_logits(
        logits, certain, pos_weight=pos_weight, reduction="none"
    )
    return (losses * is_known).sum() / is_known.sum().clamp_min(1)


def focal_loss(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    alpha: float = 5.0,
    gamma: float = 2.0,
) -> Float[Tensor, ""]:
    """Focal loss, which down-weights confident correct predictions: mean of -alpha (1 - p)^gamma log p.

    Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017), with the scale and the floor of 1e-6
    under p that the grading study uses (Huang et al. 2023).

    Args:
        logits: one score a class.
        target: class numbers from 0.
        alpha: a factor on the whole loss.
        gamma: how strongly confident predictions are down-weighted; 0 gives alpha times cross-entropy.

    >>> focal_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0])).item() < 1e-6
    True
    """
    probability = _probabilities(logits).gather(1, target.long().unsqueeze(1)).squeeze(1) + 1e-6
    # With the floor, a confident prediction has p slightly above 1.
    return (-alpha * (1 - probability).clamp_min(0) ** gamma * probability.log()).mean()


def quadratic_kappa_loss(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    *,
    are_probabilities: bool = False,
    power: float = 2.0,
) -> Float[Tensor, ""]:
    """1 minus a differentiable quadratic-weighted kappa: 0 is perfect, about 1 is chance.

    Huang et al. (Diagnostics 2023, 13, 1664), kappa loss: with predictions sharpened by a power and
    normalised, the ratio of observed to expected squared distance between grades. For hard predictions it is
    exactly 1 - kappa.

    Args:
        logits: one score a grade; turned into probabilities by softmax.
        target: grades from 0.
        are_probabilities: ``logits`` are already probabilities and are taken as they are.
        power: by which probabilities are sharpened.

    >>> probabilities = torch.eye(3)
    >>> quadratic_kappa_loss(probabilities, torch.tensor([0, 1, 2]), are_probabilities=True).item()
    0.0
    """
    probabilities = logits if are_probabilities else _probabilities(logits)
    count, classes = probabilities.shape
    sharpened = probabilities**power
    predicted = sharpened / (sharpened.sum(1, keepdim=True) + 1e-10)
    truth = functional.one_hot(target.long(), classes).to(predicted.dtype)
    grade = torch.arange(classes, device=predicted.device, dtype=predicted.dtype)
    distance = (grade.unsqueeze(1) - grade) ** 2 / (classes - 1) ** 2
    # Written without matrix products, which automatic mixed precision would round to bfloat16.
    observed = (distance[target.long()] * predicted).sum()
    expected = (distance * predicted.sum(0).unsqueeze(1) * truth.sum(0)).sum() / count
    return observed / (expected + 1e-10)


def grade_regression_loss(
    score: Float[Tensor, "batch"] | Float[Tensor, "batch 1"],
    grade: Int[Tensor, "batch"] | Float[Tensor, "batch"],
    distance: GradeDistance = "mean_square_error",
) -> Float[Tensor, ""]:
    """Mean distance between a real severity score and the grade (Huang et al. 2023, regression objectives).

    Args:
        score: one number an image; [batch, 1] as it leaves a linear layer is taken too, and never broadcast.
        grade: the true grades, as numbers.
        distance: ``mean_square_error`` (the study's best), ``mean_absolute_error``, or ``smooth_l1``, which
            is quadratic up to a distance of 1 and linear beyond.

    >>> loss = grade_regression_loss(torch.tensor([[0.3], [1.9], [3.2]]), torch.tensor([0, 2, 3]))
    >>> round(loss.item(), 4)
    0.0467
    """
    score = score.squeeze(-1) if score.ndim == 2 else score
    grade = grade.to(score.dtype)
    if distance == "mean_square_error":
        return functional.mse_loss(score, grade)
    if distance == "mean_absolute_error":
        return functional.l1_loss(score, grade)
    return functional.smooth_l1_loss(score, grade)


class CrossEntropy(nn.Module):
    """:func:`cross_entropy` with its settings; ``class_weights`` is a buffer and may be changed in place."""

    class_weights: Tensor | None

    def __init__(
        self, class_weights: Float[Tensor, "classes"] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        # Not persistent: weights belong to the recipe and the training labels, not to what was learned.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        return cross_entropy(logits, target, self.class_weights, self.label_smoothing)


class MaskedBCEWithLogits(nn.Module):
    """:func:`masked_bce_with_logits` with its settings; ``pos_weight`` is a buffer."""

    pos_weight: Tensor | None

    def __init__(self, pos_weight: Float[Tensor, "findings"] | None = None) -> None:
        super().__init__()
        self.register_buffer("pos_weight", pos_weight, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch findings"], targets: Float[Tensor, "batch findings"]
    ) -> Float[Tensor, ""]:
        return masked_bce_with_logits(logits, targets, self.pos_weight)


class FocalLoss(nn.Module):
    """:func:`focal_loss` with its settings."""

    def __init__(self, alpha: float = 5.0, gamma: float = 2.0) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        return focal_loss(logits, target, self.alpha, self.gamma)


class QuadraticKappaLoss(nn.Module):
    """:func:`quadratic_kappa_loss` of logits."""

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        return quadratic_kappa_loss(logits, target)


class GradeRegressionLoss(nn.Module):
    """:func:`grade_regression_loss` with its distance."""

    def __init__(self, distance: GradeDistance = "mean_square_error") -> None:
        super().__init__()
        self.distance = distance

    def forward(
        self,
        score: Float[Tensor, "batch"] | Float[Tensor, "batch 1"],
        grade: Int[Tensor, "batch"] | Float[Tensor, "batch"],
    ) -> Float[Tensor, ""]:
        return grade_regression_loss(score, grade, self.distance)
