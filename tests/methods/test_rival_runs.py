"""Runs of the rivals: what is saved, what a frozen backbone is checked by, and that they open again elsewhere."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest
import torch
from rivals import NAMES
from safetensors.torch import load_file, save_file

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.model import backbone_in, load_method, make_method
from modicum.engine.run_folder import RunFolder, read_json
from modicum.errors import InputError, InterruptedRunError
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone

IMAGES = """
import hashlib, sys, torch, modicum
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
for path in sys.argv[1:]:
    network = load_method(RunFolder.open(path))[2].predictor().eval()
    with torch.no_grad():
        print(hashlib.sha256(network(images).numpy().tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.5, "val": 0.25, "test": 0.25}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("rivals"), 16, 40, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(3, 1, 1, 1, 1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def backbone_file(images):
    """Weights that no seed makes."""
    torch.manual_seed(123)
    path = images.parent / "backbone.safetensors"
    save_file(Backbone("test_vit", (32, 32)).body.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runs(images, backbone_file):
    """A run of every rival, by name."""
    return {
        name: modicum.fit(
            images, name, name=name, runs=images.parent / "runs", stores=images.parent / "stores",
            backbone="test_vit", weights=str(backbone_file), image_size=32, epochs=1, batch_size=4,
            augment="none", leaks="allow", resamples=0, workers=0, device="cpu",
        )
        for name in NAMES
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_learned_is_saved(runs, name):
    run = runs[name]
    tensors = load_file(run.folder.weights)
    learnable = run.metrics["parameters"]["learnable"]
    assert sum(tensor.numel() for tensor in tensors.values()) == learnable
    assert run.folder.weights.stat().st_size < 4 * learnable + 20_000
    assert not any("base_layer" in key or "pos_embed" in key for key in tensors)


def test_runs_open_in_another_process_with_the_same_logits(runs):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = []
    for run in runs.values():
        network = load_method(run.folder)[2].predictor().eval()
        with torch.no_grad():
            expected.append(hashlib.sha256(network(images).numpy().tobytes()).hexdigest())
    found = subprocess.run(
        [sys.executable, "-c", IMAGES, *(str(run.path) for run in runs.values())],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.stdout.split() == expected
    assert len(set(expected)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_learned_something_and_its_backbone_has_not(runs, name, backbone_file):
    run = runs[name]
    _, task, method = load_method(run.folder)
    start = make_method(run.recipe, task, {}).predictor().state_dict()
    after = method.predictor().state_dict()
    learned = {key.removeprefix("tune.network.") for key in load_file(run.folder.weights)}
    changed = {key for key in after if not torch.equal(after[key], start[key])}
    assert changed == learned


@pytest.mark.parametrize("name", NAMES)
def test_another_backbone_under_the_same_name_is_refused(runs, name, backbone_file):
    assert read_json(runs[name].folder.model)["frozen_backbone_sha256"] is not None
    content = backbone_file.read_bytes()
    tensors = load_file(backbone_file)
    try:
        # The first block's, which every method leaves frozen.
        key = "blocks.0.mlp.fc1.weight"
        save_file({**tensors, key: tensors[key] + 1e-3}, backbone_file)
        with pytest.raises(InputError, match="not the ones this run was trained with; restore the original"):
            load_method(RunFolder.open(runs[name].path))
    finally:
        backbone_file.write_bytes(content)


@pytest.mark.parametrize("name", ["lora", "ssf", "partial"])
def test_a_merging_run_is_the_backbone_of_a_later_one(runs, name):
    run = runs[name]
    recipe = run.recipe
    source = recipe.backbone.model_copy(update={"weights": f"run:{run.path}"})
    later = recipe.model_copy(update={"method": "full", "config": {}, "backbone": source})
    _, task, method = load_method(run.folder)
    started = backbone_in(make_method(later, task, {}).predictor()).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = method.predictor().eval().backbone(images)
        torch.testing.assert_close(started(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["lora", "ssf"])
def test_a_stopped_run_goes_on_to_the_same_weights(images, backbone_file, tmp_path, name, monkeypatch):
    settings = {
        "backbone": "test_vit", "weights": str(backbone_file), "image_size": 32, "epochs": 2, "batch_size": 4,
        "augment": "none", "leaks": "allow", "resamples": 0, "workers": 0, "device": "cpu",
        "stores": images.parent / "stores", "runs": tmp_path,
    }  # fmt: skip
    whole = modicum.fit(images, name, name="whole", **settings)
    validate, steps = SupervisedStage.validate, []

    def stopped_in_the_third_step(self, batch):
        if self.training:
            steps.append(1)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, batch)

    monkeypatch.setattr(SupervisedStage, "validate", stopped_in_the_third_step)
    with pytest.raises(InterruptedRunError):
        modicum.fit(images, name, name="stopped", **settings)
    resumed = modicum.fit(images, name, name="stopped", resume=True, **settings)
    assert len(steps) == whole.metrics["time"]["steps"]
    expected, found = load_file(whole.folder.weights), load_file(resumed.folder.weights)
    assert set(found) == set(expected)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items())
