"""Losses of classification: one class, or several findings. For grades see :mod:`modicum.losses.ordered`.

Each is a pure function; the module of the same name holds its settings, with weights as buffers, so that
they move to the model's device.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from modicum.distributed import mean_over_processes, processes
from modicum.losses.class_weights import ClassWeighted, weighted_mean


def _probabilities(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Softmax in at least float32, whatever precision the network ran in."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


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
    if class_weights is None or processes() == 1:
        return functional.cross_entropy(logits, target, class_weights, label_smoothing=label_smoothing)
    total = functional.cross_entropy(
        logits, target, class_weights, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / mean_over_processes(class_weights[target.long()].sum())


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
    return (losses * is_known).sum() / mean_over_processes(is_known.sum()).clamp_min(1)


def focal_loss(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    alpha: float = 5.0,
    gamma: float = 2.0,
    class_weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Focal loss, which down-weights confident correct predictions: mean of -alpha (1 - p)^gamma log p.

    Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017), with the scale and the floor of 1e-6
    under p that the grading study uses (Huang et al. 2023).

    Args:
        logits: one score a class.
        target: class numbers from 0.
        alpha: a factor on the whole loss.
        gamma: how strongly confident predictions are down-weighted; 0 gives alpha times cross-entropy.
        class_weights: one weight a class; the mean is a weighted one, as of :func:`cross_entropy`.

    >>> focal_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0])).item() < 1e-6
    True
    """
    probability = _probabilities(logits).gather(1, target.long().unsqueeze(1)).squeeze(1) + 1e-6
    # With the floor, a confident prediction has p slightly above 1.
    losses = -alpha * (1 - probability).clamp_min(0) ** gamma * probability.log()
    return weighted_mean(losses, target, class_weights)


class CrossEntropy(ClassWeighted):
    """:func:`cross_entropy` with its settings."""

    def __init__(
        self, class_weights: Float[Tensor, "classes"] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(class_weights)
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


class FocalLoss(ClassWeighted):
    """:func:`focal_loss` with its settings."""

    def __init__(
        self,
        alpha: float = 5.0,
        gamma: float = 2.0,
        class_weights: Float[Tensor, "classes"] | None = None,
    ) -> None:
        super().__init__(class_weights)
        self.alpha, self.gamma = alpha, gamma

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        return focal_loss(logits, target, self.alpha, self.gamma, self.class_weights)
