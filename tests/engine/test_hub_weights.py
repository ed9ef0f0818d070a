"""Weights of the model hub: from a folder in the layout of its cache, without a network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import modicum
from modicum.cli import app
from modicum.data.published_weights import PUBLISHED, HubFile, PublishedWeights, hub_file, published
from modicum.engine.frozen_backbone import weights_origin
from modicum.engine.recipe import hub_weights as module
from modicum.engine.recipe.backbones import make_backbone
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import BackboneSettings
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.nn import Backbone

SIZE = (32, 32)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("modicum.engine.recipe.backbones.hub_reachable", lambda: False)
    return tmp_path / "hub"


def snapshot(cache, repository="owner/name", commit=COMMIT, branch="main"):
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / branch).write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    return folder / "snapshots" / commit


def tiny(seed=1):
    torch.manual_seed(seed)
    return Backbone("test_resnet", SIZE).body.state_dict()


def made(weights, name="test_resnet", **settings):
    def of_run(path):
        raise AssertionError(path)

    return make_backbone(BackboneSettings(name=name, weights=weights, **settings), SIZE, 0, of_run)


def assert_normalises(backbone, mean, std):
    assert backbone.normalisation["mean"] == pytest.approx([mean] * 3)
    assert backbone.normalisation["std"] == pytest.approx([std] * 3)


def test_a_cached_file_is_used_without_a_network(cache):
    save_file(tiny(), snapshot(cache) / "model.safetensors")
    backbone = made("hf:owner/name")
    assert not backbone.random
    assert all(torch.equal(value, tiny()[name]) for name, value in backbone.body.state_dict().items())


def test_a_revision_and_a_file_are_taken_by_name(cache):
    save_file(tiny(1), snapshot(cache) / "model.safetensors")
    other = snapshot(cache, commit="f" * 40, branch="refs/pr/2")
    save_file(tiny(2), other / "model.safetensors")
    save_file(tiny(3), other / "second.safetensors")
    weight = "conv1.weight"
    weight = weight if weight in tiny() else next(iter(tiny()))
    for source, seed in {
        "hf:owner/name@refs/pr/2": 2, f"hf:owner/name@{'f' * 40}:second.safetensors": 3, "hf:owner/name": 1,
    }.items():  # fmt: skip
        assert torch.equal(made(source).body.state_dict()[weight], tiny(seed)[weight])


def test_statistics_beside_the_file_are_the_normalisation(cache):
    folder = snapshot(cache)
    save_file(tiny(), folder / "model.safetensors")
    assert made("hf:owner/name").normalisation["mean"] == pytest.approx(
        Backbone("test_resnet", SIZE).normalisation["mean"]
    )
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3}}))
    assert_normalises(made("hf:owner/name"), 0.1, 0.2)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.3] * 3, "image_std": [0.4] * 3})
    )
    assert_normalises(made("hf:owner/name"), 0.3, 0.4)
    assert made("hf:owner/name", mean=(0.6,) * 3).normalisation["mean"] == pytest.approx([0.6] * 3)


def test_a_repository_without_safetensors_is_refused_with_what_it_has(cache):
    (snapshot(cache) / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        InputError, match=r"no \.safetensors file \(it has pytorch_model\.bin\).*--weights FILE"
    ):
        made("hf:owner/name")
    with pytest.raises(InputError, match=r"'pytorch_model\.bin' is not a \.safetensors file"):
        made("hf:owner/name:pytorch_model.bin")


def test_of_several_files_one_must_be_named(cache):
    folder = snapshot(cache)
    for name in ("first.safetensors", "second.safetensors"):
        save_file(tiny(), folder / name)
    with pytest.raises(
        InputError, match=r"several weights files \(first\.safetensors, second\.safetensors\)"
    ):
        made("hf:owner/name")


def test_offline_says_which_file_goes_where(cache):
    with pytest.raises(InputError) as caught:
        made("hf:owner/name")
    message = str(caught.value)
    assert "\n" not in message
    assert str(cache / "models--owner--name" / "snapshots" / "main" / "model.safetensors") in message
    assert "--weights FILE" in message
    (cache / "models--owner--name" / "snapshots" / "main").mkdir(parents=True)
    save_file(tiny(), cache / "models--owner--name" / "snapshots" / "main" / "model.safetensors")
    assert not made("hf:owner/name").random  # it was right


def test_a_gated_repository_says_what_to_accept(cache, monkeypatch):
    from huggingface_hub.errors import GatedRepoError

    def gated(*_, **__):
        error = GatedRepoError.__new__(GatedRepoError)
        Exception.__init__(error, "gated")
        raise error

    monkeypatch.setattr("modicum.engine.recipe.backbones.hub_reachable", lambda: True)
    monkeypatch.setattr(module, "_fetched", gated)
    with pytest.raises(InputError, match=r"gated, and its terms have not been accepted.*HF_TOKEN"):
        made("hf:owner/name:model.safetensors")


@pytest.mark.parametrize("words", ["hf:name", "hf:/name", "hf:a/b/c", "hf:a/../b", "hf:"])
def test_what_names_no_repository_is_refused(words):
    with pytest.raises(InputError, match="do not name a repository"):
        hub_file(words)


def test_parts_of_a_name():
    assert hub_file("hf:a/b") == HubFile("a/b", "main", None)
    assert hub_file("hf:a/b@v1:x/y.safetensors") == HubFile("a/b", "v1", "x/y.safetensors")


def test_a_misspelt_short_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'retfound'"):
        made("retfond")


def test_a_short_name_sets_network_file_and_normalisation(capsys):
    recipe = make_recipe("table.csv", "linear", {"weights": "rad-dino"})
    assert recipe.backbone.name == "vit_base_patch14_dinov2"
    assert recipe.backbone.weights == "hf:microsoft/rad-dino:backbone_compatible.safetensors"
    assert recipe.backbone.mean == (0.5307,) * 3
    assert "MIT" in "".join(capsys.readouterr())
    again = make_recipe("table.csv", "linear", {"weights": recipe.backbone.weights})
    assert again.backbone == recipe.backbone
    own = make_recipe("table.csv", "linear", {"weights": "rad-dino", "mean": [0.1, 0.2, 0.3]})
    assert own.backbone.mean == (0.1, 0.2, 0.3)


def test_a_methods_own_normalisation_gives_way():
    recipe = make_recipe("table.csv", "dr_grading", {"weights": "dinov3-small"})
    assert recipe.backbone.mean == (0.485, 0.456, 0.406)


def test_another_network_beside_a_short_name_is_refused():
    with pytest.raises(InputError, match=r"those of a vit_large_patch16_224, and --backbone is resnet18"):
        make_recipe("table.csv", "linear", {"weights": "retfound", "backbone": "resnet18"})
    same = make_recipe("table.csv", "linear", {"weights": "retfound", "backbone": "vit_large_patch16_224"})
    assert same.backbone.name == "vit_large_patch16_224"


def test_a_short_name_loads_from_the_cache(cache, monkeypatch):
    row = PublishedWeights(
        "tiny",
        "owner/tiny",
        "model.safetensors",
        "test_resnet",
        32,
        ((0.1,) * 3, (0.2,) * 3),
        "MIT",
        "noise",
        "here",
    )
    monkeypatch.setattr("modicum.data.published_weights.PUBLISHED", (row,))
    save_file(tiny(), snapshot(cache, "owner/tiny") / "model.safetensors")
    backbone = made("tiny")
    assert not backbone.random
    assert_normalises(backbone, 0.1, 0.2)


def test_a_run_looks_for_them_on_the_hub_and_not_beside_itself(tmp_path):
    settings = BackboneSettings(name="test_resnet", weights="hf:owner/name")
    assert weights_origin(settings, RunFolder(tmp_path)) is None


def test_a_run_finds_its_frozen_backbone_in_the_cache_again(cache, tmp_path):
    save_file(tiny(), snapshot(cache) / "model.safetensors")
    rng = np.random.default_rng(0)
    lines = ["image,label,split"]
    for number, split in enumerate(["train"] * 8 + ["val"] * 4 + ["test"] * 4):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]},{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    run = modicum.fit(
        tmp_path / "table.csv", "linear", name="one", runs=tmp_path, backbone="test_resnet", weights="hf:owner/name",
        image_size=32, epochs=1, workers=0, resamples=10, write_report=False,
    )  # fmt: skip
    before = modicum.Run.open(run.path).predict(tmp_path / "0.png", tmp_path / "out.csv")
    assert before.predicted == 1
    shutil.rmtree(cache)
    with pytest.raises(InputError, match=r"not in the cache of the model hub"):
        modicum.Run.open(run.path).predict(tmp_path / "0.png", tmp_path / "again.csv")


def test_every_row_names_a_network_that_timm_has():
    import timm

    assert len({row.name for row in PUBLISHED}) == len(PUBLISHED)
    for row in PUBLISHED:
        assert timm.is_model(row.architecture), row.name
        assert row.file.endswith(".safetensors")
        assert row.licence
        assert row.checked
        assert published(row.name) is published(row.source) is row


def test_the_table_is_listed():
    said = CliRunner().invoke(app, ["methods", "--weights"], env={"COLUMNS": "300"})
    assert said.exit_code == 0
    for row in PUBLISHED:
        assert row.name in said.output
    assert "gated" in said.output


def test_the_page_has_every_row():
    page = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for row in PUBLISHED:
        (line,) = [line for line in rows if f"`{row.name}`" in line]
        assert row.licence in line
        assert f"| {row.image_size} |" in line
        assert row.repository in line or row.name in {"dinov3-base", "dinov3-large"}
        assert ("gated**" in line) == row.gated
