"""Messages of one image, of no validation images and of nothing trained are right too."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import modicum
from modicum.console.summary import run_summary
from modicum.data.slice_notes import middle_note
from modicum.errors import InputError
from modicum.methods.checks import write_made_data
from modicum.planning.rules import read_rules
from modicum.tasks.classification.operating_points import OperatingPoints, point_notes

SMALL = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "batch_size": 4, "leaks": "allow",
    "resamples": 0, "workers": 0, "device": "cpu", "write_report": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_made_data("classification", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return modicum.fit(data, "linear", name="r", runs=tmp_path_factory.mktemp("runs"), **SMALL)


def test_one_image_holds_and_two_hold():
    assert middle_note(1, 9)[0].startswith("1 image of 9 holds several slices")
    assert middle_note(2, 9)[0].startswith("2 images of 9 hold several slices")


def test_no_rule_speaks_of_a_counted_plural():
    counted = [rule.because for rule in read_rules().cautions if rule.because.startswith("{")]
    assert not [
        text for text in counted if text.split()[0] in ("{leaks}", "{near_duplicates}", "{contradictions}")
    ]


def test_a_class_whose_name_is_a_number_is_quoted():
    facts = {"images": 30, "classes": {"1": {"threshold": 0.5, "with": 4, "without": 26}}}
    (note,) = point_notes(OperatingPoints((0.5,), source="validation", facts=facts), "binary", ("0", "1"))
    assert note.startswith("'1': decided at one half")


def test_a_run_that_trained_nothing_claims_no_speed_and_no_memory(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "e")
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    metrics["memory"]["peak_bytes"], metrics["time"]["images_per_second"] = 0, None
    (tmp_path / "e" / "metrics.json").write_text(json.dumps(metrics))
    line = run_summary(tmp_path / "e")[0]
    assert "images/s" not in line
    assert "MiB" not in line
    assert " parameters learned, " in line
    assert "images/s" in run_summary(run.path)[0]


def test_a_run_that_has_not_finished_is_not_said_to_be_of_an_earlier_version(run, data, tmp_path, capfd):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.yaml").write_bytes((run.path / "recipe.yaml").read_bytes())
    (tmp_path / "half" / "status.json").write_text(json.dumps({"state": "failed"}))
    half = modicum.Run.open(tmp_path / "half")
    image = str(data.parent / pd.read_csv(data)["image"][0])
    with pytest.raises(InputError, match="has no trained weights"):
        half.predict(image, tmp_path / "p.csv")
    with pytest.raises(InputError, match="has no trained weights"):
        half.evaluate(data)
    assert "earlier version" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "labels.csv"])
def test_a_file_in_place_of_a_run_is_told_what_takes_it(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"is a file, and no run folder; .*\.onnx, \.xml.*load_exported"):
        modicum.Run.open(tmp_path / name)
