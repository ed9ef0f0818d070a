"""The search for a learning rate looks at validation alone."""

import json

import pytest

from modicum.comparison.grid import chosen_rates, search_cells
from modicum.comparison.request import Request


@pytest.fixture
def request_of_two():
    return Request.of("images", ["full", "linear"], 1, [1e-4, 1e-3, 1e-2], {})


def write(folder, cell, value, mode="max", test=0.5, state="finished", metric="auroc"):
    place = folder / cell.name
    place.mkdir(parents=True)
    (place / "status.json").write_text(json.dumps({"state": state}))
    content = {
        "task": "classification", "method": "full", "memory": {}, "time": {},
        "parameters": {"learnable": 1, "total": 1},
        "evaluations": {"test": {"images": 1, "metrics": {metric or "auroc": {"value": test}}}},
        "selection": {"metric": metric, "mode": mode, "value": value},
    }  # fmt: skip
    (place / "metrics.json").write_text(json.dumps(content))


def test_the_best_validation_value_wins_whatever_the_test_split_says(request_of_two, tmp_path):
    for cell, value, test in zip(
        search_cells(request_of_two), [0.6, 0.8, 0.7] * 2, [0.99, 0.1, 0.9, 0.9, 0.1, 0.99], strict=True
    ):
        write(tmp_path, cell, value, test=test)
    assert chosen_rates(request_of_two, tmp_path) == {"full": 1e-3, "linear": 1e-3}


def test_a_loss_is_better_when_lower(request_of_two, tmp_path):
    for cell, value in zip(search_cells(request_of_two), [0.6, 0.8, 0.7, 0.8, 0.7, 0.6], strict=True):
        write(tmp_path, cell, value, mode="min", metric="loss")
    assert chosen_rates(request_of_two, tmp_path) == {"full": 1e-4, "linear": 1e-2}


def test_of_equal_values_the_first_rate_is_taken(request_of_two, tmp_path):
    for cell in search_cells(request_of_two):
        write(tmp_path, cell, 0.7)
    assert chosen_rates(request_of_two, tmp_path) == {"full": 1e-4, "linear": 1e-4}


def test_only_finished_cells_with_a_validation_value_can_win(request_of_two, tmp_path):
    full, linear = search_cells(request_of_two)[:3], search_cells(request_of_two)[3:]
    write(tmp_path, full[0], 0.6)
    write(tmp_path, full[1], 0.9, state="failed")
    write(tmp_path, linear[0], None, metric=None)
    assert chosen_rates(request_of_two, tmp_path) == {"full": 1e-4, "linear": None}
