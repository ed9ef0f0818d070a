"""Groups and data flow of a run that was trained: from the data where they were, and from other data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.api import fit
from modicum.errors import InputError
from modicum.report.files import read_run
from modicum.report.flow import flow_of
from modicum.run import Run

QUICK = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "workers": 0, "resamples": 20,
    "device": "cpu", "write_report": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Sixty images of thirty patients, one of them broken, with the sex of each; half of them are test images."""
    folder = tmp_path_factory.mktemp("home")
    generator = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    (folder / "7.png").write_bytes(b"")
    patient = np.arange(60) // 2
    table = pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(60)],
            "label": np.where(patient % 2, "ill", "well"),
            "patient": [f"p{number}" for number in patient],
            "split": np.where(patient < 10, "train", np.where(patient < 15, "val", "test")),
            "sex": np.where(patient % 3 == 0, "F", "M"),
        }
    )
    table.to_csv(folder / "labels.csv", index=False)
    fit(folder / "labels.csv", "linear", name="run", runs=folder / "runs", skip_broken=True, **QUICK)
    return folder


def test_flow_of_a_run_adds_up_to_its_table(home):
    flow = flow_of(read_run(home / "runs/run"))
    assert flow.adds_up
    assert (flow.found, flow.kept, flow.set_aside) == (60, 59, (("could not be read", 1),))
    assert {part.name: (part.images, part.patients) for part in flow.parts} == {
        "Training": (19, 10),
        "Validation": (10, 5),
        "Test": (30, 15),
    }


def test_a_column_that_the_run_left_out_is_read_from_the_data(home):
    run = Run.open(home / "runs/run")
    assert "sex" not in (run.path / "manifest.csv").read_text()
    run.report(by=["sex"], least=5)
    groups = json.loads((run.path / "evaluations/test/groups.json").read_text())["columns"][0]["groups"]
    assert {group["name"]: (group["images"], group["patients"]) for group in groups} == {
        "F": (10, 5),
        "M": (20, 10),
    }


def test_an_evaluation_of_other_data_has_groups_of_their_columns(home, tmp_path):
    run = Run.open(home / "runs/run")
    content = run.evaluate(
        home / "labels.csv",
        split="test",
        name="again",
        by=["sex"],
        write_report=False,
        workers=0,
        out=tmp_path / "again",
    )
    assert content["images"] == 30
    assert "F" in (tmp_path / "again/groups.json").read_text()
    assert not (run.path / "evaluations/again").exists()


def test_data_that_have_moved_need_a_table(home, tmp_path):
    run = Run.open(home / "runs/run")
    moved = (home / "labels.csv").rename(tmp_path / "labels.csv")
    try:
        with pytest.raises(InputError, match="--table FILE"):
            run.report(tmp_path / "page.html", by=["sex"])
        page = run.report(tmp_path / "page.html", by=["sex"], table=moved, least=5)
        assert "By sex" in page.read_text()
    finally:
        moved.rename(home / "labels.csv")
