"""Masking of whole words: the published shares, a reference loop, and what is never masked."""

import doctest
import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from modicum.data.reports import masked_words, word_masking

SIZE = 50
CONTINUATION = torch.arange(SIZE) >= 30
"""Tokens 30 to 49 go on with a word."""


def reports_of(lengths: list[int], length: int = 100, pieces: bool = True, seed: int = 0) -> torch.Tensor:
    """Reports of [CLS] and random tokens; with pieces, two of five tokens go on with a word."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, SIZE if pieces else 30, (len(lengths), length), generator=generator)
    tokens[:, 0] = 2
    tokens[:, 1] = 5
    tokens[torch.arange(length) >= torch.tensor(lengths).unsqueeze(1)] = 0
    return tokens


def draw(tokens: torch.Tensor, seed: int = 0, ratio: float = 0.5) -> torch.Tensor:
    noise = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(seed))
    return masked_words(tokens, CONTINUATION, noise, ratio)


def by_loop(tokens: list[int], continuation: list[bool], coin) -> list[bool]:
    """The published rule, token by token."""
    masked, hide = [False] * len(tokens), False
    for place in range(1, len(tokens) - 1):
        if tokens[place] == 0:
            break
        if not continuation[tokens[place]]:
            hide = coin()
        masked[place] = hide
    return masked


def test_docstring_examples_run():
    assert doctest.testmod(word_masking).failed == 0


@pytest.mark.parametrize(
    ("real", "published", "closed"), [(41, 0.487, 0.5 * 40 / 41), (100, 0.491, 0.5 * 98 / 100)]
)
def test_the_masked_share_of_real_tokens_is_the_published_one(real, published, closed):
    share = draw(reports_of([real] * 20_000, pieces=False)).sum().item() / (20_000 * real)
    assert share == pytest.approx(closed, abs=0.002)
    assert share == pytest.approx(published, abs=0.003)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.integers(0, 1000), st.floats(0, 1))
@settings(max_examples=100)
def test_words_are_masked_whole_and_neither_ends_nor_padding_ever(lengths, seed, ratio):
    tokens = reports_of(lengths, length=40, seed=seed)
    masked = draw(tokens, seed, ratio)
    assert not masked[:, 0].any()
    assert not masked[:, -1].any()
    assert not masked[tokens == 0].any()
    goes_on = CONTINUATION[tokens[:, 2:-1]]
    assert torch.equal(masked[:, 2:-1][goes_on], masked[:, 1:-2][goes_on])


def test_nothing_behind_the_first_padding_is_masked():
    tokens = torch.tensor([[2, 5, 0, 6, 7, 8]])
    assert draw(tokens, ratio=1.0).tolist() == [[False, True, False, False, False, False]]


def test_ratios_0_and_1_mask_nothing_and_all_that_may_be():
    tokens = reports_of([30, 100])
    assert not draw(tokens, ratio=0.0).any()
    assert draw(tokens, ratio=1.0).sum(1).tolist() == [29, 98]


def test_a_seed_decides_the_masks():
    tokens = reports_of([80] * 3)
    assert torch.equal(draw(tokens, 4), draw(tokens, 4))
    assert not torch.equal(draw(tokens, 4), draw(tokens, 5))


def test_given_the_same_coins_the_loop_masks_the_same():
    tokens = reports_of([5, 17, 40, 100, 100], seed=3)
    noise = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(8))
    masked = masked_words(tokens, CONTINUATION, noise)
    for row, coins, found in zip(tokens.tolist(), noise.tolist(), masked.tolist(), strict=True):
        numbers = iter(coins[1:])
        assert by_loop(row, CONTINUATION.tolist(), lambda numbers=numbers: next(numbers) < 0.5) == found


def test_masks_have_the_distribution_of_the_loops():
    # Six tokens in four words: 16 equally likely masks.
    tokens = torch.tensor([[2, 5, 31, 6, 7, 32, 8, 0]])
    rng = np.random.default_rng(0)
    draws = 8_000
    vectorised = draw(tokens.expand(draws, -1)).int().numpy() @ (1 << np.arange(8))
    looped = [
        np.array(by_loop(tokens[0].tolist(), CONTINUATION.tolist(), lambda: rng.random() < 0.5))
        @ (1 << np.arange(8))
        for _ in range(draws)
    ]
    kinds = sorted(set(looped))
    assert len(kinds) == 16
    assert set(vectorised.tolist()) == set(kinds)
    limit = chi2.ppf(0.999, len(kinds) - 1)
    for found in (vectorised, looped):
        counts = np.array([np.sum(np.array(found) == kind) for kind in kinds])
        assert ((counts - draws / 16) ** 2 / (draws / 16)).sum() < limit


def test_a_thousand_reports_are_masked_five_times_faster_than_token_by_token():
    tokens = reports_of([100] * 1_000)
    continuation = CONTINUATION.tolist()

    def loop() -> torch.Tensor:
        return torch.tensor(
            [by_loop(row, continuation, lambda: random.random() < 0.5) for row in tokens.tolist()]
        )

    def seconds(work) -> float:
        times = []
        for _ in range(5):
            began = time.process_time()
            work()
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(lambda: draw(tokens)) * 5 < seconds(loop)
