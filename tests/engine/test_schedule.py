"""The learning rate against its closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.engine.training.schedule import lr_factor


def test_warmup_is_linear_and_ends_at_the_peak():
    assert [lr_factor(step, 100, 4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_without_warmup_equals_pytorchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    for step in range(25):
        assert lr_factor(step, 25, 0) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_half_way_is_half_the_peak():
    assert lr_factor(60, 110, 10) == pytest.approx(0.5)


def test_constant_stays_at_the_peak_after_warmup():
    assert lr_factor(99, 100, 10, "constant") == 1.0


@given(st.integers(1, 500), st.data())
def test_factor_is_in_the_unit_interval_and_falls_after_warmup(total, data):
    warmup = data.draw(st.integers(0, total))
    factors = [lr_factor(step, total, warmup) for step in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(math.isfinite(factor) for factor in factors)
    after = factors[warmup:]
    assert after == sorted(after, reverse=True)
