"""PPE and PME against the values of the published formula and the published table of FPT+."""

import math

import pytest

from modicum.comparison.metrics import pme, ppe

# Learnable parameters in percent, memory in MB, mean AUC over eight data sets (README of the FPT repository), and
# what the formulas make of them.
PUBLISHED = {
    "full": (100, 23128, 88.82, 65.73, 65.73),
    "prompt-tuning": (0.17, 20582, 83.68, 83.62, 63.47),
    "adapter": (2.03, 19360, 84.14, 83.41, 64.61),
    "lora": (0.68, 20970, 85.94, 85.69, 64.93),
    "fpt": (1.81, 1824, 86.40, 85.73, 83.60),
    "fpt_plus": (1.03, 736, 87.12, 86.73, 85.94),
}


def test_a_tenth_of_the_parameters_costs_four_percent():
    assert ppe(90, 10) == pytest.approx(86.3507, abs=5e-5)


def test_half_of_the_memory_costs_sixteen_percent():
    assert pme(90, 0.5, 1.0) == pytest.approx(75.4687, abs=5e-5)


def test_everything_learned_leaves_exp_of_minus_log_2():
    assert ppe(100, 100) == pytest.approx(74.0056, abs=5e-5)
    assert pme(100, 7, 7) == pytest.approx(100 * math.exp(-math.log10(2)))


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_table(method):
    percent, memory, auc, expected_ppe, expected_pme = PUBLISHED[method]
    assert ppe(auc, percent) == pytest.approx(expected_ppe, abs=0.01)
    assert pme(auc, memory, PUBLISHED["full"][1]) == pytest.approx(expected_pme, abs=0.01)


def test_nothing_learned_costs_nothing():
    assert ppe(87.5, 0) == 87.5
    assert pme(87.5, 0, 1) == 87.5


@pytest.mark.parametrize("full", [0, -1])
def test_memory_of_full_fine_tuning_must_be_something(full):
    with pytest.raises(ValueError, match="not positive"):
        pme(90, 1, full)
