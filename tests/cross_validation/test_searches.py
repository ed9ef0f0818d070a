"""A search chooses on validation alone, goes on as if it had not been stopped, and Optuna reads its study."""

import shutil

import pandas as pd
import pytest
import yaml
from cross_validations import SETTINGS, made

import modicum
from modicum.errors import InputError, InterruptedRunError
from modicum.tuning.space import parse_space
from modicum.tuning.study import JOURNAL, NAME

SEARCH = ["lr=1e-4..1e-1:log", "weight_decay=0..0.1", "batch_size=4,8"]


def tune(data, runs, name="x", **given):
    settings = {key: value for key, value in SETTINGS.items() if key not in ("lr", "batch_size")}
    given = {"search": SEARCH, "trials": 3, "metric": "log_loss", **settings, **given}
    return modicum.tune(data, "full", runs=runs, name=name, **given)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return made("classification", tmp_path_factory.mktemp("eyes"), test_split=True)


@pytest.fixture(scope="module")
def done(eyes, tmp_path_factory):
    return tune(eyes, tmp_path_factory.mktemp("runs"))


def test_the_best_has_the_lowest_validation_loss_and_optuna_says_the_same(done):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    table, best = done.table, done.metrics["best"]
    assert best["value"] == pytest.approx(table["value"].min())
    study = optuna.load_study(
        study_name=NAME, storage=JournalStorage(JournalFileBackend(str(done.path / JOURNAL)))
    )
    assert study.best_value == best["value"]
    assert study.best_params["lr"] == best["settings"]["lr"]
    selection = done.best.metrics["selection"]
    assert (selection["metric"], selection["value"]) == ("log_loss", best["value"])


def test_values_lie_in_their_ranges_and_are_what_the_runs_were_trained_with(done):
    for row in done.table.itertuples():
        training = modicum.Run.open(done.path / "trials" / row.trial).recipe.training
        assert 1e-4 <= row.lr <= 1e-1
        assert 0 <= row.weight_decay <= 0.1
        assert (training.lr, training.batch_size) == (pytest.approx(row.lr), int(row.batch_size))


def test_the_test_split_has_no_part_in_it(eyes, done, tmp_path):
    """With all labels of test images swapped the same trials are made, and have the same values."""
    assert all(set(run.metrics["evaluations"]) == {"val"} for run in runs_of(done))
    shutil.copytree(eyes.parent, tmp_path / "eyes")
    table = pd.read_csv(eyes, dtype=str)
    tested = table["split"] == "test"
    assert tested.any()
    table.loc[tested, "label"] = table.loc[tested, "label"].map({"ill": "healthy", "healthy": "ill"})
    table.to_csv(tmp_path / "eyes" / eyes.name, index=False)
    other = tune(tmp_path / "eyes" / eyes.name, tmp_path, trials=1)
    columns = ["lr", "weight_decay", "batch_size", "value"]
    pd.testing.assert_frame_equal(other.table[columns], done.table[columns][:1])


def runs_of(search):
    return [modicum.Run.open(path) for path in sorted((search.path / "trials").iterdir())]


def test_stopped_in_its_second_trial_it_ends_as_uninterrupted(eyes, done, tmp_path, monkeypatch):
    from modicum.comparison.executors import here
    from modicum.comparison.run_cell import Outcome

    train = here.run_cell
    with monkeypatch.context() as patch:
        patch.setattr(
            here, "run_cell", lambda job: Outcome(job.name, stopped=True) if job.name == "002" else train(job)
        )
        with pytest.raises(
            InterruptedRunError, match=r"1 of 3 trials have ended; resume it with the same command"
        ):
            tune(eyes, tmp_path)
    again = tune(eyes, tmp_path)
    columns = ["trial", "lr", "weight_decay", "batch_size", "value", "state"]
    pd.testing.assert_frame_equal(again.table[columns], done.table[columns])
    before = {path: path.stat().st_mtime_ns for path in (again.path / "trials").rglob("*") if path.is_file()}
    more = tune(eyes, tmp_path, trials=4)
    assert len(more.table) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_the_best_recipe_trains_on_the_same_data_and_is_tested_then(eyes, done, tmp_path):
    values = yaml.safe_load((done.path / "best.yaml").read_text())
    assert values["training"]["lr"] == pytest.approx(done.metrics["best"]["settings"]["lr"])
    assert not {"device", "evaluate_test"} & set(values)
    run = modicum.fit(
        eyes, recipe=done.path / "best.yaml", name="best", runs=tmp_path, workers=0, device="cpu", leaks="allow",
        write_report=False,
    )  # fmt: skip
    assert "test" in run.metrics["evaluations"]
    assert run.metrics["selection"]["value"] == pytest.approx(done.metrics["best"]["value"])


def test_the_page_has_a_plot_and_a_row_a_trial_and_warns(done):
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert str(done.path.parents[1]) not in page
    assert "modicum fit …/" in page
    assert "<svg" in page
    assert page.count('<tr class="front">') == 1
    assert "No trial was evaluated on the test split" in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("lr=1e-2..1e-5", r"1e-2 is not below 1e-5"),
        ("lr=0..1:log", r"a logarithmic range cannot begin at 0"),
        ("lr=1e-5..1:lgo", r"unknown scale 'lgo'; did you mean 'log'\?"),
        ("lr=a..b", r"the ends are not two numbers"),
        ("lr=-1..1", r"--search lr=-1\.\.1: .*greater than 0"),
        ("weight_deccay=0..1", r"unknown setting 'weight_deccay'; did you mean 'weight_decay'"),
        ("lr=1e-3", r"has one value, 0\.001; give several or a range, or fix it with --set lr=0\.001"),
        ("lr", r"'lr' is not KEY=VALUES"),
        ("seed=1,2,3", r"it cannot be searched; the best of several seeds is chance"),
        ("split_seed=1,2", r"trials with other data do not compare"),
        ("epochs=1..3", r"'epochs' is both searched and set"),
        ("backbone=test_resnet,test_resnett", r"test_resnett"),
    ],
)
def test_a_search_that_makes_no_sense_is_told_before_any_image_is_decoded(eyes, tmp_path, search, words):
    given = {"backbone": None} if search.startswith("backbone") else {}
    with pytest.raises(InputError, match=words):
        tune(eyes, tmp_path, search=[search], **given)
    assert not (tmp_path / ".stores").exists()


def test_other_settings_are_another_search(eyes, done):
    with pytest.raises(InputError, match=r"was started with epochs=1, now it is 2; resume with the same"):
        tune(eyes, done.path.parent, epochs=2)
    with pytest.raises(InputError, match=r"was started with lr\.low=0\.0001, now it is"):
        tune(eyes, done.path.parent, search=["lr=1e-3..1e-1:log", *SEARCH[1:]])


def test_without_optuna_the_error_says_how_to_get_it(eyes, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"a search needs Optuna; pip install 'modicum\[tune\]'"):
        tune(eyes, tmp_path)


def test_a_batch_size_that_is_fitted_when_a_trial_starts_is_no_unknown_setting(eyes):
    from modicum.tuning.request import Request

    given = {"batch_size": "auto", "memory": "1GB"}
    request = Request.of(eyes, "full", ["lr=1e-4..1e-1:log"], given, 0, None, None)
    assert request.settings_of({"lr": 0.01})["batch_size"] == "auto"
    assert request.recipe_of({"lr": 0.01}).training.lr == 0.01


def test_ranges_and_choices_are_read_as_they_look():
    lr, size, whole, named = parse_space(
        [
            "lr=1e-5..1e-2:log",
            "image_size=[224, [256, 384]]",
            "epochs=5..20",
            "loss={ce: cross_entropy, f: focal}",
        ]
    )
    assert (lr.low, lr.high, lr.log, lr.whole) == (1e-5, 1e-2, True, False)
    assert dict(size.choices) == {"224": 224, "256x384": [256, 384]}
    assert whole.whole
    assert whole.value(7.0) == 7
    assert named.value("f") == "focal"
    assert parse_space({"lr": "1e-5..1e-2:log", "augment": ["none", "light"]})[0] == lr
