"""Epoch orders: the grading study's shares, disjoint processes, orders that can be made again."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data import sampling
from modicum.data.sampling import (
    batches,
    decayed_weights,
    epoch_order,
    number_of_batches,
    sample_weights,
)
from modicum.errors import InputError

# The class counts that the grading study's official sampler was measured on.
COUNTS = np.array([100, 20, 40, 8, 4])


def labels_of(counts: np.ndarray, times: int = 1) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts * times)


def shares(counts: np.ndarray, epoch: int) -> np.ndarray:
    """What the study's formula gives, written out on its own."""
    weight = 0.9**epoch * (counts.max() / counts) + 1 - 0.9**epoch
    return counts * weight / (counts * weight).sum()


def test_docstring_examples_run():
    assert doctest.testmod(sampling).failed == 0


# The study's figures (its epochs count from 1)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (1, [1, 5, 2.5, 12.5, 25]),
        (2, [1, 4.6, 2.35, 11.35, 22.6]),
        (5, [1, 3.6244, 1.9842, 8.5451, 16.7464]),
    ],
)
def test_progressive_weights_are_the_studys(epoch, expected):
    assert decayed_weights(COUNTS.max() / COUNTS, epoch - 1).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (1, [0.2] * 5),
        (10, [0.334366, 0.170505, 0.211470, 0.145926, 0.137733]),
        (25, [0.504634, 0.133129, 0.226005, 0.077403, 0.058828]),
    ],
)
def test_progressive_shares_are_the_studys(epoch, expected):
    labels = labels_of(COUNTS)
    weights = decayed_weights(sample_weights(labels), epoch - 1)
    got = np.bincount(labels, weights=weights) / weights.sum()
    assert got.tolist() == pytest.approx(expected, abs=1e-6)
    assert shares(COUNTS, epoch - 1).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "epoch", "theory_epoch"),
    [
        ("progressive", 0, 0),
        ("progressive", 4, 4),
        ("progressive", 24, 24),
        ("balanced", 0, 0),
        ("balanced", 24, 0),
    ],
)
@pytest.mark.parametrize("world_size", [1, 2])
def test_20000_draws_have_the_theoretical_shares_on_every_process(mode, epoch, theory_epoch, world_size):
    labels = labels_of(COUNTS, times=20_000 * world_size // COUNTS.sum() + 1)
    theory = shares(COUNTS, theory_epoch)
    for rank in range(world_size):
        order = epoch_order(labels, mode, seed=3, epoch=epoch, rank=rank, world_size=world_size)[:20_000]
        got = np.bincount(labels[order], minlength=5) / 20_000
        assert (np.abs(got - theory) < 3 * np.sqrt(theory * (1 - theory) / 20_000)).all()


# Processes


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    world_size=st.integers(1, 6),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 50),
    mode=st.sampled_from(["natural", "balanced", "progressive"]),
)
def test_processes_share_one_order_out_without_overlap(count, world_size, seed, epoch, mode):
    labels = np.arange(count) % 3
    if count < world_size:
        with pytest.raises(InputError, match="cannot be shared by"):
            epoch_order(labels, mode, world_size=world_size)
        return
    whole = epoch_order(labels, mode, seed=seed, epoch=epoch)
    parts = [
        epoch_order(labels, mode, seed=seed, epoch=epoch, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {count // world_size}
    together = np.stack(parts, 1).reshape(-1)
    # Position by position the parts make up the whole order again: no draw is made twice.
    assert np.array_equal(together, whole[: len(together)])
    if mode == "natural":
        assert len(set(together.tolist())) == len(together)


def test_natural_shows_every_image_once():
    order = epoch_order(labels_of(COUNTS), seed=1, epoch=3)
    assert sorted(order.tolist()) == list(range(COUNTS.sum()))


# Made again


@pytest.mark.parametrize("mode", sampling.SAMPLING_MODES)
def test_an_order_depends_on_seed_and_epoch_and_on_nothing_else(mode):
    labels = labels_of(COUNTS)
    first = epoch_order(labels, mode, seed=5, epoch=2)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    assert np.array_equal(first, epoch_order(labels, mode, seed=5, epoch=2))
    assert not np.array_equal(first, epoch_order(labels, mode, seed=5, epoch=3))
    assert not np.array_equal(first, epoch_order(labels, mode, seed=6, epoch=2))
    assert not np.array_equal(first, epoch_order(labels, mode, seed=2, epoch=5))


@settings(max_examples=60, deadline=None)
@given(
    draws=st.integers(0, 50), batch_size=st.integers(1, 12), drop_last=st.booleans(), start=st.integers(0, 12)
)
def test_batches_after_a_resume_are_the_ones_that_were_left(draws, batch_size, drop_last, start):
    order = np.random.default_rng(0).permutation(draws)
    every = list(batches(order, batch_size, drop_last))
    assert len(every) == number_of_batches(draws, batch_size, drop_last)
    expected = math.floor(draws / batch_size) if drop_last else math.ceil(draws / batch_size)
    assert len(every) == expected
    rest = list(batches(order, batch_size, drop_last, start))
    assert [b.tolist() for b in rest] == [b.tolist() for b in every[start:]]
    joined = np.concatenate([*every, np.array([], dtype=int)])
    assert np.array_equal(joined, order[: len(joined)])
    assert len(joined) == (draws // batch_size * batch_size if drop_last else draws)


# Several findings


def test_an_image_with_findings_is_shown_as_often_as_its_rarest_one_asks():
    # 6 images with nothing, 4 with a, 1 of these also with b, 1 with b alone; one entry unknown.
    labels = np.zeros((11, 2))
    labels[6:10, 0] = 1
    labels[9:11, 1] = 1
    labels[0, 1] = np.nan
    weights = sample_weights(labels)
    assert weights[:6].tolist() == [1] * 6
    assert weights[6:9].tolist() == [6 / 4] * 3
    assert weights[9:].tolist() == [6 / 2] * 2


def test_one_finding_an_image_is_balanced_as_classes_are():
    classes = labels_of(COUNTS)
    findings = np.eye(5)[classes]
    np.testing.assert_allclose(sample_weights(findings), sample_weights(classes))
    assert np.array_equal(epoch_order(findings, "balanced", seed=1), epoch_order(classes, "balanced", seed=1))


def test_a_class_number_that_no_image_has_is_no_trouble():
    order = epoch_order(np.repeat([0, 3], [900, 100]), "balanced", seed=0)
    assert (order >= 900).mean() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(1000))


# Bad input


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"mode": "ballanced"}, r"unknown sampling 'ballanced'; did you mean 'balanced'\?"),
        ({"seed": -1}, "seed -1 and epoch 0 must not be below 0"),
        ({"rank": 2, "world_size": 2}, r"rank 2 is not in 0\.\.1"),
    ],
)
def test_wrong_settings_are_refused(given_, message):
    with pytest.raises(InputError, match=message):
        epoch_order(np.zeros(4, dtype=int), **given_)


def test_unknown_classes_and_batch_sizes_below_one_are_refused():
    with pytest.raises(InputError, match="class number -1 is below 0"):
        epoch_order(np.array([0, -1]), "balanced")
    with pytest.raises(InputError, match="the batch size 0 is below 1"):
        list(batches(np.arange(4), 0))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    world=st.integers(1, 3),
)
def test_one_of_each_shows_a_round_of_all_classes_as_often_as_the_largest_has_images(counts, seed, world):
    labels = np.repeat(10 * np.arange(len(counts)), counts)
    if len(labels) < world:
        return
    parts = [
        epoch_order(labels, "round_robin", seed=seed, rank=rank, world_size=world) for rank in range(world)
    ]
    for part in parts:
        assert (
            len(part)
            == sampling.epoch_draws(labels, "round_robin", world)
            == len(counts) * (max(counts) // world)
        )
        assert (labels[part].reshape(-1, len(counts)) == 10 * np.arange(len(counts))).all()


@pytest.mark.parametrize("mode", sampling.SAMPLING_MODES)
def test_the_draws_of_an_epoch_are_counted_as_they_are_made(mode):
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    for world in (1, 2):
        order = epoch_order(labels, mode, rank=world - 1, world_size=world)
        assert len(order) == sampling.epoch_draws(labels, mode, world)
