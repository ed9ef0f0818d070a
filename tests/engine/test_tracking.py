"""Experiment trackers are told each number once, also by a run that was killed, and nothing of files and patients."""

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modicum
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training import tracking
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.engine.training.tracked_settings import HIDDEN, tracked_settings
from modicum.engine.training.tracking import make_tracking, metrics_of
from modicum.errors import InputError

SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 2, "batch_size": 4, "lr": 1e-3,
    "augment": "none", "patient": "subject", "checkpoint_steps": 2, "resamples": 20,
    "workers": 0, "write_report": False,
}  # fmt: skip
SECRETS = ("zanzibar", "quetzal", "marmoset", "ocelot")
"""In the names of the folder, files, patients and classes."""
STEPS = 8


class Killed(Exception):
    """In place of a signal."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zanzibar")
    rng = np.random.default_rng(0)
    lines = ["image,label,subject,split"]
    for number, split in enumerate(["train"] * 16 + ["val"] * 6 + ["test"] * 6):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"quetzal{number}.png")
        label = ("ocelot", "plain")[number % 2]
        lines.append(f"quetzal{number}.png,{label},marmoset{number},{split}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def fit(table, runs, **settings):
    return modicum.fit(table, "full", name="one", runs=runs, **{**SETTINGS, **settings})


def fit_killed_once(table, runs, monkeypatch, kind):
    """Killed after step 7, of which the last checkpoint is step 6's, and gone on with."""
    ended = StageTrainer._step_ended

    def deadly(self, facts):
        ended(self, facts)
        if self.module.progress.step == 7:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "_step_ended", deadly)
        with pytest.raises(Killed):
            fit(table, runs, tracking=kind)
    return fit(table, runs, tracking=kind, resume=True)


@pytest.fixture(scope="module")
def straight(table, tmp_path_factory):
    return fit(table, tmp_path_factory.mktemp("runs"), tracking="csv").path


def rows(path):
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def without_time(found):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found]


def assert_nothing_secret(folder):
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    for path in written:
        content = path.read_bytes().lower()
        for word in (*SECRETS, str(folder.parent.parent).lower()):
            assert word.encode() not in content, f"{path.name} holds {word}"


def test_there_is_none_by_default_and_in_other_processes(tmp_path):
    usual, asked = make_recipe("table.csv", "full", {}), make_recipe("table.csv", "full", {"tracking": "csv"})
    assert make_tracking(usual, RunFolder(tmp_path), first=True) is None
    assert make_tracking(asked, RunFolder(tmp_path), first=False) is None
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_the_numbers_of_the_history(straight):
    history = [json.loads(line) for line in (straight / "history.jsonl").read_text().splitlines()]
    found = rows(straight / "tracking" / "csv" / "tune" / "metrics.csv")
    assert [row["step"] for row in found] == [record["step"] for record in history]
    assert len({row["step"] for row in found if "lr" in row}) == STEPS
    epochs = [record for record in history if record["kind"] == "epoch"]
    shown = [row for row in found if "epoch" in row]
    assert [row["train/loss"] for row in shown] == [record["train"]["loss"] for record in epochs]
    assert [row["val/auroc"] for row in shown] == [record["val"]["auroc"] for record in epochs]


def test_scores_at_the_end_are_those_of_the_run(straight):
    metrics = json.loads((straight / "metrics.json").read_text())["evaluations"]
    (found,) = rows(straight / "tracking" / "csv" / "evaluation" / "metrics.csv")
    assert found["test/auroc"] == metrics["test"]["metrics"]["auroc"]["value"]
    assert found["val/accuracy"] == metrics["val"]["metrics"]["accuracy"]["value"]


def test_a_killed_run_goes_on_in_the_same_table(table, straight, tmp_path, monkeypatch):
    run = fit_killed_once(table, tmp_path, monkeypatch, "csv")
    ours = rows(run.path / "tracking" / "csv" / "tune" / "metrics.csv")
    assert without_time(ours) == without_time(rows(straight / "tracking" / "csv" / "tune" / "metrics.csv"))
    assert_nothing_secret(run.path / "tracking")


def test_tensorboard_shows_each_step_once_after_a_kill(table, straight, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra 'tracking'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit_killed_once(table, tmp_path, monkeypatch, "tensorboard")
    shown = EventAccumulator(str(run.path / "tracking" / "tensorboard" / "tune")).Reload()
    expected = [row for row in rows(straight / "tracking" / "csv" / "tune" / "metrics.csv") if "lr" in row]
    assert [event.step for event in shown.Scalars("lr")] == [row["step"] for row in expected]
    assert [event.value for event in shown.Scalars("lr")] == pytest.approx([row["lr"] for row in expected])
    assert [event.step for event in shown.Scalars("val/auroc")] == [4, 8]
    assert_nothing_secret(run.path / "tracking")


def test_mlflow_has_each_step_once_after_a_kill(table, straight, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra 'tracking'")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    run = fit_killed_once(table, tmp_path, monkeypatch, "mlflow")
    client = MlflowClient(f"sqlite:///{run.path.absolute() / 'tracking' / 'mlflow.db'}")
    run_id = json.loads((run.path / "tracking" / "mlflow.json").read_text())["run_id"]
    assert [metric.step for metric in client.get_metric_history(run_id, "tune/lr")] == list(
        range(1, STEPS + 1)
    )
    assert [metric.step for metric in client.get_metric_history(run_id, "tune/val/auroc")] == [4, 8]
    stored = client.get_run(run_id)
    assert stored.data.params["training.lr"] == "0.001"
    assert stored.info.status == "FINISHED"
    assert_nothing_secret(run.path / "tracking")
    assert not (tmp_path / "mlruns").exists()


def test_a_missing_package_is_said_before_images_are_read(table, tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.engine.training.tracking.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tracking=mlflow needs the package mlflow.*modicum\[tracking\]"):
        fit(table, tmp_path, tracking="mlflow")
    assert not (tmp_path / ".stores").exists()


def test_an_address_without_mlflow_is_refused(table, tmp_path):
    with pytest.raises(InputError, match="address of an MLflow server"):
        fit(table, tmp_path, tracking="csv", tracking_uri="http://127.0.0.1:5000")


def test_settings_name_no_files_and_no_data():
    recipe = make_recipe(
        "/home/zanzibar/table.csv", "full",
        {"weights": "quetzal/marmoset.pth", "lr": 1e-3, "label": "ocelot", "classes": ["ocelot", "b"], "device": "cpu"},
    )  # fmt: skip
    told = tracked_settings(recipe)
    assert told["training.lr"] == 1e-3
    assert told["backbone.weights"] == "file"
    assert told["backbone.name"] == "resnet50"
    assert not any(word in json.dumps(told) for word in SECRETS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("words.csv", HIDDEN), ("run:runs/one", HIDDEN), ("a\\b", HIDDEN), ("/data", HIDDEN),
        ("smooth_l1+0.5*mse", "smooth_l1+0.5*mse"), ("light", "light"),
    ],
)  # fmt: skip
def test_texts_that_look_like_files_are_hidden(text, shown):
    recipe = make_recipe("table.csv", "full", {}).model_copy(update={"config": {"setting": [text]}})
    assert tracked_settings(recipe)["config.setting"] == [shown]


def test_numbers_of_one_class_are_left_out():
    record = {
        "kind": "epoch", "stage": "tune", "epoch": 1, "step": 4, "train": {"loss": 1.0},
        "val": {"auroc": 0.5, "auroc/ocelot": 0.4, "kappa": None},
    }  # fmt: skip
    assert metrics_of(record) == {"epoch": 1.0, "train/loss": 1.0, "val/auroc": 0.5}


def test_a_run_that_tracks_nothing_does_not_wait_for_lightning():
    """It takes seconds to import, and this module is imported by every command that opens a run."""
    tree = ast.parse(Path(tracking.__file__).read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("lightning" in ast.unparse(node) for node in at_once)
