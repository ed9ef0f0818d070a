"""A comparison's sentence names a winner only where there is one."""

import pandas as pd
import pytest

from modicum.comparison.page import _sentence
from modicum.comparison.records import Measure
from modicum.comparison.request import Request


def said(metric, scores, seeds=3, higher=True, methods=("full", "linear")):
    request = Request.of("images", methods, seeds, (), {}, None)
    table = pd.DataFrame(
        {"method": methods, "score": scores, "memory_mib": [100.0, 20.0][: len(methods)], "pareto": True}
    )
    return _sentence(request, table, Measure(metric, "test", higher, "patient", 2))


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        ("macro_f1", [0.0, 0.0]),
        ("quadratic_kappa", [0.0, -0.02]),
        ("auroc", [0.5, 0.43]),
        ("auroc/covid", [0.5, 0.5]),
    ],
)
def test_nothing_wins_where_all_guess(metric, scores):
    sentence = said(metric, scores)
    assert "scores best" not in sentence
    assert "better than guessing" in sentence


@pytest.mark.parametrize("scores", [[0.81, 0.81], [0.81004, 0.81002]])
def test_nothing_wins_among_scores_that_are_shown_alike(scores):
    assert said("auroc", scores) == "All score alike (AUROC 0.810), so no method is ahead."


def test_errors_are_not_guessing_and_may_be_alike():
    assert "full scores best" in said("log_loss", [0.2, 0.4], higher=False)
    assert said("log_loss", [0.2, 0.2], higher=False).startswith("All score alike")


def test_one_seed_may_be_chance_and_several_are_not_called_so():
    assert "linear scores best (AUROC 0.900), by one seed, which may be chance." in said(
        "auroc", [0.8, 0.9], 1
    )
    assert "linear scores best (AUROC 0.900). No other" in said("auroc", [0.8, 0.9], 3)
