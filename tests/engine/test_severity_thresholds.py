"""Thresholds of a severity score in runs: tuned on validation images alone; and losses that are refused early."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from made_grades import SETTINGS, fit, table_of, write_grades

import modicum
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference import calibration
from modicum.errors import InputError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_grades(tmp_path_factory.mktemp("grades") / "data")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


# Thresholds that are tuned


def test_thresholds_are_chosen_on_validation_images_and_never_look_at_test(data, runs, tmp_path, monkeypatch):
    rows, score_stored = [], calibration.score_stored

    def watched(*args):
        rows.append(args[6])
        return score_stored(*args)

    monkeypatch.setattr(calibration, "score_stored", watched)
    settings = {"loss": "mse", "thresholds": "validation", "epochs": 2}
    first = fit(data, runs, "tuned", **settings)
    splits = pd.read_csv(first.path / "manifest.csv")["split"]
    assert len(rows) == 1
    assert set(splits[rows[0]]) == {"val"}
    # Other test pictures, with other grades, choose the same.
    other = write_grades(tmp_path / "data", test_seed=5)
    table = pd.read_csv(other)
    table.loc[table["split"] == "test", "grade"] = 3 - table.loc[table["split"] == "test", "grade"]
    table.to_csv(other, index=False)
    second = fit(other, tmp_path, "tuned", **settings)
    assert table_of(second)["score"].tolist() != table_of(first)["score"].tolist()
    kept = [json.loads((run.path / "model.json").read_text()) for run in (first, second)]
    assert kept[0] == kept[1]
    assert kept[0]["task"]["thresholds_from"] == "validation"
    values = kept[0]["task"]["thresholds"]
    assert values != [0.5, 1.5, 2.5]
    for run in (first, second):
        for split in ("val", "test"):
            found = table_of(run, split)
            assert (np.digitize(found["score"], values) == found["prediction"]).all()
    assert (
        "chosen on the validation set for the highest quadratic kappa"
        in (first.path / "report.html").read_text()
    )


def test_tuned_thresholds_serve_the_validation_images_better_than_midpoints(runs, data):
    tuned = fit(data, runs, "tuned", loss="mse", thresholds="validation", epochs=2, resume=True)
    plain = fit(data, runs, "plain", loss="mse", epochs=2)
    scores = [
        run.metrics["evaluations"]["val"]["metrics"]["quadratic_kappa"]["value"] for run in (tuned, plain)
    ]
    assert scores[0] > scores[1]
    assert table_of(tuned, "val")["score"].tolist() == table_of(plain, "val")["score"].tolist()


def test_thresholds_that_are_given_are_used(data, runs):
    run = fit(data, runs, "given", loss="mse", thresholds=[1.0, 1.5, 2.0], epochs=1)
    found = table_of(run)
    assert (np.digitize(found["score"], [1.0, 1.5, 2.0]) == found["prediction"]).all()
    assert json.loads((run.path / "model.json").read_text())["task"]["thresholds_from"] == "given"


# Refused before an image is decoded


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"loss": "msee"}, "there is no loss 'msee'; did you mean 'mse'"),
        (
            {"loss": "mse", "ordered": False},
            "mse needs grades, and these classes have no order; pass --set ordered=t",
        ),
        ({"loss": "kappa", "ordered": False}, "kappa needs grades"),
        (
            {"loss": "bce"},
            "loss 'bce' does not fit multi-class labels; use cross_entropy, focal, kappa, logit_adjusted, mse, mae, smoo",
        ),
        ({"loss": "mse", "thresholds": [1.0]}, "thresholds has 1 values for 4 grades; give 3"),
        ({"loss": "mse", "thresholds": "best"}, "setting 'thresholds.*' is 'best'"),
    ],
)
def test_losses_that_do_not_fit_the_labels_are_refused_before_images_are_decoded(
    data, tmp_path, monkeypatch, settings, problem
):
    monkeypatch.setattr(
        ImageStore, "build_or_open", lambda *args, **kwargs: pytest.fail("an image was decoded")
    )
    with pytest.raises(InputError, match=problem):
        fit(data, tmp_path, "refused", **settings)


def test_tuning_without_validation_images_is_refused_before_training(tmp_path):
    source = write_grades(tmp_path / "data", 16)
    table = pd.read_csv(source)
    table.loc[table["split"] == "val", "split"] = "train"
    table.to_csv(source, index=False)
    with pytest.raises(InputError, match="no image is in split 'val', and thresholds are to be chosen on"):
        fit(source, tmp_path, "none", loss="mse", thresholds="validation", fractions=[0.8, 0.0, 0.2])
    assert not (tmp_path / "none" / "history.jsonl").exists()
    shutil.rmtree(tmp_path / "none")


def test_findings_have_no_score(tmp_path):
    source = write_grades(tmp_path / "data", 16)
    table = pd.read_csv(source)
    table["dark"], table["bright"] = (table["grade"] < 2).astype(int), (table["grade"] > 1).astype(int)
    table.to_csv(source, index=False)
    with pytest.raises(InputError, match="loss 'mse' does not fit multi-label labels; use bce"):
        modicum.fit(
            source, "full", name="m", runs=tmp_path, labels=["dark", "bright"], **SETTINGS, loss="mse"
        )
