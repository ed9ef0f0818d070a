"""Runs flag what is unlike their training images, refuse it where asked, and answer with sets of classes."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from made_dense import predictor_of, write_volume
from made_grades import SETTINGS
from torch import nn
from typer.testing import CliRunner

import modicum
import modicum.engine.fit as fitting
from modicum.atomic_files import write_text
from modicum.cli import app
from modicum.data.image import ImageRef
from modicum.data.layouts.given_images import images_of
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.engine.inference.box_prediction import BoxPredictor
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput
from modicum.engine.inference.guards import keeping
from modicum.engine.inference.guards.character import character_of
from modicum.engine.inference.guards.guard import ImageGuard
from modicum.engine.inference.guards.training_images import known_from
from modicum.errors import InputError
from modicum.tasks.detection.task import Detection

SMALL = {**SETTINGS, "method": "full", "label": "state", "epochs": 2}
STATES = ("clear", "mild", "ill")


def picture(number):
    """A disc on a dark ground, brighter and redder in later states; of a state few are alike."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[-1:1:40j, -1:1:40j]
    state = number // 4 % 3
    light = 90 + 15 * state + generator.normal(0, 12)
    disc = np.where(np.hypot(rows, columns)[..., None] < 0.9, light, 10) * np.array([0.5, 0.7, 1.0])
    return (disc + generator.normal(0, 8, (40, 40, 1))).clip(0, 255).astype(np.uint8), STATES[state]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("guards")


@pytest.fixture(scope="module")
def data(place):
    (place / "data" / "images").mkdir(parents=True)
    rows = []
    for number in range(160):
        pixels, state = picture(number)
        cv2.imwrite(str(place / "data" / "images" / f"{number:03d}.png"), pixels)
        split = ("train", "train", "val", "test")[number % 4]
        rows.append({"image": f"images/{number:03d}.png", "state": state, "split": split})
    pd.DataFrame(rows).to_csv(place / "data" / "labels.csv", index=False)
    return place / "data" / "labels.csv"


@pytest.fixture(scope="module")
def run(place, data):
    return modicum.fit(data, name="run", runs=place, write_report=False, **SMALL)


@pytest.fixture(scope="module")
def new(place):
    """Two images like the training's, one negative, one empty, and one that cannot be read."""
    folder = place / "new"
    folder.mkdir()
    usual = picture(1003)[0]
    pictures = {"a": picture(1001)[0], "b": usual, "c": 255 - usual, "d": np.full_like(usual, 77)}
    for name, pixels in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    (folder / "e.png").write_text("no image")
    return folder


def test_a_run_keeps_what_its_images_looked_like_and_counts_in_its_evaluations(run):
    kept = json.loads((run.path / "training_images.json").read_text())
    assert kept["images"] == {"training": 80, "validation": 40, "thresholds": 40}
    assert kept["sides"] == [40, 40]
    assert kept["in_colour"] == 1
    assert not [word for word in ("images/", ".png", "clear") if word in json.dumps(kept)]
    assert (run.path / "training_features.safetensors").stat().st_size < 100_000
    for split in ("val", "test"):
        counts = run.metrics["evaluations"][split]["unlike_training"]
        assert counts["images"] == 40
        assert counts["unlike"] <= 2
        own = json.loads((run.path / "evaluations" / split / "metrics.json").read_text())
        assert own["unlike_training"] == counts
        table = pd.read_csv(run.path / "evaluations" / split / "predictions.csv", dtype=str)
        assert list(table)[-1] == "unlike_training"
        assert table["unlike_training"].notna().sum() == counts["unlike"]


def test_weights_are_the_same_bits_without_it(run, place, data, monkeypatch):
    monkeypatch.setattr(fitting, "keep_training_images", lambda *arguments: None)
    without = modicum.fit(data, name="without", runs=place, write_report=False, **SMALL)
    assert not (without.path / "training_images.json").exists()
    assert (without.path / "weights.safetensors").read_bytes() == (
        run.path / "weights.safetensors"
    ).read_bytes()
    plain, flagged = (
        pd.read_csv(one.path / "evaluations/test/predictions.csv", dtype=str) for one in (without, run)
    )
    assert "unlike_training" not in plain
    assert plain.equals(flagged.drop(columns="unlike_training"))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_unlike_images_are_named_and_answered(run, new, tmp_path, suffix, capfd):
    done = run.predict(new, tmp_path / f"p{suffix}", batch_size=2)
    assert (done.predicted, done.broken, done.unlike, done.refused) == (4, 1, 2, 0)
    table = pd.read_csv(done.out) if suffix == ".csv" else pd.read_parquet(done.out)
    assert list(table)[-2:] == ["unlike_training", "error"]
    assert table["unlike_training"].fillna("").tolist()[:2] == ["", ""]
    assert table["unlike_training"][2].startswith("inverted")
    assert table["unlike_training"][3] == "empty"
    assert table["prediction"].notna().tolist() == [True] * 4 + [False]
    assert "2 of 4 images are unlike those of the training" in capfd.readouterr().err


def test_strict_refuses_with_exit_code_3_and_writes_the_reason_alone(run, new, tmp_path):
    out = tmp_path / "p.csv"
    result = CliRunner().invoke(app, ["predict", str(run.path), str(new), "--out", str(out), "--strict"])
    assert result.exit_code == 3
    assert "2 images predicted, 1 broken, 2 refused" in result.output
    table = pd.read_csv(out)
    assert table["error"][3] == "unlike the training images: empty"
    answers = [name for name in table if name == "prediction" or name.startswith("p_")]
    assert table[answers].notna().all(axis=1).tolist() == [True, True, False, False, False]
    alone = CliRunner().invoke(
        app, ["predict", str(run.path), str(new / "a.png"), "--out", str(tmp_path / "q.csv"), "--strict"]
    )
    assert alone.exit_code == 0


def test_runs_of_earlier_versions_predict_as_before_with_one_note(run, new, tmp_path, capfd):
    kept = (run.path / "training_images.json").read_text()
    (run.path / "training_images.json").unlink()
    try:
        done = run.predict(new, tmp_path / "p.csv")
        assert (done.predicted, done.broken, done.unlike) == (4, 1, 0)
        assert "unlike_training" not in pd.read_csv(done.out)
        assert capfd.readouterr().err.count("does not say what its training images looked like") == 1
        with pytest.raises(InputError, match="--strict: run 'run' does not say what"):
            run.predict(new, tmp_path / "q.csv", strict=True)
    finally:
        write_text(run.path / "training_images.json", kept)


def test_an_evaluation_counts_them(run, place, data, capfd):
    table = pd.read_csv(data)
    table = table[table["split"] == "test"].drop(columns="split")
    (place / "dark" / "images").mkdir(parents=True)
    for name in table["image"]:
        cv2.imwrite(str(place / "dark" / name), 255 - cv2.imread(str(data.parent / name)))
    table.to_csv(place / "dark" / "labels.csv", index=False)
    content = run.evaluate(place / "dark" / "labels.csv", label="state", out=place / "of_dark", workers=0)
    counts = content["unlike_training"]
    assert (counts["images"], counts["unlike"], counts["reasons"]["inverted"]) == (40, 40, 40)
    assert "40 of 40 images are unlike" in capfd.readouterr().err
    flags = pd.read_csv(place / "of_dark" / "predictions.csv")["unlike_training"]
    assert flags.str.startswith("inverted").all()


def test_prediction_sets_are_a_column_and_are_evaluated(run, data, new, tmp_path, capfd):
    done = run.predict(new, tmp_path / "p.csv", conformal=0.1)
    assert "40 validation images" in capfd.readouterr().err
    table = pd.read_csv(done.out)
    for prediction, members in zip(table["prediction"][:4], table["prediction_set"][:4], strict=True):
        assert prediction in members.split("|")
        assert set(members.split("|")) <= set(STATES)
    content = run.evaluate(data, split="test", name="sets", conformal=0.1, conformal_score="lac", workers=0)
    metrics = content["metrics"]
    assert content["conformal"]["alpha"] == 0.1
    assert content["conformal"]["score"] == "lac"
    assert 0.6 < metrics["coverage"]["value"] <= 1
    assert metrics["coverage"]["low"] <= metrics["coverage"]["value"] <= metrics["coverage"]["high"]
    assert 1 <= metrics["set_size"]["value"] <= 3
    assert {f"coverage/{state}" for state in STATES} <= set(metrics)
    made = pd.read_csv(run.path / "evaluations/sets/predictions.csv")
    holds = [
        truth in members.split("|")
        for truth, members in zip(made["truth"], made["prediction_set"], strict=True)
    ]
    assert np.mean(holds) == pytest.approx(metrics["coverage"]["value"])
    assert made["prediction_set"].str.split("|").str.len().mean() == pytest.approx(
        metrics["set_size"]["value"]
    )


def test_sets_that_cannot_be_are_one_line(run, data, new, tmp_path):
    with pytest.raises(
        InputError, match=r"--conformal 0.01 needs 99 validation images or more, and this run has 40"
    ):
        run.predict(new, tmp_path / "p.csv", conformal=0.01)
    with pytest.raises(InputError, match="--conformal-score without --conformal"):
        run.predict(new, tmp_path / "p.csv", conformal_score="lac")
    with pytest.raises(InputError, match="--conformal-score without --conformal"):
        run.evaluate(data, split="test", out=tmp_path / "e", conformal_score="lac", workers=0)
    for share in (0, 1, 90):
        with pytest.raises(InputError, match=f"--conformal is {share}"):
            run.predict(new, tmp_path / "p.csv", conformal=share)


def guard_of(files, settings, strict=False):
    """What some files look like, as if a run had learned from them."""
    looks = []
    for file in files:
        image, record = read_prepared(ImageRef(file), settings)
        looks.append(character_of(record, (image.source.height, image.source.width), image.spacing))
    return ImageGuard(known_from(looks, [], list(range(len(looks)))), strict)


@pytest.fixture(scope="module")
def greys(place):
    """Bright discs, by number."""
    folder = place / "greys"
    folder.mkdir()
    files = []
    for number in range(30):
        files.append(folder / f"{number:02d}.png")
        cv2.imwrite(str(files[-1]), picture(number)[0][..., 2])
    return files


@pytest.fixture
def given(greys, tmp_path):
    """One like them, and its negative."""
    (tmp_path / "in").mkdir()
    usual = picture(500)[0][..., 2]
    cv2.imwrite(str(tmp_path / "in" / "a.png"), usual)
    cv2.imwrite(str(tmp_path / "in" / "b.png"), 255 - usual)
    return tmp_path / "in"


@pytest.mark.parametrize("native", [False, True])
def test_predicted_pictures_have_the_column_and_can_be_refused(greys, given, tmp_path, native):
    predictor = predictor_of()
    settings = replace(predictor.settings, channels=1)
    names, refs = images_of([given])
    for strict in (False, True):
        guard = guard_of(greys, settings, strict)
        out = tmp_path / f"strict{strict}"
        output = DenseOutput(replace(predictor, guard=guard, native=native), out, "made (test)")
        done = output.write(planned([given], names, refs))
        table = pd.read_csv(out / "predictions.csv")
        assert list(table)[-2:] == ["unlike_training", "error"]
        assert table["unlike_training"].fillna("").tolist() == ["", "inverted"]
        assert (done.predicted, done.broken, done.unlike, done.refused) == (2 - strict, 0, 1, int(strict))
        assert (out / "b_predicted.png").exists() != strict
        assert table["error"].notna().tolist() == [False, strict]


def test_a_volume_with_a_slice_that_is_refused_is_one_row(greys, tmp_path):
    predictor = predictor_of()
    guard = guard_of(greys, replace(predictor.settings, channels=1), strict=True)
    volume = write_volume(tmp_path / "v.nii.gz", np.zeros((12, 12, 3), np.int16))
    names, refs = images_of([volume])
    output = DenseOutput(replace(predictor, guard=guard), tmp_path / "out", "made (test)")
    done = output.write(planned([volume], names, refs))
    assert (done.predicted, done.broken, done.refused) == (0, 0, 1)
    assert not (tmp_path / "out" / "v_predicted.nii.gz").exists()


class OneBox(nn.Module):
    """The same box in every image."""

    def forward(self, images):
        return torch.tensor([[[4.0, 4.0, 20.0, 20.0, 0.9, 0.0]]]).expand(len(images), 1, 6)


@pytest.mark.parametrize("strict", [False, True])
def test_tables_of_boxes_have_the_column(greys, given, tmp_path, strict):
    settings = StoreSettings(32, 32)
    guard = guard_of(greys, settings, strict)
    task = Detection(["lesion"])
    predictor = BoxPredictor(OneBox(), task, settings, 4, "32", torch.device("cpu"), guard=guard)
    names, refs = images_of([given])
    done = predictor.write(refs, names, tmp_path / "boxes.csv")
    assert (done.predicted, done.broken, done.unlike, done.refused) == (2 - strict, 0, 1, int(strict))
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert table["unlike_training"].fillna("").tolist() == ["", "inverted"]
    assert table["x0"].notna().tolist() == [True, not strict]
    predictor.write(refs, names, tmp_path / "boxes.json")
    images = json.loads((tmp_path / "boxes.json").read_text())["images"]
    assert [image["unlike_training"] for image in images] == ["", "inverted"][: 2 - strict]
    replace(predictor, guard=None).write(refs, names, tmp_path / "unknown.json")
    assert "unlike_training" not in json.loads((tmp_path / "unknown.json").read_text())["images"][0]


def test_evaluations_are_compared_in_parts_that_change_nothing(monkeypatch):
    """Of many images no more is held than of a part, and each is judged as with all others."""
    generator = np.random.default_rng(0)

    class Images:
        asked: list[int] = []  # noqa: RUF012

        def characters(self, rows):
            self.asked.append(len(rows))
            return [character_of(pixels[row], (24, 24)) for row in rows]

        def features(self, rows, advance, keep):
            assert not keep
            return

    pixels = generator.integers(0, 255, (50, 24, 24, 1), dtype=np.uint8)
    pixels[40:] //= 4
    train = [character_of(one, (24, 24)) for one in pixels[:30]]
    guard = ImageGuard(known_from(train, [], list(range(30))))
    whole = keeping.unlike_rows(guard, Images(), np.arange(50))
    monkeypatch.setattr(keeping, "AT_ONCE", 7)
    Images.asked.clear()
    parts = keeping.unlike_rows(guard, Images(), np.arange(50))
    assert max(Images.asked) == 7
    assert parts == whole
    assert sum(bool(reason) for reason in whole.reasons) >= 10
