"""A cross-validation holds each patient out once, its metric is that of its table, and its ensemble is the mean."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from cross_validations import cross_validate, made
from sklearn.metrics import accuracy_score, roc_auc_score

import modicum
from modicum.errors import InputError


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return made("classification", tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def done(eyes, tmp_path_factory):
    return cross_validate(eyes, tmp_path_factory.mktemp("runs"), folds=2)


def manifest(run) -> pd.DataFrame:
    return pd.read_csv(run.path / "manifest.csv", dtype=str)


def test_every_image_is_tested_once_by_a_run_that_never_saw_its_patient(eyes, done):
    table = done.table
    assert sorted(table["image"]) == sorted(pd.read_csv(eyes)["image"])
    for number, run in enumerate(done.folds, 1):
        rows = manifest(run)
        tested = rows[rows["split"] == "test"]
        assert set(tested["image"]) == set(table.loc[table["fold"] == number, "image"])
        assert not set(tested["patient"]) & set(rows.loc[rows["split"] != "test", "patient"])
        assert set(rows["split"]) == {"train", "val", "test"}


def test_predictions_are_those_of_each_run_with_its_own_temperature_and_threshold(done):
    own = pd.concat(
        [pd.read_csv(run.path / "evaluations" / "test" / "predictions.csv") for run in done.folds]
    )
    own, table = own.set_index("image"), done.table.set_index("image")
    np.testing.assert_allclose(table["p_ill"], own.loc[table.index, "p_ill"], atol=1e-6)
    assert table["prediction"].tolist() == own.loc[table.index, "prediction"].tolist()


def test_the_metric_over_all_is_scikit_learns_on_the_table(done):
    table, metrics = done.table, done.metrics["out_of_fold"]["metrics"]
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(table["truth"] == "ill", table["p_ill"]))
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(table["truth"], table["prediction"]))
    assert done.metrics["out_of_fold"]["resampling_unit"] == "patient"


def test_mean_and_deviation_are_of_the_folds(done):
    values = [run.metrics["evaluations"]["test"]["metrics"]["accuracy"]["value"] for run in done.folds]
    entry = done.metrics["across_folds"]["accuracy"]
    assert entry["values"] == values
    assert entry["mean"] == pytest.approx(np.mean(values))
    assert entry["deviation"] == pytest.approx(pd.Series(values).std())


def test_the_ensemble_is_the_mean_of_the_folds_and_says_what_it_has_seen(eyes, done, capsys):
    import torch

    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        mean = sum(run.method().predictor().eval()(images).softmax(1) for run in done.folds) / 2
        torch.testing.assert_close(done.ensemble.method().predictor().eval()(images).softmax(1), mean)
    content = done.ensemble.evaluate(eyes, name="again", workers=0, write_report=False)
    assert content["seen"] == {"train": len(done.table)}
    assert (
        f"these scores are optimistic: {len(done.table)} of {len(done.table)} images"
        in capsys.readouterr().err
    )


def test_the_page_and_the_ensembles_report_are_whole(done):
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert "data: …/" in page
    assert str(done.path.parents[1]) not in page
    assert all(f'href="folds/{fold}/report.html"' in page for fold in (1, 2))
    assert all((done.path / f"folds/{fold}/report.html").is_file() for fold in (1, 2))
    assert "It has no score of its own" in page
    assert "http" not in page.replace("http-equiv", "")
    assert (done.path / "ensemble" / "report.html").is_file()


def test_a_finished_one_is_left_alone_and_without_resume_refused(eyes, done, capsys):
    before = {path: path.stat().st_mtime_ns for path in done.path.rglob("*") if path.is_file()}
    cross_validate(eyes, done.path.parent, resume=True, folds=2)
    assert "nothing was done" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in done.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="exists already; pass --resume"):
        cross_validate(eyes, done.path.parent)
    with pytest.raises(InputError, match=r"was started with lr=0\.001, now it is 0\.01"):
        cross_validate(eyes, done.path.parent, resume=True, folds=2, lr=0.01)


def test_an_old_one_goes_only_when_the_new_one_is_whole(eyes, done, tmp_path, monkeypatch, capsys):
    """The new one fails, is stopped after its first fold, and ends; folds are those of the old one."""
    from modicum.comparison.executors import here
    from modicum.comparison.run_cell import Outcome
    from modicum.errors import InterruptedRunError

    shutil.copytree(done.path, tmp_path / "x")
    (tmp_path / "x" / "of_the_old_one").touch()
    source = tmp_path / "x" / "folds" / "1"
    aside, given = tmp_path / ".x.replaced", {"folds": 2, "write_report": False}

    def trained(job):
        shutil.copytree(done.path / "folds" / job.name, tmp_path / "x" / "folds" / job.name)
        return Outcome(job.name)

    with monkeypatch.context() as patch:
        patch.setattr(here, "run_cell", lambda job: Outcome(job.name, "no", "no"))
        with pytest.raises(InputError, match="2 folds of 2 failed"):
            cross_validate(eyes, tmp_path, overwrite=True, **given)
    assert (tmp_path / "x" / "of_the_old_one").is_file()
    assert not aside.exists()
    assert "the old cross-validation 'x' is as it was" in capsys.readouterr().err

    with pytest.raises(InputError, match="would replace cross-validation 'x', from which"):
        cross_validate(eyes, tmp_path, overwrite=True, backbone=f"run:{source}", weights=None, **given)

    with monkeypatch.context() as patch:
        patch.setattr(
            here, "run_cell", lambda job: trained(job) if job.name == "1" else Outcome(job.name, stopped=True)
        )
        with pytest.raises(InterruptedRunError):
            cross_validate(eyes, tmp_path, overwrite=True, **given)
        assert (aside / "of_the_old_one").is_file()
        assert "is kept in" in capsys.readouterr().err
        patch.setattr(here, "run_cell", trained)
        again = cross_validate(eyes, tmp_path, resume=True, **given)
    assert again.metrics == done.metrics
    assert not aside.exists()
    assert not (again.path / "of_the_old_one").exists()


def test_resumed_without_data_it_ends_as_uninterrupted(eyes, done, tmp_path):
    """Stopped after its first fold, and while the ensemble was made."""
    shutil.copytree(done.path, tmp_path / "x")
    shutil.rmtree(tmp_path / "x" / "folds/2")
    for lost in (
        "metrics.json",
        "report.html",
        "out_of_fold.csv",
        "ensemble/report.html",
        "ensemble/metrics.json",
    ):
        (tmp_path / "x" / lost).unlink()
    (tmp_path / "x" / "ensemble" / "status.json").write_text('{"state": "running"}')
    shutil.copytree(done.path.parent / ".stores", tmp_path / ".stores")
    again = modicum.cross_validate(name="x", runs=tmp_path, resume=True, workers=0, write_report=False)
    assert (again.path / "out_of_fold.csv").read_bytes() == (done.path / "out_of_fold.csv").read_bytes()
    assert (again.path / "ensemble" / "weights.safetensors").read_bytes() == (
        done.path / "ensemble" / "weights.safetensors"
    ).read_bytes()
    assert again.metrics == done.metrics


def test_a_fold_alone_is_that_run_of_the_cross_validation(eyes, done, tmp_path):
    from cross_validations import SETTINGS

    run = modicum.fit(
        eyes, "full", name="one", runs=tmp_path, folds=2, fold=2, write_report=False, **SETTINGS
    )
    assert (run.path / "weights.safetensors").read_bytes() == (
        done.path / "folds" / "2" / "weights.safetensors"
    ).read_bytes()


def test_folds_joined_by_hand_are_scored_on_nothing_that_one_has_learned(done, tmp_path):
    run = modicum.ensemble(
        [run.path for run in done.folds], name="hand", folder=tmp_path, workers=0, write_report=False
    )
    assert run.metrics["evaluations"] == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"folds": 1}, "--folds 1 is less than 2"),
        ({"folds": 40}, "patients.* for 40 folds"),
        ({"fold": 2}, "leave it out: every fold is trained"),
        ({"held_out": "a"}, "leave-one-domain-out"),
        ({"select": "oracle"}, "chooses weights by the images that a fold tests"),
        ({"leraning_rate": 1}, "unknown setting 'leraning_rate'"),
        ({"method": "mae"}, "there is nothing to pool over folds"),
    ],
)
def test_what_cannot_be_cross_validated_is_told_before_anything_is_trained(eyes, tmp_path, given, words):
    with pytest.raises(InputError, match=words):
        cross_validate(eyes, tmp_path, **given)
    assert not (tmp_path / "x").exists()


def test_half_of_a_fold_is_refused_by_fit(eyes, tmp_path):
    from cross_validations import SETTINGS

    with pytest.raises(InputError, match="folds is 3, and fold is None; train all folds with"):
        modicum.fit(eyes, "full", name="one", runs=tmp_path, folds=3, **SETTINGS)


def test_a_cross_validation_is_no_run_and_says_which_are(done):
    with pytest.raises(InputError, match=r"it is a cross-validation: name '.*ensemble', or one of its runs"):
        modicum.Run.open(done.path)


def test_metrics_are_plain_json(done):
    assert json.loads((done.path / "metrics.json").read_text())["folds"] == 2
