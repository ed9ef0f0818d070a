"""Smoothness by closed forms, correction and adversarial losses by hand."""

import doctest
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.losses import (
    correction_loss,
    foreground_weight,
    interpolation_penalty,
    least_squares_discriminator_losses,
    least_squares_generator_loss,
    r1_penalty,
    registration,
    smoothness_loss,
)

SIZES = [(64, 64), (33, 50)]


def linear_field(matrix: list[list[float]], size: tuple[int, int]) -> torch.Tensor:
    """``(A - 1) p`` for every pixel p (row, column) and a 2x2 matrix A."""
    places = torch.stack(torch.meshgrid(*(torch.arange(side).double() for side in size), indexing="ij"))
    change = torch.tensor(matrix, dtype=torch.float64) - torch.eye(2, dtype=torch.float64)
    return torch.einsum("ab,bhw->ahw", change, places).unsqueeze(0)


def rotation(degrees: float) -> list[list[float]]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[cos, -sin], [sin, cos]]


def test_docstring_examples_run():
    assert doctest.testmod(registration).failed == 0


@pytest.mark.parametrize("size", SIZES)
def test_translations_cost_nothing(size):
    assert smoothness_loss(torch.full((2, 2, *size), 7.25)).item() == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_rotation_costs_its_closed_form_at_every_size(size):
    assert smoothness_loss(linear_field(rotation(3), size)).item() == pytest.approx(0.002741, abs=5e-7)
    for degrees in (-20, 0.5, 90):
        expected = 2 * (1 - math.cos(math.radians(degrees)))
        assert smoothness_loss(linear_field(rotation(degrees), size)).item() == pytest.approx(expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_scaling_costs_the_square_of_its_excess(size):
    for excess in (0.06, -0.1, 1.0):
        field = linear_field([[1 + excess, 0], [0, 1 + excess]], size)
        assert smoothness_loss(field).item() == pytest.approx(excess**2)


def test_each_direction_has_a_mean_of_its_own():
    field = torch.zeros(1, 2, 2, 3)
    field[0, 0, 1, 0] = 6.0  # row differences: one 6 of 6; column differences: one -6 of 8
    assert smoothness_loss(field).item() == pytest.approx(36 / 6 + 36 / 8)


def test_smoothness_is_computed_in_single_precision():
    field = (1 + torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))).bfloat16()
    assert smoothness_loss(field).dtype == torch.float32
    assert smoothness_loss(field).item() == pytest.approx(smoothness_loss(field.double()).item(), rel=1e-5)


def test_correction_is_the_mean_absolute_difference():
    moved = torch.tensor([[0.5, -1.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    target = torch.tensor([[1.0, -1.0], [0.25, -1.0]]).view(2, 1, 1, 2)
    assert correction_loss(moved, target).item() == pytest.approx((0.5 + 0 + 0.25 + 2) / 4)


def test_adversarial_losses_by_hand():
    real, fake = torch.tensor([[0.5], [2.0]]), torch.tensor([[0.5], [-1.0]])
    assert least_squares_generator_loss(fake).item() == pytest.approx((0.25 + 4) / 2)
    real_loss, fake_loss = least_squares_discriminator_losses(real, fake)
    assert real_loss.item() == pytest.approx((0.25 + 1) / 2)
    assert fake_loss.item() == pytest.approx((0.25 + 1) / 2)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_perfect_discriminator_and_a_perfect_generator_lose_nothing(real, fake):
    scores = torch.tensor([[real]]), torch.tensor([[fake]])
    total = sum(least_squares_discriminator_losses(*scores)).item()
    assert total == pytest.approx((real - 1) ** 2 + fake**2, abs=1e-5)  # not halved
    assert least_squares_generator_loss(torch.ones(1, 1)).item() == 0


def test_a_weighted_correction_counts_pixels_by_their_weights():
    moved, target = (
        torch.tensor([[0.5, -1.0, 0.0]]).view(1, 1, 1, 3),
        torch.tensor([[1.0, -1.0, -1.0]]).view(1, 1, 1, 3),
    )
    weight = foreground_weight(target, background=-1.0, outside=0.25)
    assert weight.flatten().tolist() == [1.0, 0.25, 0.25]
    assert correction_loss(moved, target, weight).item() == pytest.approx((0.5 + 0.25 * 0 + 0.25 * 1) / 1.5)
    assert correction_loss(moved, target, torch.ones_like(target)).item() == pytest.approx(1.5 / 3)


def test_a_pixel_is_background_if_all_its_channels_are():
    target = torch.tensor([[-1.0, -1.0], [-1.0, 0.5]]).view(1, 2, 1, 2)
    assert foreground_weight(target, -1.0, 0.5).flatten().tolist() == [0.5, 1.0, 0.5, 1.0]


# --- penalties ----------------------------------------------------------------------------------------------------


def linear_scores(weights: torch.Tensor):
    """A discriminator whose gradient is the same everywhere: ``weights`` for every image."""
    return lambda images: [(images * weights).sum((1, 2, 3), keepdim=True)]


def test_penalties_of_a_linear_discriminator_are_closed_forms():
    weights = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(1, 2, 2).requires_grad_()
    real, fake = torch.rand(3, 1, 2, 2).requires_grad_(), torch.rand(3, 1, 2, 2)
    judge = linear_scores(weights)
    r1 = r1_penalty(judge(real), real)
    assert r1.item() == pytest.approx(25 / 2)
    between = interpolation_penalty(judge, real, fake)
    assert between.item() == pytest.approx((5 - 1) ** 2)
    # By hand: d(w.w / 2) = w, and d(|w| - 1)^2 = 2 (|w| - 1) w / |w|.
    (gradient,) = torch.autograd.grad(r1, weights, retain_graph=True)
    torch.testing.assert_close(gradient, weights.detach())
    (gradient,) = torch.autograd.grad(between, weights)
    torch.testing.assert_close(gradient, 2 * 4 / 5 * weights.detach())


def test_means_of_a_scores_parts_are_added_before_the_penalty():
    weights, real = torch.tensor([[[3.0, 4.0]]]), torch.rand(2, 1, 1, 2).requires_grad_()
    maps = (real * weights).expand(
        2, 5, 1, 2
    )  # the mean of ten patches has half the gradient of the sum of two
    assert r1_penalty([maps, maps], real).item() == pytest.approx(25 / 2)


def test_interpolation_looks_between_real_and_made_images():
    seen = []

    def judge(images):
        seen.append(images.detach())
        return [images.mean((1, 2, 3), keepdim=True)]

    interpolation_penalty(judge, torch.zeros(400, 1, 2, 2), torch.ones(400, 1, 2, 2))
    share = seen[0].amax((1, 2, 3))
    assert torch.equal(share, seen[0].amin((1, 2, 3)))  # one place an image
    assert share.mean().item() == pytest.approx(0.5, abs=0.06)
    assert 0 <= share.min() < 0.05
    assert 0.95 < share.max() <= 1


def test_a_discriminator_that_sees_nothing_has_a_finite_penalty():
    weights = torch.zeros(1, 2, 2).requires_grad_()
    real = torch.rand(2, 1, 2, 2)
    loss = interpolation_penalty(linear_scores(weights), real, real)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-4)
    assert weights.grad.isfinite().all()
