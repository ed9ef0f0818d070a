"""Losses and class weights for training sets in which classes have very different numbers of images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.losses.class_weights import ClassWeighted, without_images
from modicum.losses.classification import cross_entropy

_LEAST_PRIOR = 1e-9


def logit_adjusted_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    prior: Float[Tensor, "classes"],
    class_weights: Float[Tensor, "classes"] | None = None,
    label_smoothing: float = 0.0,
    tau: float = 1.0,
) -> Float[Tensor, ""]:
    """Cross-entropy of ``logits + tau log(prior + 1e-9)``; in use, the classes are compared by the logits alone.

    Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021, arXiv 2007.07314), equation 10. With
    ``tau = 1`` it is balanced softmax (Ren et al., NeurIPS 2020). The prior is that of the labels that training feeds:
    with balanced sampling and the prior of the images the tail would be raised twice.

    Args:
        logits: one score a class.
        target: class numbers from 0.
        prior: share of each class among the training images; 0 for a class without any.
        class_weights: see :func:`cross_entropy`.
        label_smoothing: see :func:`cross_entropy`.
        tau: strength of the correction.

    >>> shares = torch.tensor([0.9, 0.1])
    >>> round(logit_adjusted_cross_entropy(torch.zeros(1, 2), torch.tensor([1]), shares).item(), 4)  # -log 0.1
    2.3026
    """
    log_prior = (prior.to(torch.promote_types(logits.dtype, torch.float32)) + _LEAST_PRIOR).log()
    return cross_entropy(logits + tau * log_prior, target, class_weights, label_smoothing)


class LogitAdjustedCrossEntropy(ClassWeighted):
    """:func:`logit_adjusted_cross_entropy` with its settings; without a prior, cross-entropy."""

    prior: Tensor | None

    def __init__(
        self,
        prior: Float[Tensor, "classes"] | None,
        class_weights: Float[Tensor, "classes"] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(class_weights)
        self.register_buffer("prior", prior, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        if self.prior is None:
            return cross_entropy(logits, target, self.class_weights, self.label_smoothing)
        return logit_adjusted_cross_entropy(
            logits, target, self.prior, self.class_weights, self.label_smoothing
        )


def class_prior(counts: Sequence[int] | Int[Tensor, "classes"]) -> Float[Tensor, "classes"]:
    """The share of each class among the training images.

    >>> class_prior([3, 1, 0]).tolist()
    [0.75, 0.25, 0.0]
    """
    images = torch.as_tensor(counts, dtype=torch.float64, device="cpu")
    return (images / images.sum().clamp_min(1)).float()


def effective_weights(
    counts: Sequence[int] | Int[Tensor, "classes"],
    beta: float = 0.9999,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "classes"]:
    """Class weights by the effective number of images: proportional to ``(1 - beta) / (1 - beta^n)``, with mean 1.

    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (CVPR 2019, arXiv 1901.05555).

    Args:
        counts: training images of each class.
        beta: 0 weights all classes alike, towards 1 by the inverse of their number.
        names: of the classes, for the error.

    Raises:
        InputError: a class has no images, or ``beta`` is not in ``[0, 1)``.

    >>> effective_weights([1, 1000], beta=0.0).tolist()
    [1.0, 1.0]
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta is {beta:g}", "give a number from 0 up to, not with, 1, for instance 0.9999")
    images = torch.as_tensor(counts, dtype=torch.float64, device="cpu")
    if empty := torch.nonzero(images <= 0).flatten().tolist():
        raise without_images(empty, names)
    weights = (1 - beta) / (1 - beta**images)
    return (weights * len(weights) / weights.sum()).float()


def ldam_margins(
    counts: Sequence[int] | Int[Tensor, "classes"], largest: float = 0.5
) -> Float[Tensor, "classes"]:
    """Margins proportional to ``n^(-1/4)``, that of the rarest class being the largest; of a class without images, too.

    Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss" (NeurIPS 2019, arXiv 1906.07413).

    >>> ldam_margins([16, 1]).tolist()
    [0.25, 0.5]
    """
    images = torch.as_tensor(counts, dtype=torch.float64, device="cpu")
    least = images[images > 0].min() if (images > 0).any() else torch.ones((), dtype=torch.float64)
    return (largest * (least / images.clamp_min(least)) ** 0.25).float()


def ldam_loss(
    cosines: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    margins: Float[Tensor, "classes"],
    scale: float = 30.0,
    class_weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of ``scale (cosine - margin of the true class)``.

    Args:
        cosines: between features and class vectors, -1 to 1 (a linear layer over vectors of length 1, without bias).
        target: class numbers from 0.
        margins: see :func:`ldam_margins`.
        scale: of the cosines.
        class_weights: of the deferred re-weighting, see :func:`effective_weights`.
    """
    is_target = F.one_hot(target.long(), cosines.shape[1]).to(cosines.dtype)
    return cross_entropy(scale * (cosines - is_target * margins.to(cosines.dtype)), target, class_weights)
