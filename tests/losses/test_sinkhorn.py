"""The Sinkhorn divergence: another library's values, closed forms, and what a divergence must be."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from modicum.losses import sinkhorn_divergence

EPSILON = 0.05**2


def waves(count: int, phase: float, offset: float) -> torch.Tensor:
    """The inputs that the specification's values were measured on: [count, 128]."""
    i, k = torch.arange(count).double()[:, None], torch.arange(128).double()[None]
    return (torch.sin(1 + phase + 0.7 * i + 1.3 * k + 0.11 * i * k) + offset).float()


def leaky(points: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(points, 0.2)


def axes(*which: int) -> torch.Tensor:
    return torch.eye(4)[list(which)]


# Converged values of the debiased divergence whose terms include the Kullback-Leibler term.
CONVERGED = [
    (waves(8, 0, 0), waves(8, 1, 0), 0.460043),
    (waves(8, 0, 0.5), waves(8, 0, -0.5), 0.666325),
    (waves(8, 0, 0), waves(8, 0, 0.5), 0.183548),
    (axes(*[0] * 8), axes(*[1] * 8), 1.0),
    (axes(*[0] * 8), -axes(*[0] * 8), 2.0),
    (axes(0, 1), axes(0, 2), 0.5),
    # Concentrated features tell conventions apart: without the Kullback-Leibler term this is 0.011682.
    (leaky(waves(8, 0, 6)), leaky(waves(8, 5, 6)), 0.007582),
    (leaky(waves(8, 0, 2)), leaky(waves(8, 5, 2)), 0.079465),
]


@pytest.mark.parametrize(("first", "second", "expected"), CONVERGED)
def test_values_are_those_of_the_converged_entropic_problem_with_its_divergence_term(first, second, expected):
    assert sinkhorn_divergence(first, second).item() == pytest.approx(expected, abs=2e-6)


def by_pot(first: torch.Tensor, second: torch.Tensor) -> float:
    """The same from POT, in float64, iterated to 1e-9."""
    ot = pytest.importorskip("ot", reason="needs POT, another implementation to compare with")

    def entropic(x: np.ndarray, y: np.ndarray) -> float:
        cost, a, b = 1 - x @ y.T, np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        plan = ot.sinkhorn(a, b, cost, EPSILON, method="sinkhorn_log", numItermax=10_000, stopThr=1e-9)
        divergence = (plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b))).sum()
        return float((plan * cost).sum() + EPSILON * divergence)

    x, y = (functional.normalize(points.double(), dim=1).numpy() for points in (first, second))
    return entropic(x, y) - entropic(x, x) / 2 - entropic(y, y) / 2


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_features_have_the_divergence_that_pot_computes(spread, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (leaky(1 + spread * torch.randn(8, 128, generator=generator)) for _ in range(2))
    first[:, :64] += 1
    expected = by_pot(first, second)
    assert sinkhorn_divergence(first, second).item() == pytest.approx(expected, abs=1e-3)
    assert sinkhorn_divergence(first, second, scaling=0.97).item() == pytest.approx(expected, abs=1e-4)


def test_sets_of_unequal_size_converge_with_slower_annealing():
    first, second = waves(5, 0, 0)[:, :8], waves(7, 2, 0)[:, :8]
    expected = by_pot(first, second)
    errors = [
        abs(sinkhorn_divergence(first, second, scaling=scaling).item() - expected) for scaling in (0.5, 0.99)
    ]
    assert errors[1] < 0.1 * errors[0]


def test_a_set_has_no_divergence_from_itself_in_any_order():
    points = waves(8, 0, 0)
    shuffled = points[torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])]
    assert sinkhorn_divergence(points, points).item() == pytest.approx(0, abs=1e-6)
    assert sinkhorn_divergence(points, shuffled).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("first", "second", "expected"), CONVERGED)
def test_the_divergence_is_symmetric_not_negative_and_blind_to_length(first, second, expected):
    value = sinkhorn_divergence(first, second)
    assert torch.allclose(value, sinkhorn_divergence(second, first), atol=1e-6)
    assert torch.allclose(value, sinkhorn_divergence(10 * first, 0.1 * second), atol=1e-6)
    assert value >= -1e-6


@pytest.mark.parametrize("angle", [0.1, 0.8, 2.0, 3.1])
def test_two_points_are_one_minus_their_cosine_apart(angle):
    first = torch.tensor([[1.0, 0.0]])
    second = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    assert sinkhorn_divergence(first, second).item() == pytest.approx(1 - np.cos(angle), abs=1e-5)


def test_a_domain_that_moves_away_becomes_more_different_all_the_time():
    points, direction = waves(8, 0, 0), torch.zeros(128)
    direction[0] = 1
    values = [sinkhorn_divergence(points, points + 4 * step * direction).item() for step in range(8)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert all(later > earlier + 1e-3 for earlier, later in itertools.pairwise(values))


def test_pairs_of_a_batch_have_the_values_they_have_alone():
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(3, 6, 8, 16, generator=generator) for _ in range(2))
    together = sinkhorn_divergence(first, second)
    alone = [
        sinkhorn_divergence(a, b) for a, b in zip(first.flatten(0, 1), second.flatten(0, 1), strict=True)
    ]
    assert together.shape == (3, 6)
    torch.testing.assert_close(together.flatten(), torch.stack(alone))


def test_reduced_precision_around_it_does_not_reach_it():
    first, second, expected = CONVERGED[6]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert sinkhorn_divergence(first, second).item() == pytest.approx(expected, abs=2e-6)


def test_gradients_bring_two_sets_together():
    first, second = waves(8, 0, 0).requires_grad_(), waves(8, 1, 0)
    before = sinkhorn_divergence(first, second)
    (gradient,) = torch.autograd.grad(before, first)
    assert sinkhorn_divergence(first.detach() - 20 * gradient, second) < before - 0.01
