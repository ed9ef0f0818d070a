"""Whole runs of FPT and FPT+ on a small transformer: shared stores, kills, reloading, and when the frozen part runs."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.stores.shard_format import DamagedRecordError, StoreManifest
from modicum.engine.model import backbone_in, load_method
from modicum.engine.run_folder import RunFolder, read_json
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.methods.fpt.stages import KeysValues
from modicum.nn.key_value_taps import KeyValueTaps

FORK = multiprocessing.get_context("fork")
LOGITS = """
import hashlib, sys, torch, modicum
torch.set_num_threads(1)
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
for path in sys.argv[1:]:
    network = load_method(RunFolder.open(path))[2].predictor().eval()
    with torch.no_grad():
        print(hashlib.sha256(network(images).numpy().tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    fractions = {"train": 0.5, "val": 0.25, "test": 0.25}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("fpt"), 16, 64, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(2, 2, 2, 1, 1),
    )  # fmt: skip


def fit(data, method, name, runs, stores=None, **settings):
    chosen = {"side_size": 32, "rho": 0.5, "epochs": 2, "batch_size": 4, "lr": 1e-3, **settings}
    return modicum.fit(
        data, method, name=name, runs=runs, stores=stores, backbone="test_vit", weights="random", image_size=64,
        leaks="allow", resamples=0, workers=0, device="cpu", resume=True, write_report=False, **chosen,
    )  # fmt: skip


class Forwards:
    """Images that the frozen network was run over, in all and before and behind the tuning."""

    def __init__(self, monkeypatch):
        self.images, self.at_tuning = 0, []
        select, run = KeyValueTaps.select, StageTrainer.run

        def counted(taps, images):
            self.images += len(images)
            return select(taps, images)

        def noted(trainer):
            self.at_tuning.append(self.images)
            result = run(trainer)
            self.at_tuning.append(self.images)
            return result

        monkeypatch.setattr(KeyValueTaps, "select", counted)
        monkeypatch.setattr(StageTrainer, "run", noted)


@pytest.fixture
def forwards(monkeypatch):
    return Forwards(monkeypatch)


def images_in(data):
    return len(pd.read_csv(data))


def examples_of(run):
    return sum(
        len(read_json(run.folder.evaluation(split) / "examples" / "examples.json"))
        for split in ("val", "test")
    )


def files_of_test(data):
    table = pd.read_csv(data)
    return [str(data.parent / image) for image in table["image"][table["split"] == "test"]]


# --- runs with all kinds of settings ------------------------------------------------------------------------------

SETTINGS = {
    "plain": ("fpt_plus", {}),
    "aligned views": ("fpt_plus", {"views": ["hflip", "crop1"], "aligned_views": True}),
    "int8": (
        "fpt",
        {"layers": "0,3", "score": "class_token", "views": ["hflip", "crop1"], "store_dtype": "int8",
         "normalisation": "backbone"},
    ),
    "low rank": ("fpt_plus", {"prefix_tokens": "drop", "side_size": "48x32", "store_dtype": "lowrank4"}),
    "live": ("fpt", {"features.mode": "live", "store_dtype": "float32", "views": ["vflip"], "aligned_views": True}),
    "bfloat16": ("fpt", {"store_dtype": "bfloat16", "recompute": False, "layers": "1-3"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(data):
    return {
        name: fit(data, method, name.replace(" ", "-"), data.parent / "runs", **settings)
        for name, (method, settings) in SETTINGS.items()
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_predictions_of_new_files_are_those_of_the_runs_own_evaluation(runs, data, name, tmp_path):
    run = runs[name]
    run.predict(files_of_test(data), tmp_path / "found.csv")
    found = pd.read_csv(tmp_path / "found.csv").filter(like="p_")
    own = pd.read_csv(run.folder.evaluation("test") / "predictions.csv").filter(like="p_")
    assert list(found.columns) == list(own.columns)
    assert found.to_numpy().std(0).max() > 1e-5
    np.testing.assert_allclose(found.to_numpy(), own.to_numpy(), atol=1e-5)


def test_runs_open_in_another_process_with_the_same_logits(runs):
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = []
    for run in runs.values():
        network = load_method(run.folder)[2].predictor().eval()
        with torch.no_grad():
            expected.append(hashlib.sha256(network(images).numpy().tobytes()).hexdigest())
    found = subprocess.run(
        [sys.executable, "-c", LOGITS, *(str(run.path) for run in runs.values())],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.stdout.split() == expected
    assert len(set(expected)) == len(SETTINGS)


def test_a_run_keeps_the_side_network_and_the_statistics_and_no_frozen_weight(runs, data):
    for run in runs.values():
        tensors = load_file(run.folder.weights)
        learned = sum(tensor.numel() for tensor in tensors.values())
        assert learned == run.metrics["parameters"]["learnable"] + 6  # mean and deviation of three channels
        assert all(name.startswith(("tune.network.", "tune.normalise.")) for name in tensors)
    pixels = np.concatenate(
        [_pixels(data.parent / image) for image, split in _images(data) if split == "train"]
    )
    kept = load_file(runs["plain"].folder.weights)
    np.testing.assert_allclose(kept["tune.normalise.mean"].flatten(), pixels.mean(0), atol=1e-4)
    np.testing.assert_allclose(kept["tune.normalise.std"].flatten(), pixels.std(0), atol=1e-4)


def _images(data):
    table = pd.read_csv(data)
    return zip(table["image"], table["split"], strict=True)


def _pixels(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64).reshape(-1, 3) / 255


def test_metrics_say_where_features_came_from(runs):
    stored, live = runs["plain"].metrics["features"], runs["live"].metrics["features"]
    assert (stored["mode"], stored["live"]) == ("store", [])
    record, side_image = 3 * 2 * 2 * 8 * 32 * 2, 40 * 40 * 3
    assert stored["bytes_per_image"] == record + side_image
    assert (live["mode"], sorted(live["live"])) == ("live", ["features", "image"])


def test_pictures_show_the_tokens_that_were_read(runs):
    examples = read_json(runs["plain"].folder.evaluation("test") / "examples" / "examples.json")
    assert {example["map"] for example in examples} == {"tokens read by the prompts"}


# --- the frozen network -------------------------------------------------------------------------------------------


def test_the_frozen_network_sees_each_image_once_and_none_in_training(data, tmp_path, forwards):
    run = fit(data, "fpt_plus", "run", tmp_path)
    before, behind = forwards.at_tuning
    assert images_in(data) <= before <= images_in(data) + 1  # one more to know the shape of a record
    assert behind == before
    splits = pd.read_csv(run.path / "manifest.csv")["split"]
    looked_at = int(splits.isin(["train", "val"]).sum())  # for the guards, once
    assert forwards.images - behind == examples_of(run) + looked_at  # and for pictures of where it looked
    method = load_method(run.folder)[2]
    assert all(not parameter.requires_grad for parameter in backbone_in(method.predictor()).parameters())


def predicted(run):
    return pd.read_csv(run.folder.evaluation("test") / "predictions.csv").filter(like="p_").to_numpy()


def test_later_runs_and_smaller_settings_are_served_by_fpts_store(runs, data, tmp_path, forwards):
    first = fit(data, "fpt", "first", tmp_path)
    forwards.images, forwards.at_tuning = 0, []
    second = fit(data, "fpt", "second", tmp_path)
    one, other = load_file(first.folder.weights), load_file(second.folder.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)
    pictures = forwards.images
    plus = fit(data, "fpt_plus", "plus", tmp_path)
    np.testing.assert_allclose(predicted(plus), predicted(runs["plain"]), atol=1e-5)
    fit(data, "fpt_plus", "smaller", tmp_path, rho=0.3)
    assert forwards.at_tuning == [0, 0, pictures, pictures, 2 * pictures, 2 * pictures]


def test_live_features_train_as_stored_ones(runs, data, tmp_path):
    live = fit(data, "fpt_plus", "live", tmp_path, **{"features.mode": "live"})
    one, other = load_file(runs["plain"].folder.weights), load_file(live.folder.weights)
    for name in one:
        torch.testing.assert_close(other[name], one[name], atol=2e-4, rtol=1e-3)
    np.testing.assert_allclose(predicted(live), predicted(runs["plain"]), atol=1e-5)


def test_other_backbone_weights_make_a_store_of_their_own(runs, data, tmp_path, forwards):
    stores = runs["plain"].path.parent / ".stores"
    before = {path.name for path in stores.glob("features-*")}
    other = fit(data, "fpt_plus", "other", tmp_path, stores, seed=1)  # random weights are those of the seed
    assert forwards.at_tuning[0] >= images_in(data)
    assert len({path.name for path in stores.glob("features-*")} - before) == 1
    assert not np.allclose(predicted(other), predicted(runs["plain"]), atol=1e-4)


def test_a_flipped_byte_stops_a_run_and_only_that_record_is_made_again(runs, data, tmp_path, forwards):
    shutil.copytree(runs["plain"].path.parent / ".stores", tmp_path / ".stores")
    for path in tmp_path.glob(".stores/features-*/store.json"):
        settings = StoreManifest.read(path.parent).settings
        if settings["records"].get("layers") == [3, 4, 5] and settings["records"]["dtype"] == "float16":
            shard = min(path.parent.glob("shard-*.bin"))
            content = bytearray(shard.read_bytes())
            content[3 * 6144 + 10] ^= 0x40
            shard.write_bytes(content)
    with pytest.raises(DamagedRecordError, match="build the store again: only this record is rebuilt"):
        fit(data, "fpt_plus", "damaged", tmp_path)
    forwards.images = 0
    mended = fit(data, "fpt_plus", "damaged", tmp_path)
    assert 1 <= forwards.at_tuning[-2] <= 2
    one, other = load_file(runs["plain"].folder.weights), load_file(mended.folder.weights)
    for name in one:
        torch.testing.assert_close(other[name], one[name], atol=2e-4, rtol=1e-3)


# --- kills --------------------------------------------------------------------------------------------------------


def doomed(function, calls):
    """The function, which at its n-th call ends the process without any clean-up."""

    def wrapper(*arguments, **named):
        nonlocal calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return wrapper


def fit_in_a_process(data, runs, owner=None, attribute="", calls=0):
    def work():
        if owner is not None:
            setattr(owner, attribute, doomed(getattr(owner, attribute), calls))
        fit(data, "fpt", "run", runs, checkpoint_steps=2, epochs=3, views=["hflip"])

    process = FORK.Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode


def test_killed_in_the_extraction_and_in_the_tuning_it_ends_as_if_it_had_not_been(data, tmp_path):
    assert fit_in_a_process(data, tmp_path / "whole") == 0
    killed = tmp_path / "killed"
    assert fit_in_a_process(data, killed, KeysValues, "forward", 7) == -signal.SIGKILL
    assert list(killed.glob(".stores/features-*/journal-00.jsonl"))
    assert fit_in_a_process(data, killed, StageTrainer, "_step_ended", 7) == -signal.SIGKILL
    assert fit_in_a_process(data, killed) == 0
    one, other = (load_file(tmp_path / name / "run" / "weights.safetensors") for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert stores_of(tmp_path / "whole") == stores_of(killed)
    assert RunFolder.open(killed / "run").status["state"] == "finished"


def stores_of(folder: Path):
    files = [path for path in folder.glob(".stores/features-*/*") if path.suffix in {".bin", ".json"}]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
