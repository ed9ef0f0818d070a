"""Runs of LED on files: trained on known pairs, alone and behind another run, with maps, tiles, judges and DICOM."""

import json
import shutil
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.inference import judges
from modicum.engine.inputs.degraded_pairs import write_degraded_pairs
from modicum.errors import InputError
from modicum.tasks import DenseTask
from modicum.transforms.degradation_parameters import Degradation
from modicum.transforms.fundus_degradation import degrade

SMALL = {"unet_channels": [8, 8], "attention_levels": [], "blocks_per_level": 1}
TRAINING = {
    "image_size": 32, "epochs": 1, "batch_size": 4, "lr": 1e-3, "resamples": 0, "device": "cpu", "workers": 0,
    "write_report": False, "leaks": "allow",
}  # fmt: skip
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("led")


@pytest.fixture(scope="module")
def eyes(place):
    return write_fundus_dataset(place / "eyes", 8, 40, seed=2, fractions=SHARES)


@pytest.fixture(scope="module")
def pairs(place, eyes):
    return write_degraded_pairs(eyes, place / "pairs", kinds=("001", "110"), reference=128)


def fit(pairs, method, **more):
    return modicum.fit(pairs, method, runs=pairs.parent.parent / "runs", **{**TRAINING, **more})


@pytest.fixture(scope="module")
def led(pairs):
    return fit(pairs, "led", name="led", **SMALL, degrade="classical", reference=128, steps=10)


@pytest.fixture(scope="module")
def unet(pairs):
    return fit(pairs, "restoration_unet", name="unet", **SMALL)


@pytest.fixture(scope="module")
def photographs(place, pairs):
    """Three degraded test images in a folder of their own."""
    folder = place / "photographs"
    folder.mkdir()
    table = pd.read_csv(pairs)
    for name in table[table["split"] == "test"]["image"].iloc[:3]:
        shutil.copyfile(pairs.parent / name, folder / name.split("/")[1])
    return folder


def pixels_of(path):
    return np.asarray(Image.open(path), dtype=np.float64)


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_are_replayed_from_their_parameters(pairs):
    table = pd.read_csv(pairs, dtype=str)
    assert set(table["kind"]) == {"001", "110"}
    assert {"patient", "label", "mask", "fov", "split"} <= set(table)
    row = table.iloc[0]
    clean = torch.from_numpy(pixels_of(pairs.parent / row["target"]) / 255).permute(2, 0, 1).float()
    mask = torch.from_numpy(pixels_of(pairs.parent / row["fov"]) > 0)
    file = (pairs.parent / row["image"]).with_suffix(".json")
    parameters = Degradation.model_validate_json(file.read_text())
    assert parameters.kind == row["kind"]
    # Means that light is scaled by are of the whole photograph, whose surround is not quite black.
    again = 255 * degrade(clean, parameters, mask).permute(1, 2, 0).numpy()
    assert np.abs(again - pixels_of(pairs.parent / row["image"])).mean() < 2
    assert (pixels_of(pairs.parent / row["image"])[~mask.numpy()] == 0).all()


def test_pairs_do_not_depend_on_the_order_of_the_files(eyes, pairs, tmp_path):
    shuffled = pd.read_csv(eyes, dtype=str).sample(frac=1, random_state=1)
    shuffled.to_csv(eyes.parent / "shuffled.csv", index=False)
    again = write_degraded_pairs(
        eyes.parent / "shuffled.csv", tmp_path / "again", kinds=("001", "110"), reference=128
    )
    first, second = (pd.read_csv(path, dtype=str).set_index("image").sort_index() for path in (pairs, again))
    assert first["target"].equals(second["target"])
    name = first.index[3]
    assert (pixels_of(pairs.parent / name) == pixels_of(again.parent / name)).all()
    assert [name.split("/")[1] for name in first.index] == [name.split("/")[1] for name in first["target"]]


def test_pairs_of_an_unknown_kind_are_refused(eyes, tmp_path):
    with pytest.raises(InputError, match="unknown kind of degradation 'blur'"):
        write_degraded_pairs(eyes, tmp_path, kinds=("blur",))


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_enhances_files_at_their_own_size_and_keeps_the_surround_black(
    led, photographs, tmp_path, capsys
):
    done = led.predict(photographs, tmp_path / "out", maps=tmp_path / "maps", samples=3)
    assert (done.predicted, done.broken) == (3, 0)
    told = capsys.readouterr().err
    assert "structures may have been invented or removed" in told
    assert "3 fields of view found" in " ".join(told.split())
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert {"sharpness", "change", "spread"} <= set(table)
    given = sorted(photographs.iterdir())
    for path, row in zip(given, table.itertuples(), strict=True):
        enhanced = pixels_of(tmp_path / "out" / row.file)
        assert enhanced.shape == (40, 40, 3)
        assert (enhanced[0, 0] == 0).all()
        change = pixels_of(tmp_path / "maps" / f"{path.stem}_change.png") / 65535
        expected = np.abs(enhanced - pixels_of(path)).mean(2) / 255
        assert np.abs(change - expected).max() < 1 / 255
        assert change.mean() == pytest.approx(row.change, abs=1e-3)
        assert pixels_of(tmp_path / "maps" / f"{path.stem}_spread.png").any()
    account = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert "invented" in account["caution"]
    assert account["maps"]["names"] == ["change", "spread"]


def test_a_smaller_start_changes_less(led, photographs, tmp_path):
    changes = []
    for start in (10, 900):
        led.predict(photographs, tmp_path / str(start), maps=tmp_path / f"maps{start}", start=start)
        changes.append(pd.read_csv(tmp_path / str(start) / "predictions.csv")["change"].mean())
    assert changes[0] < changes[1]


def test_settings_that_only_training_could_change_are_refused(led, photographs, tmp_path):
    with pytest.raises(InputError, match="--set degrade: a finished run of method 'led' cannot change that"):
        led.predict(photographs, tmp_path / "out", degrade="pairs")
    with pytest.raises(InputError, match="'start' is 1000"):
        led.predict(photographs, tmp_path / "out", start=1000)


def test_joined_with_a_run_that_does_not_sample_it_gives_the_mean_picture_and_keeps_its_caution(
    led, unet, photographs, tmp_path, capsys
):
    both = modicum.ensemble(
        [led.path, unet.path], name="both", folder=tmp_path, workers=0, write_report=False
    )
    capsys.readouterr()
    for name, run in {"led": led, "unet": unet, "both": both}.items():
        assert run.predict(photographs, tmp_path / f"of_{name}").predicted == 3
    assert "structures may have been invented or removed" in capsys.readouterr().err
    for path in sorted(photographs.iterdir()):
        pictures = {
            name: pixels_of(next((tmp_path / f"of_{name}").glob(f"*{path.stem}*.png")))
            for name in ("led", "unet", "both")
        }
        inside = pictures["led"].any(2)
        assert inside.mean() > 0.3
        assert not pictures["both"][0, 0].any()  # outside the field of view, as with the first run
        difference = pictures["both"] - (pictures["led"] + pictures["unet"]) / 2
        assert np.abs(difference[inside]).max() <= 1.01
        assert np.abs(pictures["led"] - pictures["unet"])[inside].max() > 8
    large = tmp_path / "large.png"
    Image.fromarray(np.full((64, 80, 3), 90, np.uint8)).save(large)
    assert both.predict(large, tmp_path / "tiles", native=True, tile=48).predicted == 1


def test_photographs_of_any_size_are_enhanced_in_tiles(led, place, tmp_path):
    source = next(iter(sorted((place / "pairs" / "degraded").glob("*.png"))))
    large = np.asarray(Image.open(source).resize((75, 100)))
    Image.fromarray(large).save(tmp_path / "large.png")
    done = led.predict(tmp_path / "large.png", tmp_path / "out", native=True, tile=48, steps=2)
    assert done.predicted == 1
    assert pixels_of(tmp_path / "out" / "large_predicted.png").shape == (100, 75, 3)


def test_a_photograph_without_a_disc_is_enhanced_all_over_and_that_is_said(led, tmp_path, capsys):
    Image.fromarray(np.full((40, 40, 3), 140, np.uint8)).save(tmp_path / "even.png")
    led.predict(tmp_path / "even.png", tmp_path / "out", steps=2)
    assert "none for 1 image, predicted outside too" in " ".join(capsys.readouterr().err.split())


def test_a_colour_dicom_image_becomes_a_derived_one_that_says_what_it_is(led, photographs, tmp_path):
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(get_testdata_file("SC_rgb_rle.dcm"))
    pixels = cv2.resize(np.asarray(Image.open(next(photographs.iterdir()))), (48, 40))
    dataset.set_pixel_data(np.ascontiguousarray(pixels), "RGB", 8)
    dataset.save_as(tmp_path / "eye.dcm", enforce_file_format=True)
    led.predict(tmp_path / "eye.dcm", tmp_path / "out", steps=2)
    made = pydicom.dcmread(tmp_path / "out" / "eye_predicted.dcm")
    assert made.ImageType[0] == "DERIVED"
    assert "AI-enhanced" in made.DerivationDescription
    assert made.PhotometricInterpretation == "RGB"
    assert (made.Rows, made.Columns) == (40, 48)


# --- behind another ---------------------------------------------------------------------------------------------------


def test_behind_a_run_it_sees_the_runs_outputs(led, unet, photographs, tmp_path):
    unet.predict(photographs, tmp_path / "unet")
    led.predict(photographs, tmp_path / "run", after=f"run:{unet.path}")
    led.predict(photographs, tmp_path / "folder", after=tmp_path / "unet")
    led.predict(photographs, tmp_path / "alone", start=200)
    for path in sorted(photographs.iterdir()):
        name = f"{path.stem}_predicted.png"
        ours, of_folder, alone = (pixels_of(tmp_path / place / name) for place in ("run", "folder", "alone"))
        # Files have 8 bits, what a run hands over has 16.
        assert np.abs(ours - of_folder).mean() < 2
        assert np.abs(ours - alone).mean() > 0
    assert json.loads((tmp_path / "run" / "predictions.json").read_text())["after"] == f"run:{unet.path}"


def test_behind_means_the_smaller_start_and_fewer_calls(led):
    method = led.method()
    assert len(method.predictor().plan.times()) == 9  # 800, 700, ...
    assert len(method.predictor_behind().plan.times()) == 3  # 200, 100, 0


def test_outputs_that_do_not_fit_are_refused_by_name(led, photographs, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        led.predict(photographs, tmp_path / "out", after=tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"is a run folder; write --after run:{led.path}"):
        led.predict(photographs, tmp_path / "out", after=led.path)
    outputs = tmp_path / "outputs"
    shutil.copytree(photographs, outputs)
    first, second, *_ = sorted(outputs.iterdir())
    first.unlink()
    with pytest.raises(InputError, match=f"has no output of image '{first.name}'"):
        led.predict(photographs, tmp_path / "out", after=outputs)
    Image.open(second).resize((20, 20)).save(first)
    done = led.predict(photographs, tmp_path / "out", after=outputs, steps=2)
    assert (done.predicted, done.broken) == (2, 1)
    errors = pd.read_csv(tmp_path / "out" / "predictions.csv")["error"].dropna()
    assert "20 x 20 pixels, it has 40 x 40" in errors.iloc[0]


# --- judges -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grader(eyes, place):
    return modicum.fit(
        eyes, "full", name="grader", runs=place / "runs", backbone="test_resnet", weights="random",
        **{**TRAINING, "label": "label"},
    )  # fmt: skip


def test_judges_are_evaluated_on_images_outputs_and_targets(led, unet, grader, pairs):
    content = led.evaluate(
        pairs,
        split="test",
        judges=[f"run:{grader.path}"],
        after=f"run:{unet.path}",
        name="judged",
        answers={"steps": 2},
    )
    assert {"psnr_foreground", "ssim_gaussian", "sharpness_error"} <= set(content["metrics"])
    verdict = content["judges"]["grader"]
    assert verdict["task"] == "classification"
    assert all("accuracy" in verdict[kind]["metrics"] for kind in ("input", "output", "target"))
    assert content["after"] == f"run:{unet.path}"
    page = (led.path / "report.html").read_text(encoding="utf-8")
    assert "Judged by grader" in page
    assert "may have been invented or removed" in page
    examples = json.loads((led.path / "evaluations" / "judged" / "examples" / "examples.json").read_text())
    assert [panel["name"] for panel in examples[0]["panels"]] == [
        "source",
        "output",
        "change",
        "target",
        "error",
    ]


def test_a_classifier_without_labels_says_what_it_takes_images_for(led, grader, pairs, tmp_path):
    table = pd.read_csv(pairs, dtype=str).drop(columns=["label"])
    table.to_csv(pairs.parent / "unlabelled.csv", index=False)
    content = led.evaluate(
        pairs.parent / "unlabelled.csv", split="test", judges=[f"run:{grader.path}"], out=tmp_path / "out",
        answers={"steps": 2}, write_report=False,
    )  # fmt: skip
    shares = content["judges"]["grader"]["output"]["shares"]
    assert sum(shares.values()) == pytest.approx(1)


def test_judges_of_another_task_and_runs_without_images_are_refused(led, unet, grader, pairs, eyes):
    with pytest.raises(
        InputError, match="--judge run 'unet' has task 'image-to-image', which judges no images"
    ):
        led.evaluate(pairs, judges=[f"run:{unet.path}"])
    with pytest.raises(InputError, match="--judge 'grader' is not a run"):
        led.evaluate(pairs, judges=["grader"])
    with pytest.raises(
        InputError, match="--judge is for runs that make images, not for task 'classification'"
    ):
        grader.evaluate(eyes, judges=[f"run:{grader.path}"])
    with pytest.raises(
        InputError, match="--after is for runs that make images, not for task 'classification'"
    ):
        grader.predict(eyes, "out.csv", after=f"run:{led.path}")
    with pytest.raises(InputError, match="does not make images of 3 channels"):
        led.predict(eyes.parent, "out", after=f"run:{grader.path}")


def test_a_judge_that_has_nothing_to_compare_with_is_refused_before_anything_is_predicted(
    led, pairs, tmp_path, monkeypatch
):
    task = SimpleNamespace(
        auxiliary_images=[SimpleNamespace(column="mask", required=True)], output_kind="label_map", name="s"
    )
    task = mock.Mock(spec=DenseTask, **vars(task))
    monkeypatch.setattr(judges, "_opened", lambda judge: (SimpleNamespace(name="vessels"), task))
    table = pd.read_csv(pairs, dtype=str).drop(columns=["mask"])
    table.to_csv(pairs.parent / "unmasked.csv", index=False)
    with pytest.raises(InputError, match="'vessels' segments, and the data name no masks"):
        led.evaluate(pairs.parent / "unmasked.csv", judges=["run:vessels"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- bad input --------------------------------------------------------------------------------------------------------


def test_one_pool_alone_is_refused(eyes, tmp_path):
    with pytest.raises(InputError, match="no column 'target'"):
        modicum.fit(eyes, "led", runs=tmp_path, **{**TRAINING, **SMALL})


def test_pairs_are_learned_from_rows_and_not_from_shuffled_ones(pairs, tmp_path):
    with pytest.raises(InputError, match="'pairing' is 'shuffled', and method led makes it 'rows'"):
        modicum.fit(pairs, "led", runs=tmp_path, degrade="pairs", pairing="shuffled", **{**TRAINING, **SMALL})


def test_images_and_targets_of_other_channels_are_refused(pairs, tmp_path):
    with pytest.raises(InputError, match="is in colour and others are grey"):
        modicum.fit(pairs, "led", runs=tmp_path, target_channels=1, degrade="pairs", **{**TRAINING, **SMALL})


def test_a_degrader_of_an_earlier_run_is_taken(pairs, tmp_path):
    small = {
        "generator_width": 4,
        "generator_blocks": 0,
        "discriminator_width": 4,
        "nce_places": 8,
        "nce_width": 4,
    }
    first = modicum.fit(pairs, "led", name="a", runs=tmp_path, steps=2, **{**TRAINING, **SMALL, **small})
    second = modicum.fit(
        pairs,
        "led",
        name="b",
        runs=tmp_path,
        steps=2,
        degrade=f"run:{first.path}",
        **{**TRAINING, **SMALL, **small},
    )
    assert second.metrics["stages"]["degrade"]["source"]["run"] == "a"
    ours, theirs = (run.method().stages()[0].state_dict() for run in (first, second))
    name = "translator.generator.encoder.1.weight"
    assert torch.equal(ours[name], theirs[name])
