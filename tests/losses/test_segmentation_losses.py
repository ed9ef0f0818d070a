"""Dice, cross-entropy, focal loss and clDice by closed forms, PyTorch's, torchvision's and scikit-learn's answers."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from modicum.losses import (
    SegmentationLoss,
    cldice_loss,
    dice_loss,
    pixel_bce_with_logits,
    pixel_cross_entropy,
    segmentation,
    sigmoid_focal_loss,
    soft_skeleton,
)

INFINITY = float("inf")


def made(seed: int, channels: int, exclusive: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits and targets ``[2, channels, 5, 7]``."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, channels, 5, 7, generator=generator)
    if exclusive:
        codes = torch.randint(0, channels, (2, 5, 7), generator=generator)
        return logits, functional.one_hot(codes, channels).permute(0, 3, 1, 2).float()
    return logits, torch.randint(0, 2, logits.shape, generator=generator).float()


def test_docstring_examples_run():
    assert doctest.testmod(segmentation).failed == 0


# Dice


def test_dice_loss_of_a_constant_prediction_is_its_closed_form():
    # 12 of 40 pixels are true, 0.25 is said everywhere.
    targets = torch.zeros(1, 1, 5, 8)
    targets[..., :3, :4] = 1
    said = torch.full_like(targets, 0.25)
    squares = 1 - (2 * 12 * 0.25 + 1) / (40 * 0.0625 + 12 + 1)
    sums = 1 - (2 * 12 * 0.25 + 1) / (40 * 0.25 + 12 + 1)
    assert dice_loss(said, targets).item() == pytest.approx(squares)
    assert dice_loss(said, targets, squared=False).item() == pytest.approx(sums)


def test_dice_loss_of_hard_masks_without_smoothing_is_1_minus_f1():
    from sklearn.metrics import f1_score

    _, said = made(0, 3, exclusive=False)
    _, targets = made(1, 3, exclusive=False)
    f1 = [
        f1_score(t.flatten(), s.flatten())
        for t, s in zip(targets.flatten(0, 1), said.flatten(0, 1), strict=True)
    ]
    for squared in (True, False):
        loss = dice_loss(said, targets, smooth=0.0, squared=squared)
        assert loss.item() == pytest.approx(1 - sum(f1) / len(f1), abs=1e-6)


def test_dice_loss_of_nothing_where_nothing_is_is_0():
    assert dice_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)).item() == 0


def test_dice_loss_is_of_each_image_so_that_a_small_mask_counts_like_a_large_one():
    targets = torch.zeros(2, 1, 10, 10)
    targets[0, :, 0, 0] = 1
    targets[1] = 1
    said = targets.clone()
    said[0] = 0
    assert dice_loss(said, targets, smooth=0.0).item() == pytest.approx(0.5)


# Pixels


def test_pixel_losses_are_pytorchs():
    logits, targets = made(0, 2, exclusive=False)
    theirs = functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(pixel_bce_with_logits(logits, targets), theirs)
    logits, targets = made(0, 4, exclusive=True)
    torch.testing.assert_close(
        pixel_cross_entropy(logits, targets), functional.cross_entropy(logits, targets.argmax(1))
    )
    weights = torch.tensor([0.5, 1.0, 4.0, 2.0])
    torch.testing.assert_close(
        pixel_cross_entropy(logits, targets, None, weights),
        functional.cross_entropy(logits, targets.argmax(1), weights),
    )


def test_pixels_outside_are_pytorchs_ignored_ones():
    logits, targets = made(3, 3, exclusive=True)
    inside = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)) > 0.4
    codes = targets.argmax(1).where(inside[:, 0], -100)
    weights = torch.tensor([1.0, 3.0, 0.2])
    for chosen in (None, weights):
        torch.testing.assert_close(
            pixel_cross_entropy(logits, targets, inside, chosen),
            functional.cross_entropy(logits, codes, chosen),
        )


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.5), (1.5, 0.25)])
def test_focal_loss_is_torchvisions(gamma, alpha):
    from torchvision.ops import sigmoid_focal_loss as theirs

    logits, targets = made(0, 2, exclusive=False)
    expected = theirs(logits, targets, alpha=alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, gamma=gamma, alpha=alpha), expected)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    logits, targets = made(1, 2, exclusive=False)
    torch.testing.assert_close(
        2 * sigmoid_focal_loss(logits, targets, gamma=0.0), pixel_bce_with_logits(logits, targets)
    )


# What lies outside


@pytest.mark.parametrize(
    ("parts", "exclusive"),
    [
        ({"dice": 1.0, "bce": 1.0, "focal": 1.0, "cldice": 1.0}, False),
        ({"dice": 1.0, "cross_entropy": 1.0, "focal": 1.0, "cldice": 1.0}, True),
    ],
)
def test_pixels_outside_change_no_loss_and_get_no_gradient(parts, exclusive):
    logits, targets = made(0, 3, exclusive)
    inside = torch.ones(2, 1, 5, 7)
    inside[:, :, :, 4:] = 0
    loss = SegmentationLoss(parts, exclusive=exclusive)
    expected = loss(logits[..., :4], targets[..., :4])
    other = logits.clone()
    other[..., 4:] = 50 * torch.randn(2, 3, 5, 3)
    targets[..., 4:] = 1 - targets[..., 4:]
    other.requires_grad_()
    found = loss(other, targets, inside)
    found.backward()
    # A skeleton sees its neighbours' absence at the border of the field, as it does at that of the picture.
    torch.testing.assert_close(found, expected, atol=0.2 if "cldice" in parts else 1e-6, rtol=0)
    assert other.grad[..., 4:].abs().max() == 0
    without = SegmentationLoss({k: v for k, v in parts.items() if k != "cldice"}, exclusive=exclusive)
    torch.testing.assert_close(
        without(other, targets, inside), without(logits[..., :4], targets[..., :4].contiguous())
    )


def test_a_batch_wholly_outside_gives_zero_and_zero_gradients():
    logits, targets = made(0, 2, exclusive=False)
    logits.requires_grad_()
    loss = SegmentationLoss({"dice": 1.0, "bce": 1.0, "focal": 1.0})(logits, targets, torch.zeros(2, 1, 5, 7))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


# Sums


def test_a_sum_is_the_weighted_sum_of_its_parts():
    logits, targets = made(0, 1, exclusive=False)
    both = SegmentationLoss({"focal": 2.0, "dice": 0.5})(logits, targets)
    expected = 2 * sigmoid_focal_loss(logits, targets) + 0.5 * dice_loss(logits.sigmoid(), targets)
    torch.testing.assert_close(both, expected)


def test_dice_of_exclusive_channels_is_that_of_the_foreground():
    logits, targets = made(0, 3, exclusive=True)
    expected = dice_loss(logits.softmax(1)[:, 1:], targets[:, 1:])
    torch.testing.assert_close(SegmentationLoss({"dice": 1.0}, exclusive=True)(logits, targets), expected)


def test_parts_that_do_not_fit_the_channels_are_refused():
    for parts, exclusive in (({"bce": 1.0}, True), ({"cross_entropy": 1.0}, False), ({}, True)):
        with pytest.raises(ValueError, match="are not all among"):
            SegmentationLoss(parts, exclusive=exclusive)


@pytest.mark.parametrize("exclusive", [False, True])
def test_gradients_are_the_finite_differences(exclusive):
    logits, targets = made(0, 2, exclusive)
    logits, targets = logits[:1, :, :4, :4].double().requires_grad_(), targets[:1, :, :4, :4].double()
    parts = {"dice": 1.0, "focal": 1.0, "cross_entropy" if exclusive else "bce": 1.0}
    loss = SegmentationLoss(parts, exclusive=exclusive)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits, eps=1e-6, atol=1e-6)


def test_losses_of_bfloat16_logits_are_nearly_those_of_float32():
    logits, targets = made(0, 1, exclusive=False)
    loss = SegmentationLoss({"dice": 1.0, "bce": 1.0, "focal": 1.0})
    rounded = loss(logits.bfloat16(), targets)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(loss(logits, targets).item(), rel=1e-2)


def test_certain_answers_give_finite_losses_and_gradients():
    logits = torch.tensor([500.0, -500.0, 500.0, -500.0]).view(1, 1, 2, 2).requires_grad_()
    targets = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2)
    loss = SegmentationLoss({"dice": 1.0, "bce": 1.0, "focal": 1.0, "cldice": 1.0})(logits, targets)
    loss.backward()
    assert math.isfinite(loss.item())
    assert bool(logits.grad.isfinite().all())


# Centre lines


def test_the_skeleton_of_a_bar_is_its_middle_line():
    bar = torch.zeros(1, 1, 21, 40)
    bar[..., 8:13, 4:36] = 1  # five rows thick: row 10 is the middle
    skeleton = soft_skeleton(bar, iterations=5)
    # Away from the ends, where a skeleton forks.
    expected = torch.zeros(21)
    expected[10] = 1
    assert torch.equal(skeleton[0, 0, :, 12:28], expected[:, None].expand(-1, 16))


def test_a_line_of_one_pixel_is_its_own_skeleton():
    line = torch.zeros(1, 1, 9, 12)
    line[..., 4, 2:10] = 1
    assert torch.equal(soft_skeleton(line), line)


def test_centre_line_dice_ignores_thickness_and_sees_gaps_where_dice_does_not():
    truth = torch.zeros(1, 1, 25, 60)
    truth[..., 10:15, 5:55] = 1
    thin, broken = torch.zeros_like(truth), truth.clone()
    thin[..., 11:14, 5:55] = 1
    broken[..., 28:32] = 0
    assert cldice_loss(thin, truth).item() < 0.06
    assert cldice_loss(broken, truth).item() > 0.03
    assert dice_loss(thin, truth).item() > 5 * dice_loss(broken, truth).item()
    assert cldice_loss(truth, truth).item() == pytest.approx(0, abs=1e-6)


def test_centre_line_dice_of_a_line_and_half_of_it_is_its_closed_form():
    # Half of a line of 8 pixels: precision 1, sensitivity (4 + 1) / (8 + 1).
    truth = torch.zeros(1, 1, 9, 12)
    truth[..., 4, 2:10] = 1
    half = truth.clone()
    half[..., 6:] = 0
    sensitivity = 5 / 9
    expected = 1 - 2 * sensitivity / (1 + sensitivity)
    assert cldice_loss(half, truth).item() == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), iterations=st.integers(1, 8))
def test_a_soft_skeleton_stays_in_0_to_1_and_is_0_where_its_mask_is(seed, iterations):
    mask = torch.rand(1, 1, 12, 15, generator=torch.Generator().manual_seed(seed))
    mask[..., :6] = 0
    skeleton = soft_skeleton(mask, iterations)
    assert 0 <= skeleton.min() <= skeleton.max() <= 1
    assert skeleton[..., :6].max() == 0
