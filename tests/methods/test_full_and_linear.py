"""Full fine-tuning and the linear probe, from images to run folders, against PyTorch and scikit-learn."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.sampling import epoch_order
from modicum.engine.inputs.extraction import Extraction, extracted
from modicum.engine.inputs.preparation import prepare
from modicum.engine.model import backbone_in, load_method, make_method
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import ExtractStage
from modicum.methods.linear import PooledFeatures
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Backbone


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("methods"), 20, 40, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(3, 1, 1, 1, 1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def backbone_file(images):
    """Weights that no seed makes."""
    torch.manual_seed(123)
    path = images.parent / "backbone.safetensors"
    save_file(Backbone("test_resnet", (32, 32)).body.state_dict(), path)
    return path


def fit(images, runs, method, name, **settings):
    given = {"weights": "random", "epochs": 2, "batch_size": 8, "augment": "none", **settings}
    return modicum.fit(
        images, method, name=name, runs=runs, stores=images.parent / "stores", backbone="test_resnet",
        image_size=32, leaks="allow", resamples=0, workers=0, device="cpu", write_report=False, **given,
    )  # fmt: skip


def start_of(run):
    """The method of a run before training."""
    task = load_method(run.folder)[1]
    return make_method(run.recipe, task, {})


def prepared_of(run, images, tmp_path):
    return prepare(run.recipe, RunFolder(tmp_path), images.parent / "stores", 0)


# --- full ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(images, backbone_file, tmp_path_factory):
    """A fine-tuned run, and the outputs, labels and loss of its first step."""
    first = []

    def watched(self, batch):
        outputs, losses = validate(self, batch)
        if self.training:
            first.append((outputs.detach(), batch["label"], batch["image"]))
        return outputs, losses

    validate = SupervisedStage.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SupervisedStage, "validate", watched)
        run = fit(
            images, tmp_path_factory.mktemp("full"), "full", "full", weights=str(backbone_file), lr=1e-3,
            class_weights="balanced", label_smoothing=0.1,
        )  # fmt: skip
    return run, first[0]


def test_class_weights_and_smoothing_reach_the_loss(full):
    run, (outputs, labels, pixels) = full
    rows = pd.read_csv(run.folder.manifest)
    counts = rows[rows["split"] == "train"]["label"].value_counts().sort_index()
    assert len(counts) == outputs.shape[1]
    weights = torch.tensor((counts.max() / counts).to_numpy(), dtype=torch.float32)
    assert weights.max() > 1
    expected = F.cross_entropy(outputs, labels, weight=weights, label_smoothing=0.1)
    record = json.loads(run.folder.history.read_text().splitlines()[0])
    assert record["losses"]["classification"] == pytest.approx(expected.item(), rel=1e-6)
    assert pixels.dtype == torch.float32
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_a_run_of_its_own_weights_needs_neither_hub_nor_file(
    full, images, backbone_file, tmp_path, monkeypatch
):
    run, _ = full
    monkeypatch.setattr("modicum.engine.recipe.backbones._from_hub", None)
    monkeypatch.setattr("modicum.engine.recipe.backbones.read_weights", None)
    _, _, method = load_method(run.folder)
    saved = load_file(run.folder.weights)
    for name, tensor in method.predictor().state_dict().items():
        assert torch.equal(tensor, saved[f"tune.network.{name}"])


def test_everything_learns(full):
    run, _ = full
    before = start_of(run).predictor().state_dict()
    after = load_method(run.folder)[2].predictor().state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(before)
    parameters = run.metrics["parameters"]
    head = 5 * (backbone_in(load_method(run.folder)[2].predictor()).num_features + 1)
    total = head + sum(p.numel() for p in Backbone("test_resnet", (32, 32)).parameters())
    assert parameters == {"total": total, "learnable": total, "learnable_percent": 100.0}


@pytest.mark.parametrize("kind", ["safetensors", "pth", "npz"])
def test_weights_from_a_file_are_exactly_these_tensors(full, images, backbone_file, tmp_path, kind):
    tensors = load_file(backbone_file)
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(tensors, path)
    elif kind == "pth":
        torch.save({"state_dict": {f"module.{name}": t for name, t in tensors.items()}}, path)
    else:
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    run, _ = full
    recipe = run.recipe
    recipe = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"weights": str(path)})})
    body = backbone_in(make_method(recipe, load_method(run.folder)[1], {}).predictor()).body
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in body.state_dict().items())


def test_weights_from_a_run_are_the_ones_it_learned(full, images):
    run, _ = full
    recipe = run.recipe
    source = recipe.backbone.model_copy(update={"weights": f"run:{run.path}"})
    made = make_method(recipe.model_copy(update={"backbone": source}), load_method(run.folder)[1], {})
    saved = load_file(run.folder.weights)
    for name, tensor in backbone_in(made.predictor()).body.state_dict().items():
        assert torch.equal(tensor, saved[f"tune.network._backbone.body.{name}"])


# --- linear ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear(images, backbone_file, tmp_path_factory):
    """A probe; and the images that went through the backbone for it, and whether it ever was in training mode."""
    seen, modes = [], []
    forward = PooledFeatures.forward

    def watched(self, batch):
        seen.append(len(batch["image"]))
        modes.append(any(part.training for part in self.backbone.modules() if part is not self.backbone))
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PooledFeatures, "forward", watched)
        runs = tmp_path_factory.mktemp("linear")
        settings = {
            "weights": str(backbone_file), "epochs": 3, "lr": 0.02, "warmup_epochs": 0, "schedule": "constant",
            "clip_norm": 0, "monitor": "loss", "checkpoint_steps": 1,
        }  # fmt: skip
        run = fit(images, runs, "linear", "probe", **settings)
        once = sum(seen)
        fit(images, runs, "linear", "again", **{**settings, "epochs": 1})
    return run, once, sum(seen) - once, modes


def test_the_backbone_stays_what_it_was(linear, backbone_file):
    run, _, _, modes = linear
    assert not any(modes)
    _, _, method = load_method(run.folder)
    backbone = backbone_in(method.predictor())
    tensors = load_file(backbone_file)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in backbone.body.state_dict().items())
    method.predictor().train()
    assert not any(part.training for part in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    outputs = method.predictor()(torch.rand(4, 3, 32, 32))
    outputs.sum().backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_only_the_head_is_learned_and_saved(linear):
    run, *_ = linear
    tensors = load_file(run.folder.weights)
    width = Backbone("test_resnet", (32, 32)).num_features
    assert sum(tensor.numel() for tensor in tensors.values()) == 5 * (width + 1) + 2 * width + 1
    assert run.folder.weights.stat().st_size < 4 * (5 * (width + 1) + 2 * width + 1) + 1000
    assert run.metrics["parameters"]["learnable"] == 5 * (width + 1)


def test_each_image_passes_the_backbone_once_and_a_second_run_finds_its_features(linear, images):
    run, once, again, _ = linear
    total = len(run.folder.manifest.read_text().splitlines()) - 1
    assert once <= total + 1  # one more to learn the shape of a record
    assert again <= 1


def test_the_head_is_what_a_hand_written_loop_on_features_learns(linear, images, tmp_path):
    run, *_ = linear
    _, _, method = load_method(run.folder)
    prepared = prepared_of(run, images, tmp_path)
    pixels = torch.from_numpy(prepared.store.get(prepared.positions)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        features = method.stages()[0]({"image": pixels})
    labels = torch.from_numpy(prepared.manifest.table["label"].to_numpy().astype(int))
    rows, selected = prepared.rows("train"), run.metrics["selection"]["epoch"]
    head = start_of(run).predictor().head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02, weight_decay=0.05)
    for epoch in range(selected):
        order = epoch_order(labels.numpy()[rows], seed=0, epoch=epoch)
        for part in order[: len(order) // 8 * 8].reshape(-1, 8):
            optimizer.zero_grad()
            F.cross_entropy(head(features[rows[part]]), labels[rows[part]]).backward()
            optimizer.step()
    for name, value in method.predictor().head.state_dict().items():
        torch.testing.assert_close(value, head.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_prediction_from_images_is_the_head_on_stored_features(linear, images, tmp_path):
    run, *_ = linear
    prepared = prepared_of(run, images, tmp_path)
    _, task, method = load_method(run.folder)
    stage = next(stage for stage in method.stages() if isinstance(stage, ExtractStage))
    model = json.loads(run.folder.model.read_text())
    backbone = {"name": "test_resnet", "sha256": model["frozen_backbone_sha256"]}
    features = extracted(
        Extraction(
            stage, prepared.store, prepared.positions, images.parent / "stores", backbone, 8, "auto",
            torch.device("cpu"),
        )
    ).of(np.arange(len(prepared.manifest)), None)  # fmt: skip
    method.predictor().eval()
    with torch.no_grad():
        expected = task.activate(method.predictor().head(torch.from_numpy(features))).numpy()
    names = prepared.manifest.table["image"]
    run.predict([images.parent / name for name in names], tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv")
    found = table[[column for column in table if column.startswith("p_")]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_another_backbone_under_the_same_name_is_refused(linear, backbone_file):
    run, *_ = linear
    content = backbone_file.read_bytes()
    try:
        tensors = load_file(backbone_file)
        name = next(name for name in tensors if name.endswith("weight"))
        save_file({**tensors, name: tensors[name] + 1e-3}, backbone_file)
        with pytest.raises(InputError, match="not the ones this run was trained with; restore the original"):
            load_method(run.folder)
    finally:
        backbone_file.write_bytes(content)
    load_method(run.folder)
