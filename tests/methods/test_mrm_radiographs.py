"""MRM on made radiographs: a masked finding is named from its own image, and not without it.

A short run; a longer one, with a stage that never sees images, is ``benchmarks/learning/mrm/radiographs.py``.
"""

from functools import cache

import chest_records
import pytest

from modicum.methods.mrm import MrmStage

pytestmark = pytest.mark.slow

CHANCE = 1 / len(chest_records.KINDS)


@cache
def trained() -> tuple[MrmStage, float]:
    return chest_records.trained(*chest_records.radiographs(800, 1), steps=1_500, seed=0)


def accuracy(told: str) -> float:
    return chest_records.named(trained()[0], *chest_records.radiographs(300, 2), told)


def test_words_of_findings_are_single_tokens_that_alone_are_never_noise():
    vocabulary = chest_records.tokenizer()
    assert all(vocabulary.pieces(name) == [name] for name in chest_records.KINDS)
    assert not set(chest_records.KINDS) & set(chest_records.NOISE)


def test_a_masked_finding_is_named_from_its_own_radiograph():
    assert accuracy("own") >= 0.60


@pytest.mark.parametrize("told", ["shuffled", "zeroed"])
def test_from_another_radiograph_or_from_none_it_is_a_guess(told):
    assert accuracy(told) == pytest.approx(CHANCE, abs=0.05)


def test_hidden_patches_are_predicted_better_than_by_any_constant():
    assert trained()[1] < 0.9
