"""Smoothness by closed forms, correction and adversarial losses by hand."""

import doctest
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.losses import (
    correction_loss,
    least_squares_discriminator_losses,
    least_squares_generator_loss,
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
