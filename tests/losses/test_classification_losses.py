"""The grading study's figures, PyTorch's and scikit-learn's answers, and closed forms."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.losses import (
    CrossEntropy,
    FocalLoss,
    GradeRegressionLoss,
    MaskedBCEWithLogits,
    QuadraticKappaLoss,
    class_weights,
    class_weights_from_counts,
    classification,
    cross_entropy,
    focal_loss,
    grade_regression_loss,
    masked_bce_with_logits,
    ordered,
    quadratic_kappa_loss,
    weighted_sum,
)

# Logits and grades that the official code of the grading study was measured on.
LOGITS = torch.tensor([[2.0, 1, 0, -1, -2], [0, 0, 0, 0, 0], [-1, 0, 1, 2, 3]])
GRADES = torch.tensor([0, 2, 3])
NAN = float("nan")


@pytest.mark.parametrize("module", [classification, class_weights, ordered, weighted_sum])
def test_docstring_examples_run(module):
    assert doctest.testmod(module).failed == 0


# The study's figures


def test_cross_entropy_is_the_studys():
    assert cross_entropy(LOGITS, GRADES).item() == pytest.approx(1.171089, abs=1e-5)
    assert CrossEntropy()(LOGITS, GRADES).item() == pytest.approx(1.171089, abs=1e-5)


def test_focal_loss_is_the_studys():
    assert focal_loss(LOGITS, GRADES).item() == pytest.approx(3.235701, abs=1e-5)
    for row, expected in enumerate([0.298710, 5.150172, 4.258221]):
        single = slice(row, row + 1)
        assert FocalLoss()(LOGITS[single], GRADES[single]).item() == pytest.approx(expected, abs=1e-5)


def test_kappa_loss_is_the_studys_on_probabilities():
    assert quadratic_kappa_loss(LOGITS, GRADES).item() == pytest.approx(0.218673, abs=1e-5)
    assert QuadraticKappaLoss()(LOGITS, GRADES).item() == pytest.approx(0.218673, abs=1e-5)
    # The official code forgets the softmax.
    raw = quadratic_kappa_loss(LOGITS, GRADES, are_probabilities=True)
    assert raw.item() == pytest.approx(0.821053, abs=1e-5)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [("mean_square_error", 0.0466667), ("mean_absolute_error", 0.2), ("smooth_l1", 0.0233333)],
)
def test_grade_regression_is_the_studys_and_never_broadcasts(distance, expected):
    score, grade = torch.tensor([0.3, 1.9, 3.2]), torch.tensor([0, 2, 3])
    for shaped in (score, score.unsqueeze(1)):
        assert grade_regression_loss(shaped, grade, distance).item() == pytest.approx(expected, abs=1e-5)
        assert GradeRegressionLoss(distance)(shaped, grade.float()).item() == pytest.approx(
            expected, abs=1e-5
        )
    one = grade_regression_loss(torch.tensor([[1.5]]), torch.tensor([1]))
    assert one.item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([100, 20, 40, 8, 4], [1, 5, 2.5, 12.5, 25]),
        # The training part of EyePACS.
        ([25810, 2443, 5292, 873, 708], [1, 10.5649, 4.8772, 29.5647, 36.4548]),
    ],
)
def test_class_weights_are_the_studys(counts, expected):
    assert class_weights_from_counts(counts).tolist() == pytest.approx(expected, abs=1e-4)
    assert class_weights_from_counts(torch.tensor(counts)).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_class_without_images_has_no_weight():
    with pytest.raises(InputError, match="class 1 has no training images"):
        class_weights_from_counts([5, 0, 3])
    with pytest.raises(InputError, match="classes 'df', 'vasc' have no training images"):
        class_weights_from_counts([5, 0, 0], ["nv", "df", "vasc"])


# Cross-entropy


def test_class_weights_reach_the_loss_as_a_weighted_mean():
    weights = torch.tensor([1.0, 5.0, 2.5, 12.5, 25.0])
    loss = CrossEntropy(weights)
    each = -LOGITS.log_softmax(1)[torch.arange(3), GRADES]
    expected = (weights[GRADES] * each).sum() / weights[GRADES].sum()
    assert loss(LOGITS, GRADES).item() == pytest.approx(expected.item(), abs=1e-6)
    assert loss(LOGITS, GRADES).item() != pytest.approx(CrossEntropy()(LOGITS, GRADES).item(), abs=1e-3)


def test_class_weights_are_buffers_that_can_be_changed_and_are_not_learned_state():
    loss = CrossEntropy(torch.ones(5))
    assert loss(LOGITS, GRADES).item() == pytest.approx(cross_entropy(LOGITS, GRADES).item(), abs=1e-6)
    loss.class_weights.copy_(torch.tensor([0.0, 1, 0, 1, 1]))
    assert loss(LOGITS, GRADES).item() == pytest.approx(-LOGITS[2].log_softmax(0)[3].item(), abs=1e-6)
    assert loss.double().class_weights.dtype == torch.float64
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []


def test_label_smoothing_spreads_a_share_of_the_target():
    target = torch.nn.functional.one_hot(GRADES, 5) * 0.9 + 0.1 / 5
    expected = -(target * LOGITS.log_softmax(1)).sum(1).mean()
    smoothed = CrossEntropy(label_smoothing=0.1)(LOGITS, GRADES)
    assert smoothed.item() == pytest.approx(expected.item(), abs=1e-6)


# Findings with unknowns


def test_unknown_findings_are_left_out_of_the_mean():
    from sklearn.metrics import log_loss

    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, NAN, 0], [0, 1, NAN], [NAN, NAN, NAN], [1, 1, 1], [0, NAN, 0], [NAN, 0, 1]])
    known = ~targets.isnan()
    expected = log_loss(targets[known].numpy(), logits[known].sigmoid().numpy())
    assert masked_bce_with_logits(logits, targets).item() == pytest.approx(expected, abs=1e-6)


def test_unknown_findings_get_no_gradient_and_no_nan():
    logits = torch.randn(2, 2, requires_grad=True)
    masked_bce_with_logits(logits, torch.tensor([[1.0, NAN], [NAN, 0.0]])).backward()
    assert bool(logits.grad.isfinite().all())
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0
    assert logits.grad[0, 0] < 0 < logits.grad[1, 1]


def test_a_batch_without_any_known_finding_gives_zero_and_zero_gradients():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = masked_bce_with_logits(logits, torch.full((3, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_pos_weight_multiplies_present_findings_of_its_column():
    logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [0.0, NAN]])
    loss = MaskedBCEWithLogits(torch.tensor([3.0, 5.0]))(logits, targets)
    assert loss.item() == pytest.approx(math.log(2) * (3 + 5 + 1) / 3, abs=1e-6)


# Focal and kappa


def test_focal_loss_without_focus_is_cross_entropy():
    plain = focal_loss(LOGITS, GRADES, alpha=1.0, gamma=0.0)
    assert plain.item() == pytest.approx(cross_entropy(LOGITS, GRADES).item(), abs=2e-5)


def test_focal_loss_of_a_certain_answer_is_finite_for_any_power():
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0]), gamma=1.5)
    loss.backward()
    assert loss.item() == 0
    assert bool(logits.grad.isfinite().all())


def test_kappa_loss_is_0_for_perfect_and_1_for_uniform_predictions():
    every = torch.arange(5)
    assert quadratic_kappa_loss(torch.eye(5), every, are_probabilities=True).item() == pytest.approx(
        0, abs=1e-9
    )
    assert quadratic_kappa_loss(torch.zeros(5, 5), every).item() == pytest.approx(1, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 7))
def test_kappa_loss_of_hard_predictions_is_1_minus_scikit_learns_kappa(seed, classes):
    from sklearn.metrics import cohen_kappa_score

    generator = torch.Generator().manual_seed(seed)
    truth, predicted = torch.randint(0, classes, (2, 40), generator=generator)
    hard = torch.nn.functional.one_hot(predicted, classes).double()
    loss = quadratic_kappa_loss(hard, truth, are_probabilities=True).item()
    kappa = cohen_kappa_score(truth, predicted, weights="quadratic", labels=range(classes))
    assert loss == pytest.approx(1 - kappa, abs=1e-7)


def test_gradients_of_focal_and_kappa_loss_are_the_finite_differences():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    grades = torch.tensor([0, 1, 2, 3, 4, 4])
    for loss in (focal_loss, quadratic_kappa_loss):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, grades), logits, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, focal_loss, quadratic_kappa_loss])
def test_losses_of_bfloat16_logits_are_nearly_those_of_float32(loss):
    logits = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    grades = torch.arange(64) % 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = loss(logits.bfloat16(), grades)
    assert rounded.item() == pytest.approx(loss(logits, grades).item(), rel=5e-3)


def test_kappa_loss_has_a_finite_gradient_for_nearly_certain_predictions():
    logits = (200 * torch.nn.functional.one_hot(torch.tensor([0, 4, 2]), 5).float()).requires_grad_()
    quadratic_kappa_loss(logits, torch.tensor([0, 1, 2])).backward()
    assert bool(logits.grad.isfinite().all())
