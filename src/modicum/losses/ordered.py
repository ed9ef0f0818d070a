"""Losses of ordered classes (grades): of a logit a grade, or of one real severity score."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from modicum.distributed import sum_with_gradient
from modicum.losses.class_weights import ClassWeighted, weighted_mean

GradeDistance = Literal["mean_square_error", "mean_absolute_error", "smooth_l1"]

_DISTANCES = {
    "mean_square_error": functional.mse_loss,
    "mean_absolute_error": functional.l1_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


def quadratic_kappa_loss(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, "batch"],
    *,
    are_probabilities: bool = False,
    power: float = 2.0,
    class_weights: Float[Tensor, "classes"] | None = None,
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
        class_weights: one weight a grade; each sample counts so often (scikit-learn's ``sample_weight``).

    >>> probabilities = torch.eye(3)
    >>> quadratic_kappa_loss(probabilities, torch.tensor([0, 1, 2]), are_probabilities=True).item()
    0.0
    """
    in_float32 = torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits if are_probabilities else logits.softmax(1, dtype=in_float32)
    count, classes = probabilities.shape
    sharpened = probabilities**power
    predicted = sharpened / (sharpened.sum(1, keepdim=True) + 1e-10)
    truth = functional.one_hot(target.long(), classes).to(predicted.dtype)
    grade = torch.arange(classes, device=predicted.device, dtype=predicted.dtype)
    distance = (grade.unsqueeze(1) - grade) ** 2 / (classes - 1) ** 2
    per_sample = predicted
    total: Tensor = predicted.new_tensor(float(count))
    if class_weights is not None:
        weights = class_weights.to(predicted.dtype)[target.long()].unsqueeze(1)
        per_sample, truth, total = weights * predicted, weights * truth, weights.sum().clamp_min(1e-10)
    # Written without matrix products, which automatic mixed precision would round to bfloat16.
    observed = sum_with_gradient((distance[target.long()] * per_sample).sum())
    predicted_counts, true_counts = sum_with_gradient(per_sample.sum(0)), sum_with_gradient(truth.sum(0))
    expected = (distance * predicted_counts.unsqueeze(1) * true_counts).sum() / sum_with_gradient(total)
    return observed / (expected + 1e-10)


def grade_regression_loss(
    score: Float[Tensor, "batch"] | Float[Tensor, "batch 1"],
    grade: Int[Tensor, "batch"] | Float[Tensor, "batch"],
    distance: GradeDistance = "mean_square_error",
    class_weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Mean distance between a real severity score and the grade (Huang et al. 2023, regression objectives).

    Args:
        score: one number an image, in grades; [batch, 1] as it leaves a linear layer is taken too, and never broadcast.
        grade: the true grades, as numbers.
        distance: ``mean_square_error`` (the study's best), ``mean_absolute_error``, or ``smooth_l1``, which
            is quadratic up to a distance of 1 and linear beyond.
        class_weights: one weight a grade (then ``grade`` holds whole numbers); the mean is a weighted one, see
            :func:`~modicum.losses.class_weights.weighted_mean`.

    >>> loss = grade_regression_loss(torch.tensor([[0.3], [1.9], [3.2]]), torch.tensor([0, 2, 3]))
    >>> round(loss.item(), 4)
    0.0467
    """
    score = score.squeeze(-1) if score.ndim == 2 else score
    # bfloat16 has no room for a grade's second digit after the point.
    score = score.to(torch.promote_types(score.dtype, torch.float32))
    of_pair, true = _DISTANCES[distance], grade.to(score.dtype)
    if class_weights is None:
        return of_pair(score, true)
    return weighted_mean(of_pair(score, true, reduction="none"), grade.long(), class_weights)


class QuadraticKappaLoss(ClassWeighted):
    """:func:`quadratic_kappa_loss` of logits, with its class weights."""

    def forward(
        self, logits: Float[Tensor, "batch classes"], target: Int[Tensor, "batch"]
    ) -> Float[Tensor, ""]:
        return quadratic_kappa_loss(logits, target, class_weights=self.class_weights)


class GradeRegressionLoss(ClassWeighted):
    """:func:`grade_regression_loss` with its distance and class weights."""

    def __init__(
        self,
        distance: GradeDistance = "mean_square_error",
        class_weights: Float[Tensor, "classes"] | None = None,
    ) -> None:
        super().__init__(class_weights)
        self.distance = distance

    def forward(
        self,
        score: Float[Tensor, "batch"] | Float[Tensor, "batch 1"],
        grade: Int[Tensor, "batch"] | Float[Tensor, "batch"],
    ) -> Float[Tensor, ""]:
        return grade_regression_loss(score, grade, self.distance, self.class_weights)
