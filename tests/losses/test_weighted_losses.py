"""Class weights reach every loss, as a weighted mean; sums of losses are sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from modicum.losses import (
    CrossEntropy,
    FocalLoss,
    GradeRegressionLoss,
    QuadraticKappaLoss,
    WeightedSum,
    focal_loss,
    grade_regression_loss,
    quadratic_kappa_loss,
)

SCORES, GRADES = torch.tensor([0.3, 1.9, 3.2]), torch.tensor([0, 2, 3])
WEIGHTS = torch.tensor([1.0, 5.0, 2.5, 12.5, 25.0])


@pytest.mark.parametrize(
    ("distance", "each"),
    [
        ("mean_square_error", [0.09, 0.01, 0.04]),
        ("mean_absolute_error", [0.3, 0.1, 0.2]),
        ("smooth_l1", [0.045, 0.005, 0.02]),
    ],
)
def test_weighted_grade_regression_is_the_weighted_mean_by_hand(distance, each):
    expected = (1 * each[0] + 2.5 * each[1] + 12.5 * each[2]) / 16
    for scores in (SCORES, SCORES.unsqueeze(1)):
        loss = GradeRegressionLoss(distance, WEIGHTS)(scores, GRADES)
        assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_smooth_l1_is_torchs_and_weights_of_1_change_nothing():
    scores = torch.linspace(-2, 6, 40)
    grades = torch.arange(40) % 5
    expected = functional.smooth_l1_loss(scores, grades.float())
    assert grade_regression_loss(scores, grades, "smooth_l1").item() == pytest.approx(expected.item())
    for distance in ("mean_square_error", "mean_absolute_error", "smooth_l1"):
        plain = grade_regression_loss(scores, grades, distance)
        weighted = grade_regression_loss(scores, grades, distance, torch.ones(5))
        assert weighted.item() == pytest.approx(plain.item(), rel=1e-6)


def test_scores_in_half_precision_are_compared_in_single():
    score = torch.tensor([2.0078125], dtype=torch.bfloat16)
    assert grade_regression_loss(score, torch.tensor([2])).dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 7))
def test_weighted_kappa_loss_of_hard_predictions_is_scikit_learns_with_sample_weights(seed, classes):
    from sklearn.metrics import cohen_kappa_score

    generator = torch.Generator().manual_seed(seed)
    truth, predicted = torch.randint(0, classes, (2, 40), generator=generator)
    weights = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.1
    hard = functional.one_hot(predicted, classes).double()
    loss = quadratic_kappa_loss(hard, truth, are_probabilities=True, class_weights=weights).item()
    kappa = cohen_kappa_score(
        truth, predicted, weights="quadratic", labels=range(classes), sample_weight=weights[truth]
    )
    assert loss == pytest.approx(1 - kappa, abs=1e-7)


def test_weighted_focal_loss_is_the_weighted_mean_of_single_ones():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 1, 2, 3, 4, 4])
    each = torch.stack([focal_loss(logits[i : i + 1], target[i : i + 1]) for i in range(6)])
    expected = (WEIGHTS[target] * each).sum() / WEIGHTS[target].sum()
    assert FocalLoss(class_weights=WEIGHTS)(logits, target).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    "loss", [FocalLoss(class_weights=torch.zeros(5)), QuadraticKappaLoss(torch.zeros(5))]
)
def test_a_batch_of_classes_that_do_not_count_has_no_loss_and_no_nan(loss):
    logits = torch.randn(3, 5, requires_grad=True)
    value = loss(logits, torch.tensor([0, 2, 3]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 5))


def test_a_weighted_sum_is_the_sum_and_its_gradients_are_the_finite_differences():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 4, 4])
    cross_entropy, kappa = CrossEntropy(), QuadraticKappaLoss()
    both = WeightedSum([(2.0, cross_entropy), (0.5, kappa)])
    expected = 2 * cross_entropy(logits, target) + 0.5 * kappa(logits, target)
    assert both(logits, target).item() == pytest.approx(expected.item())
    assert torch.autograd.gradcheck(lambda x: both(x, target), logits, eps=1e-6, atol=1e-6)
