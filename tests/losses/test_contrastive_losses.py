"""NT-Xent against its closed forms and the published figures."""

import math
import time

import pytest
import torch
from torch.nn import functional as F

from modicum.losses import NTXent, nt_xent


def unit(count, dimensions=128, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimensions, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize("pairs", [1, 4, 7])
def test_collapsed_and_orthogonal_vectors_are_at_chance(pairs):
    same = torch.ones(pairs, 128)
    assert nt_xent(same, same).item() == pytest.approx(math.log(2 * pairs - 1), abs=1e-5)
    every = torch.eye(2 * pairs, 128)
    assert nt_xent(every[:pairs], every[pairs:]).item() == pytest.approx(math.log(2 * pairs - 1), abs=1e-5)


def test_identical_and_antipodal_pairs_have_their_closed_forms():
    own = torch.eye(4)
    assert nt_xent(own, own).item() == pytest.approx(math.log1p(6 * math.exp(-1 / 0.07)), abs=1e-6)
    assert nt_xent(own, -own).item() == pytest.approx(16.0775, abs=1e-4)


def test_the_published_draw_has_its_value():
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(16, 2, 128), dim=-1)
    assert nt_xent(vectors[:, 0], vectors[:, 1]).item() == pytest.approx(4.094405, abs=1e-5)


def test_it_is_cross_entropy_with_the_diagonal_left_out():
    first, second = unit(6, seed=1), unit(6, seed=2)
    both = torch.cat([first, second])
    terms = []
    for i in range(12):
        others = torch.tensor([j for j in range(12) if j != i])
        similarity = both[others] @ both[i] / 0.5
        partner = (i + 6) % 12
        terms.append(torch.logsumexp(similarity, 0) - both[partner] @ both[i] / 0.5)
    assert nt_xent(first, second, 0.5).item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-6)


def test_it_is_symmetric_in_the_views_and_in_the_order_of_the_rows():
    first, second = unit(8, seed=1), unit(8, seed=2)
    order = torch.randperm(8)
    value = nt_xent(first, second).item()
    assert nt_xent(second, first).item() == pytest.approx(value, abs=1e-6)
    assert nt_xent(first[order], second[order]).item() == pytest.approx(value, abs=1e-6)


def test_half_precision_stays_finite_at_the_published_temperature():
    vectors = 100 * unit(16).half()
    assert torch.isfinite(nt_xent(vectors, -vectors))
    assert nt_xent(vectors, vectors).dtype == torch.float32


def test_gradients_reach_both_views_and_agree_with_finite_differences():
    loss = NTXent(0.3)

    def in_double(first, second):
        both = F.normalize(torch.cat([first, second]), dim=1)
        logits = (both @ both.T / 0.3).masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf)
        return F.cross_entropy(logits, torch.arange(6).roll(3))

    views = [unit(3, 5, seed, torch.float64).requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(in_double, views, atol=1e-6)
    expected = torch.autograd.grad(in_double(*views), views)
    singles = [view.detach().float().requires_grad_() for view in views]
    for found, wanted in zip(torch.autograd.grad(loss(*singles), singles), expected, strict=True):
        assert wanted.abs().max() > 0.01
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-4)


def test_patches_of_one_image_can_be_no_negatives_of_each_other():
    first, second = unit(3, seed=1), unit(3, seed=2)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    both = torch.cat([first, second])
    terms = []
    for i in range(6):
        partner = (i + 3) % 6
        kept = [j for j in range(6) if j != i and (j == partner or not same[i % 3, j % 3])]
        terms.append(torch.logsumexp(both[kept] @ both[i] / 0.07, 0) - both[partner] @ both[i] / 0.07)
    found = nt_xent(first, second, not_negative=same).item()
    assert found == pytest.approx(torch.stack(terms).mean().item(), abs=1e-5)
    assert found < nt_xent(first, second).item()


def test_the_published_batch_takes_less_than_half_a_second():
    first, second = unit(768, seed=1).requires_grad_(), unit(768, seed=2).requires_grad_()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        value = nt_xent(first, second)
        value.backward()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5
    assert value.item() == pytest.approx(8.18, abs=0.1)


def test_one_matrix_of_all_pairs_is_kept_for_the_gradient():
    first, second = torch.randn(2, 40, 8).requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        nt_xent(first, second)
    matrices = {
        tensor.data_ptr() for tensor in kept if tensor.is_floating_point() and tensor.numel() == 80 * 80
    }
    assert len(matrices) == 1
