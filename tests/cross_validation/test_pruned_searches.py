"""Trials that fall behind the median end early: as Optuna's own MedianPruner says, and the same after a stop."""

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from cross_validations import SETTINGS, made
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import modicum
from modicum.errors import InputError, InterruptedRunError
from modicum.tuning.space import parse_space
from modicum.tuning.study import JOURNAL, NAME, REQUIRED, STARTUP, Study

TRIALS = 8


def search(data, runs, **given):
    settings = {key: value for key, value in SETTINGS.items() if key != "lr"}
    given = {"trials": TRIALS, "metric": "log_loss", "epochs": 3, "prune": True, **given}
    return modicum.tune(data, "full", search=["lr=1e-5..1:log"], runs=runs, name="x", **{**settings, **given})


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return made("classification", tmp_path_factory.mktemp("eyes"), test_split=True)


@pytest.fixture(scope="module")
def done(eyes, tmp_path_factory):
    return search(eyes, tmp_path_factory.mktemp("runs"))


def opened(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name=NAME, storage=storage)


def says_median_pruner(trials, values, direction):
    """The first step at which Optuna's MedianPruner ends a trial with these values, after some others."""
    study = optuna.create_study(direction=direction, pruner=optuna.pruners.MedianPruner())
    study.add_trials(trials)
    trial = study.ask()
    for step, value in sorted(values.items()):
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


def test_trials_end_where_optunas_median_pruner_ends_them(done):
    trials = opened(done.path).trials
    states = [trial.state.name for trial in trials]
    assert "PRUNED" in states
    assert states[:STARTUP] == ["COMPLETE"] * STARTUP
    for number, trial in enumerate(trials):
        ends = says_median_pruner(trials[:number], trial.intermediate_values, "minimize")
        if trial.state.name == "PRUNED":
            assert ends == max(trial.intermediate_values) < 3
        else:
            assert ends in (None, 3)  # the last epoch is over anyway


def test_pruned_trials_are_rows_that_say_so_and_none_is_the_best(done):
    table, metrics = done.table, done.metrics
    pruned = table[table["state"] == "pruned"]
    assert metrics["pruned"] == len(pruned) > 0
    assert metrics["finished"] + len(pruned) == TRIALS == metrics["trials"]
    assert (pruned["epochs"] < 3).all()
    assert pruned["value"].notna().all()
    assert (table.loc[table["state"] == "finished", "epochs"] == 3).all()
    assert metrics["best"]["trial"] not in set(pruned["trial"])
    page = (done.path / "report.html").read_text()
    assert f"{len(pruned)} trial" in page
    assert "<small>pruned</small>" in page
    best = yaml.safe_load((done.path / "best.yaml").read_text())
    assert REQUIRED not in best["training"]
    assert all(REQUIRED not in stage for stage in best["stages"].values())
    run = modicum.Run.open(done.path / "trials" / pruned["trial"].iloc[0])
    assert run.folder.status["state"] == "finished"
    assert run.metrics["selection"]["required"] is not None


def test_stopped_in_the_middle_it_ends_as_uninterrupted(eyes, done, tmp_path, monkeypatch):
    from modicum.comparison.executors import here
    from modicum.comparison.run_cell import Outcome

    last, train = f"{TRIALS:03d}", here.run_cell
    with monkeypatch.context() as patch:
        patch.setattr(
            here, "run_cell", lambda job: Outcome(job.name, stopped=True) if job.name == last else train(job)
        )
        with pytest.raises(InterruptedRunError):
            search(eyes, tmp_path)
    with pytest.raises(InputError, match="was started with prune=True, now it is None"):
        search(eyes, tmp_path, prune=False)
    again = search(eyes, tmp_path)
    columns = ["trial", "lr", "value", "state", "epochs"]
    pd.testing.assert_frame_equal(again.table[columns], done.table[columns])


def test_what_is_required_is_the_median_of_trials_that_went_to_their_end(tmp_path):
    study = Study(tmp_path, parse_space(["lr=0..1"]), 0, maximise=True)
    of_trials = np.random.default_rng(0).random((7, 4))
    for number, values in enumerate(of_trials):
        study.propose()
        study.require(number)
        assert REQUIRED not in study.trials[number].user_attrs or number >= STARTUP
        study.report(number, "tune", dict(enumerate(values, 1)))
        study.tell(number, None if number == 1 else values[-1], pruned=number == 0)
    number = study.propose().number
    study.require(number)
    np.testing.assert_allclose(
        study.trials[number].user_attrs[REQUIRED], np.median(of_trials[2:], axis=0), rtol=1e-12
    )


def test_a_training_ends_after_the_epoch_that_does_not_have_its_score_and_keeps_its_best_weights(
    eyes, tmp_path
):
    """Accuracy is never above 1, and always reaches 0; the last epoch requires nothing."""
    given = {**SETTINGS, "epochs": 3, "monitor": "accuracy", "write_report": False, "evaluate_test": False}
    run = modicum.fit(
        eyes, "full", runs=tmp_path, name="x", **given, **{"tune.required_scores": [0, 1.5, 1.5]}
    )
    selection = run.metrics["selection"]
    assert run.metrics["time"]["epochs"] == 2
    assert selection["required"] == 1.5
    assert selection["value"] == run.metrics["evaluations"]["val"]["metrics"]["accuracy"]["value"]
    assert run.folder.status["state"] == "finished"
    last = modicum.fit(
        eyes, "full", runs=tmp_path, name="y", **given, select="last",
        **{"tune.required_scores": [None, None, 1.5]},
    )  # fmt: skip
    assert last.metrics["time"]["epochs"] == 3
    assert "required" not in last.metrics["selection"]
