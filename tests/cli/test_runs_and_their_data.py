"""Runs beside and inside their data: what is replaced, what is kept, and what is written elsewhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modicum.api import fit, load
from modicum.engine.replaced_run import place_aside
from modicum.errors import InputError, InterruptedRunError
from modicum.run import Run

QUICK = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "workers": 0, "resamples": 10,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two classes, twelve patients, noise images of 24x24 pixels in folders of classes, and a run inside them."""
    folder = tmp_path_factory.mktemp("home")
    generator = np.random.default_rng(0)
    rows = ["image,label,patient"]
    for number in range(24):
        path = folder / f"data/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)
        rows.append(f"{path.relative_to(folder)},{'ab'[number % 2]},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    fit(folder / "data", "linear", name="inside", runs=folder / "data/runs", **QUICK)
    return folder


@pytest.fixture
def old(home, tmp_path) -> Path:
    """A finished run in a folder of its own."""
    shutil.copytree(home / "data/runs/inside", tmp_path / "runs/old")
    (tmp_path / "runs/old/mark").write_text("old")
    return tmp_path / "runs/old"


def test_runs_and_stores_inside_the_data_are_no_data(home):
    assert load(home / "data").classes() == ["a", "b"]
    assert len(load(home / "data")) == 24
    # Its pictures are there, and would be a class.
    assert list((home / "data/runs").rglob("*.png"))


def test_a_finished_new_run_replaces_the_old_one(home, old):
    fit(home / "labels.csv", "linear", name="old", runs=old.parent, overwrite=True, **QUICK)
    assert not (old / "mark").exists()
    assert Run.open(old).folder.status["state"] == "finished"
    assert not place_aside(Run.open(old).folder).exists()


@pytest.mark.parametrize("why", ["no such data", "broken image", "unknown backbone", "no such column"])
def test_the_old_run_stays_where_the_new_one_cannot_begin(why, home, old, tmp_path):
    data, more = home / "labels.csv", {}
    if why == "no such data":
        data = tmp_path / "nowhere.csv"
    elif why == "broken image":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken/x.png").write_bytes(b"")
        (tmp_path / "broken/labels.csv").write_text("image,label\nx.png,a\n")
        data = tmp_path / "broken/labels.csv"
    elif why == "unknown backbone":
        more = {"backbone": "resnet17"}
    else:
        more = {"label": "grade"}
    with pytest.raises(InputError):
        fit(data, "linear", name="old", runs=old.parent, overwrite=True, **{**QUICK, **more})
    assert (old / "mark").read_text() == "old"
    assert Run.open(old).predict(home / "data/a/0.png", tmp_path / "p.csv", device="cpu").predicted == 1
    assert not place_aside(Run.open(old).folder).exists()


def test_a_new_run_that_is_stopped_keeps_the_old_one_aside_until_it_is_finished(home, old, monkeypatch):
    from modicum.engine.training.stage_trainer import StageTrainer

    def stop(self, facts):
        self._checkpoint()
        raise InterruptedRunError("stopped")

    def full(**more):
        return fit(home / "labels.csv", "full", name="old", runs=old.parent, **QUICK, batch_size=4, **more)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "_step_ended", stop)
        with pytest.raises(InterruptedRunError):
            full(overwrite=True)
    aside = place_aside(Run.open(old).folder)
    assert (aside / "mark").exists()
    full(resume=True)
    assert not aside.exists()
    assert Run.open(old).recipe.method == "full"


def test_a_run_is_not_replaced_by_one_that_reads_it(home, old):
    for more in ({"weights": f"run:{old}"}, {"backbone": f"run:{old}", "weights": None}):
        with pytest.raises(InputError, match=r"--overwrite would replace run 'old', from which '.*' is read"):
            fit(
                home / "labels.csv", "full", name="old", runs=old.parent, overwrite=True,
                **{key: value for key, value in {**QUICK, **more}.items() if value is not None},
            )  # fmt: skip
    with pytest.raises(InputError, match=r"from which '.*manifest\.csv' is read"):
        fit(old / "manifest.csv", "linear", name="old", runs=old.parent, overwrite=True, **QUICK)
    assert (old / "mark").exists()


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_archived_run_is_evaluated_and_reported_elsewhere(home, old, tmp_path):
    before = contents(old)
    run = Run.open(old)
    found = run.evaluate(home / "labels.csv", split="all", workers=0, out=tmp_path / "evaluation")
    assert run.report(tmp_path / "page.html").read_text().startswith("<!")
    assert contents(old) == before
    stored = json.loads((tmp_path / "evaluation/metrics.json").read_text())
    assert stored["images"] == found["images"] == 24
    assert (tmp_path / "evaluation/predictions.csv").is_file()
    with pytest.raises(InputError, match="is a file that is read"):
        run.report(old / "recipe.yaml")
    with pytest.raises(InputError, match="is a folder that is read"):
        run.evaluate(home / "data", out=home / "data")
