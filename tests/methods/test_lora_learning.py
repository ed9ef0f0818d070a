"""What LoRA is for: with few labels and few parameters, what a linear head on frozen features cannot learn.

The set-up and the limits are those of an independent implementation, which found mean areas under the curve of 0.81 and
0.79 (head), 1.00 and 1.00 (LoRA), 1.00 and 1.00 (full fine-tuning) over two seeds. Short runs; the longer ones are in
``benchmarks/learning/lora/gratings.py``.
"""

from functools import cache

import gratings
import pytest

from modicum.nn import count_parameters

pytestmark = pytest.mark.slow

STEPS = 400


@cache
def weights():
    return gratings.pretrained(400, seed=0)


@cache
def adapted(mode: str):
    return gratings.adapted(mode, weights(), STEPS, seed=0)


@cache
def auroc(mode: str) -> float:
    return gratings.mean_auroc(adapted(mode))


def test_lora_learns_what_a_head_on_frozen_features_cannot():
    assert auroc("lora") >= auroc("head") + 0.10


def test_lora_comes_near_full_fine_tuning():
    assert auroc("full") >= 0.90  # or it would be no yardstick
    assert auroc("lora") >= auroc("full") - 0.03


def test_lora_learns_a_twentieth_of_the_parameters_at_most():
    """4,096 in the updates (4 blocks, 2 projections, rank 4, sides 64 + 64), 195 in the head, 128 in its norm."""
    found = {mode: count_parameters(adapted(mode))[1] for mode in ("head", "lora", "full")}
    assert (found["head"], found["lora"]) == (195 + 128, 4_096 + 195 + 128)
    assert found["lora"] <= 0.05 * found["full"]


@pytest.mark.parametrize("mode", ["head", "lora", "full"])
def test_from_permuted_labels_nothing_is_learned(mode):
    """Anything else would say that the labels of the test images have leaked."""
    network = gratings.adapted(mode, weights(), 150, seed=0, permuted=True)
    assert 0.40 <= gratings.mean_auroc(network) <= 0.60
