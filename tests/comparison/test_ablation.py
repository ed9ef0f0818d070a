"""One setting at a time, then the winners one on top of the other."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_comparison import SETTINGS, compare

from modicum.comparison.ablation import effects
from modicum.comparison.request import Request
from modicum.comparison.sweeps import Variant
from modicum.errors import InputError

SWEEP = {"lr": [1e-3, 1e-2], "loss": ["mse", "smooth_l1"]}


def request(vary="one", recipe=None, methods=("dr_grading",), lrs=(), **given) -> Request:
    settings = {**SETTINGS, "workers": None, "fusion": False}
    return Request.of(
        "images", methods, 2, lrs, settings, given.pop("sweep", SWEEP), recipe=recipe, vary=vary
    )


def test_one_at_a_time_is_the_reference_and_each_value_alone():
    made = request()
    assert list(made.variants) == [
        "dr_grading", "dr_grading-lr=0.001", "dr_grading-lr=0.01", "dr_grading-loss=mse", "dr_grading-loss=smooth_l1",
    ]  # fmt: skip
    assert all(len(variant.settings) <= 1 for variant in made.variants.values())
    assert len(request("every").variants) == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vary": "some"}, "--vary is 'some'"),
        ({"vary": "one", "sweep": {}}, "without anything to vary"),
        ({"vary": "stack", "sweep": {"loss": ["mse"]}, "lrs": (1e-3, 1e-2)}, "several learning rates"),
    ],
)
def test_what_cannot_be_varied_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        request(**given)


def test_a_recipes_settings_come_before_the_usual_budget():
    plain = Request.of(
        "images", ["dr_grading"], 1, (), {}, {"loss": ["mse"]}, recipe="dr/reference", vary="one"
    )
    recipe = plain.recipe_of("dr_grading-loss=mse")
    assert (recipe.image.size, recipe.training.epochs, recipe.training.batch_size) == ((512, 512), 25, 16)
    assert recipe.based_on == "dr/reference"
    assert recipe.data.split_seed == 0
    given = Request.of("images", ["dr_grading"], 1, (), {"epochs": 3}, recipe="dr/reference")
    assert given.recipe_of("dr_grading").training.epochs == 3


def cells(scores: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": name, "seed": seed, "score": score, "use": "seed", "state": "finished"}
            for name, values in scores.items()
            for seed, score in enumerate(values)
        ]
    )


SCORES = {
    "dr_grading": [0.50, 0.60, 0.55],
    "dr_grading-lr=0.001": [0.52, 0.61, 0.58],
    "dr_grading-lr=0.01": [0.40, 0.50, 0.45],
    "dr_grading-loss=mse": [0.70, 0.65],
}


@pytest.mark.parametrize("higher", [True, False])
def test_an_effect_is_of_runs_of_the_same_seed_with_students_interval(higher):
    sign = 1 if higher else -1
    table = effects(request(), cells(SCORES), higher).set_index("value")
    change = np.array([0.02, 0.01, 0.03])
    found = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    low, high = sorted((sign * found.low, sign * found.high))
    row = table.loc["0.001"]
    assert row["effect"] == pytest.approx(sign * 0.02)
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert table.loc["mse", "seeds"] == 2
    assert table.loc["mse", "effect"] == pytest.approx(sign * 0.125)
    assert table.loc["0.01", "effect"] == pytest.approx(-sign * 0.1)
    assert math.isnan(table.loc["smooth_l1", "effect"]), "no run of it has ended"


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    """Two settings of which one value is much better on validation than the reference, and the other's are not."""
    runs = tmp_path_factory.mktemp("ablation")
    sweep = {"lr": [1e-2, 1e-6], "warmup_epochs": [0, 1]}
    given = {"methods": "linear", "sweep": sweep, "vary": "stack", "epochs": 3, "seeds": 2}
    return runs, given, compare(images, runs, "stack", **given)


def test_stacks_are_of_what_won_on_validation(done, images):
    _, _, found = done
    by_row = found.cells.groupby("method")["selection_value"].mean()
    reference = by_row["linear"]
    winners = {
        key: best
        for key, rivals in {
            "lr": [name for name in by_row.index if "-lr=" in name],
            "warmup_epochs": [name for name in by_row.index if "-warmup_epochs=" in name],
        }.items()
        if by_row[best := max(rivals, key=by_row.__getitem__)] > reference
    }
    stacks = [name for name in found.table["method"] if "stack" in name]
    assert stacks == (["linear-stack2"] if len(winners) == 2 else [])
    if stacks:
        row = found.table.set_index("method").loc["linear-stack2"]
        assert row["seeds"] == 2
        swept = {"lr": row["swept lr"], "warmup_epochs": row["warmup_epochs"]}
        assert {f"linear-{key}={value}" for key, value in swept.items()} == set(winners.values())


def test_a_swept_setting_that_is_a_column_too_is_told_apart(done):
    """A sweep of the learning rate ended in an internal error after its first cell."""
    _, _, found = done
    rows = found.table.set_index("method")
    assert rows.loc["linear-lr=0.01", "swept lr"] == "0.01"
    assert rows.loc["linear-lr=0.01", "lr"] == 0.01
    assert rows.loc["linear", "swept lr"] == ""


def test_the_effects_are_a_table_and_a_picture(done):
    _, _, found = done
    saved = pd.read_csv(found.path / "effects.csv")
    assert saved["value"].astype(str).tolist()[:2] == ["0.01", "1e-06"]
    page = (found.path / "compare.html").read_text()
    assert "What each setting does" in page
    assert page.count("<svg") == 2
    text = (found.path / "table.md").read_text()
    assert "| Setting | Value |" in text
    assert "| lr | 0.01 |" in text


def test_the_same_call_trains_nothing_again(done, images):
    runs, given, found = done
    before = {path: path.stat().st_mtime_ns for path in (found.path / "cells").rglob("checkpoints/*")}
    again = compare(images, runs, "stack", **given)
    assert again.table["method"].tolist() == found.table["method"].tolist()
    assert {path: path.stat().st_mtime_ns for path in (found.path / "cells").rglob("checkpoints/*")} == before


def test_two_winners_are_one_row_and_three_are_two(monkeypatch):
    from modicum.comparison import ablation

    sweep = {"lr": [1e-3, 1e-2], "loss": ["mse", "smooth_l1"], "momentum": [0.5], "sampling": ["balanced"]}
    made = request("stack", sweep=sweep)
    worths = dict.fromkeys(made.variants, 0.4) | {
        "dr_grading": 0.5, "dr_grading-lr=0.01": 0.6, "dr_grading-loss=smooth_l1": 0.51, "dr_grading-momentum=0.5": 0.5,
        "dr_grading-sampling=balanced": 0.7,
    }  # fmt: skip
    monkeypatch.setattr(ablation, "_worths", lambda request, folder: worths)
    rows = ablation.stacked(made, None)
    assert [row.name for row in rows] == ["dr_grading-stack2", "dr_grading-stack3"]
    assert rows[1] == Variant(
        "dr_grading-stack3", "dr_grading", {"lr": 0.01, "loss": "smooth_l1", "sampling": "balanced"},
        {"lr": "0.01", "loss": "smooth_l1", "sampling": "balanced"},
    )  # fmt: skip
    assert rows[0].settings == {"lr": 0.01, "loss": "smooth_l1"}
