"""Velocity fields against matrix exponentials, and folds by closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.nn import folded_share, integrate, warp


def linear_field(matrix: torch.Tensor, side: int) -> torch.Tensor:
    """``A p`` for every pixel p, counted from the centre."""
    places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    points = torch.stack(torch.meshgrid(places, places, indexing="ij"))
    return torch.einsum("ab,bhw->ahw", matrix.double(), points).unsqueeze(0)


def smooth_velocity(largest: float, seed: int = 0, side: int = 64) -> torch.Tensor:
    coarse = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    velocity = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    return velocity * largest / velocity.abs().max()


@pytest.mark.parametrize(
    "generator", [[[0.0, -0.2], [0.2, 0.0]], [[0.1, 0.0], [0.0, -0.15]], [[0.05, 0.1], [0.0, -0.05]]]
)
def test_a_linear_velocity_comes_to_its_matrix_exponential(generator):
    """Rotation, stretching and shear; away from the border, beyond which fields repeat."""
    matrix = torch.tensor(generator, dtype=torch.float64)
    found = integrate(linear_field(matrix, 41))
    expected = linear_field(torch.linalg.matrix_exp(matrix) - torch.eye(2, dtype=torch.float64), 41)
    inner = slice(10, 31)
    assert (found - expected)[..., inner, inner].abs().max() < 0.02
    assert expected[..., inner, inner].abs().max() > 1


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_following_a_velocity_and_then_its_negative_leads_back(seed):
    velocity = smooth_velocity(4, seed)
    there, back = integrate(velocity), integrate(-velocity)
    rest = there + warp(back, there)
    assert there.abs().max() > 1
    assert rest[..., 10:-10, 10:-10].abs().max() < 0.1


def test_large_displacements_fold_and_the_same_velocities_do_not():
    field = smooth_velocity(24)
    assert folded_share(field).item() > 0.02
    assert folded_share(integrate(field)).item() == 0


@pytest.mark.parametrize("side", [5, 32])
def test_folds_by_closed_forms(side):
    share = {
        "still": folded_share(torch.zeros(1, 2, side, side)),
        "turned by 60 degrees": folded_share(
            linear_field(
                torch.tensor([[math.cos(1.05) - 1, -math.sin(1.05)], [math.sin(1.05), math.cos(1.05) - 1]]),
                side,
            )
        ),
        "point reflection": folded_share(linear_field(-2 * torch.eye(2), side)),
        "mirrored": folded_share(linear_field(torch.tensor([[0.0, 0.0], [0.0, -2.0]]), side)),
        "squeezed flat": folded_share(linear_field(torch.tensor([[-1.0, 0.0], [0.0, 0.0]]), side)),
    }
    found = {name: value.item() for name, value in share.items()}
    # A point reflection in the plane is a rotation by 180 degrees.
    expected = {
        "still": 0,
        "turned by 60 degrees": 0,
        "point reflection": 0,
        "mirrored": 1,
        "squeezed flat": 1,
    }
    assert found == expected


def test_folds_are_counted_image_by_image():
    field = torch.zeros(2, 2, 6, 11)
    field[1, 0, 3, 4] = 5.0  # the next row's pixel is overtaken, at one of 5 x 10 places
    assert folded_share(field).tolist() == pytest.approx([0, 1 / 50])


def test_velocities_are_followed_in_single_precision_under_autocast():
    velocity = smooth_velocity(5)
    with torch.autocast("cpu", torch.bfloat16):
        found = integrate(velocity)
    assert torch.equal(found, integrate(velocity))
    assert integrate(velocity.bfloat16()).dtype == torch.float32


def test_gradients_of_a_velocity_are_right():
    velocity = (0.3 + 0.1 * smooth_velocity(1, side=5).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: integrate(v, squarings=3), (velocity,))
