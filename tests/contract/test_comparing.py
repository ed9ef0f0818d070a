"""Methods of one, two and no trainings in one table, and what the terminal says of their runs."""

import math

import pytest
from toy_data import SETTINGS

import modicum
from modicum.console.summary import run_summary


@pytest.fixture(scope="module")
def compared(toy_data, toy_runs):
    settings = {key: value for key, value in SETTINGS.items() if key not in ("lr", "batch_size")}
    return modicum.compare(
        toy_data, ["toy_bank", "toy_pretext"], runs=toy_runs, name="compared", seeds=1, stores=toy_runs / ".stores",
        batch_size=4, **{**settings, "epochs": 1},
    )  # fmt: skip


def test_a_method_without_gradients_stands_beside_others_with_its_own_costs(compared):
    table = compared.table.set_index("method")
    assert table["error"].fillna("").tolist() == ["", ""]
    assert table["score"].notna().all()
    assert table.loc["toy_bank", "learnable"] == 0
    assert table.loc["toy_pretext", "learnable"] > 0
    assert (table["memory_mib"] > 0).all()
    assert all(math.isfinite(value) for value in table["images_per_second"])
    assert (table["seconds_per_epoch"] > 0).all()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("toy_bank", "parameters learned, peak memory less than 1 MiB"),
        ("toy_three", "toy_three on test_resnet in 3 stages: "),
    ],
)
def test_the_terminal_says_what_a_run_did(run_of, name, line):
    said = run_summary(run_of(name).path)
    assert line in said[0]
    assert any(text.startswith("test: ") for text in said)
