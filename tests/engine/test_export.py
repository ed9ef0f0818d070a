"""Merged exports: timm alone, and the card, must give the run's logits."""

import json

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from modicum.engine.checkpoint import save_tensors
from modicum.engine.inference.export import export_merged, plain_head
from modicum.engine.model import check_backbone, learned_of, load_method, make_method
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder, write_json
from modicum.errors import InputError
from modicum.nn.frozen import learnable_parameters
from modicum.tasks import Classification

TASK = Classification("multi-class", ["a", "b", "c"])
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def run_of(path, method, backbone="test_vit", **config) -> RunFolder:
    """A run folder as training leaves it, with weights that are not those of the start."""
    settings = {"backbone": backbone, "weights": "random", "image_size": 32, **config}
    recipe = make_recipe("made", method, settings)
    made = make_method(recipe, TASK, {})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for stage in made.stages():
            for parameter in learnable_parameters(stage):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            for norm in stage.modules():
                if isinstance(norm, nn.BatchNorm1d):
                    norm.running_mean.normal_(generator=generator)
                    norm.running_var.uniform_(0.5, 2, generator=generator)
    folder = RunFolder(path)
    path.mkdir()
    folder.recipe.write_text(recipe.to_yaml())
    digest = save_tensors(folder.weights, learned_of(made))
    write_json(
        folder.model,
        {
            "schema": 1, "task": TASK.to_dict(), "weights_sha256": digest,
            "frozen_backbone_sha256": check_backbone(made, None),
        },
    )  # fmt: skip
    return folder


def by_timm_alone(path, images) -> torch.Tensor:
    """What somebody without modicum computes from the two files."""
    card = json.loads(path.with_suffix(".json").read_text())
    network = timm.create_model(card["backbone"], **card["arguments"]).eval()
    network.load_state_dict(load_file(path), strict=True)
    mean, std = (torch.tensor(card["input"][key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return network((images - mean) / std)


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("full", {}),
        ("full", {"backbone": "test_resnet"}),
        ("full", {"backbone": "test_efficientnet"}),
        ("linear", {}),
        ("linear", {"standardise": False}),
        ("linear", {"backbone": "test_resnet"}),
        ("partial", {"blocks": 2}),
        ("bitfit", {}),
        ("bitfit", {"backbone": "test_resnet"}),
        ("attention", {}),
        ("ssf", {}),
        ("lora", {"rank": 4}),
        ("lora", {"rank": 4, "pool": "mean"}),
        ("lora", {"targets": ["qv", "proj", "mlp"]}),
        ("lora", {"backbone": "vit_small_patch16_dinov3"}),
        ("dora", {"rank": 4}),
    ],
)
def test_timm_alone_gives_the_runs_logits(tmp_path, method, config):
    folder = run_of(tmp_path / "run", method, **config)
    path = export_merged(folder, tmp_path / "out" / "weights.safetensors")
    network = load_method(folder)[2].predictor().eval()
    with torch.no_grad():
        expected = network(IMAGES)
    assert expected.std() > 1e-3
    torch.testing.assert_close(by_timm_alone(path, IMAGES), expected, atol=1e-5, rtol=1e-5)
    assert not any("lora" in name or "base_layer" in name for name in load_file(path))


@pytest.mark.parametrize("method", ["vpt", "adapter", "adaptformer", "side", "lst", "dtl"])
def test_methods_that_are_more_than_their_backbone_are_refused(tmp_path, method):
    folder = run_of(tmp_path / "run", method)
    with pytest.raises(InputError, match=f"what method '{method}' learns does not fold into its backbone"):
        export_merged(folder, tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_shift_after_a_layer_without_bias_has_no_place_in_timms_network(tmp_path):
    folder = run_of(tmp_path / "run", "ssf", backbone="vit_small_patch16_dinov3")
    with pytest.raises(InputError, match=r"no place for 12 of the run's tensors .*qkv.bias.*; use the run"):
        export_merged(folder, tmp_path / "weights.safetensors")


def test_the_card_is_in_the_file_of_weights_too(tmp_path):
    path = export_merged(run_of(tmp_path / "run", "lora", pool="mean"), tmp_path / "weights.safetensors")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["arguments"] == {"num_classes": 3, "global_pool": "avg", "img_size": [32, 32]}
    assert card["task"]["classes"] == ["a", "b", "c"]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["backbone"] == card["backbone"] == "test_vit"
    assert json.loads(metadata["arguments"]) == card["arguments"]
    assert json.loads(metadata["input"]) == card["input"]


@pytest.mark.parametrize("pool", ["backbone", "mean"])
def test_an_exported_file_starts_another_run_with_the_normalisation_it_was_learned_with(tmp_path, pool):
    own = {"backbone.mean": [0.5, 0.4, 0.3], "backbone.std": [0.2, 0.3, 0.4]}
    folder = run_of(tmp_path / "run", "full", pool=pool, **own)
    path = export_merged(folder, tmp_path / "weights.safetensors")
    again = {"backbone": "test_vit", "weights": str(path), "image_size": 32, "pool": pool}
    found = make_method(make_recipe("made", "full", again), TASK, {}).predictor().backbone
    learned = load_method(folder)[2].predictor().backbone
    assert found.normalisation == learned.normalisation
    assert found.normalisation["std"] == pytest.approx([0.2, 0.3, 0.4])
    blocks, expected = found.body.blocks.state_dict(), learned.body.blocks.state_dict()
    assert blocks.keys() == expected.keys()
    assert all(torch.equal(blocks[name], expected[name]) for name in expected)
    named = make_method(make_recipe("made", "full", {**again, "backbone.mean": [0.1] * 3}), TASK, {})
    assert named.predictor().backbone.normalisation["mean"] == pytest.approx([0.1] * 3)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"'.*weights.pth' is not a weights file \(expected .safetensors\); end its name with .safetensors",
    ):
        export_merged(run_of(tmp_path / "run", "full"), tmp_path / "weights.pth")


def test_batch_norms_and_dropout_of_a_head_fold_into_its_linear_layer():
    head = nn.Sequential(nn.BatchNorm1d(8), nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3)))
    head.train()
    for _ in range(20):
        head(3 + 2 * torch.randn(16, 8))
    nn.init.normal_(head[0].weight)
    nn.init.normal_(head[0].bias)
    features = torch.randn(5, 8)
    torch.testing.assert_close(plain_head(head)(features), head.eval()(features))


def test_a_head_that_is_not_linear_is_refused():
    with pytest.raises(InputError, match="a head with ReLU is no linear layer"):
        plain_head(nn.Sequential(nn.ReLU(), nn.Linear(8, 3)))
