"""What radiographs' foundation models are fine-tuned with: pooling, layer decay, stochastic depth, their schedules.

Numbers are those of Lian et al.'s published code (arXiv 2401.12215) and of MAE's rule for layer-wise rates.
"""

import csv

import cv2
import numpy as np
import pytest
import timm
import torch
from rivals import made, small
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F

import modicum
from modicum.engine.model import load_method, make_method
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.optimizers import make_optimizer
from modicum.engine.training.schedule import lr_factor
from modicum.errors import InputError
from modicum.methods import ExtractStage
from modicum.methods.parameter_groups import layer_number
from modicum.nn import Backbone, count_parameters
from modicum.tasks import Classification

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def stage_of(method):
    return method.stages()[-1]


def optimizer_of(method, **settings):
    given = {"optimizer": "sgd", "lr": 1.0, **settings}
    return make_optimizer(stage_of(method).updates()[0], TrainingSettings(**given))


def rates(method) -> dict[str, float]:
    """Peak learning rate of every learnable parameter, as a share of the run's."""
    names = {id(tensor): name for name, tensor in method.predictor().named_parameters()}
    groups = optimizer_of(method).param_groups
    return {names[id(p)]: group["peak_lr"] for group in groups for p in group["params"]}


# --- pooling ---------------------------------------------------------------------------------------------------


def test_full_fine_tuning_has_the_published_number_of_parameters():
    method = made("full", "vit_base_patch16_224", 224, classes=14, device="meta", pool="mean")
    assert count_parameters(method.predictor()) == (85_809_422, 85_809_422)


@pytest.mark.parametrize("classes", [14, 1])
def test_a_probe_with_its_own_norm_learns_head_and_norm(classes):
    method = made("linear", "vit_base_patch16_224", 224, classes=classes, device="meta", pool="mean")
    learnable = sum(p.numel() for p in stage_of(method).updates()[0].parameters)
    assert learnable == 768 * classes + classes + 1_536


@torch.no_grad()
@pytest.mark.parametrize("name", ["full", "linear"])
def test_pooled_networks_are_timms_with_average_pooling(name):
    method = small(name, pool="mean")
    network = method.predictor().eval()
    theirs = timm.create_model("test_vit", img_size=32, num_classes=5, global_pool="avg").eval()
    plain = method.merge()
    state = plain.backbone.body.state_dict()
    head = plain.head[-1] if isinstance(plain.head, nn.Sequential) else plain.head
    head.weight.normal_(generator=torch.Generator().manual_seed(1))
    state |= {"head.weight": head.weight, "head.bias": head.bias}
    theirs.load_state_dict(state)
    expected = theirs(network.backbone.normalise(IMAGES))
    torch.testing.assert_close(plain(IMAGES), expected)
    torch.testing.assert_close(network(IMAGES), expected)


@pytest.mark.parametrize("name", ["full", "linear", "lora"])
def test_the_first_loss_after_mean_pooling_is_that_of_even_odds(name):
    outputs = small(name, pool="mean").predictor().eval()(IMAGES)
    loss = F.binary_cross_entropy_with_logits(outputs, torch.ones_like(outputs))
    assert loss.item() == pytest.approx(0.6931, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "setting"),
    [("full", {"pool": "mean"}), ("linear", {"pool": "mean"}), ("full", {"drop_path": 0.1}),
     ("full", {"layer_decay": 0.65})],
)  # fmt: skip
def test_other_networks_than_plain_transformers_are_refused_with_the_setting_named(name, setting):
    ((key, value),) = setting.items()
    with pytest.raises(
        InputError, match=f"method {name} with {key}={value} needs a plain vision transformer"
    ):
        made(name, "test_resnet", 32, **setting)


def test_a_probe_with_its_own_norm_runs_predicts_and_exports(tmp_path):
    draws = np.random.default_rng(0)
    rows = [(f"{n}.png", n, n % 2, ("train", "val", "test")[n % 3]) for n in range(24)]
    for name, *_ in rows:
        cv2.imwrite(str(tmp_path / name), draws.integers(0, 255, (32, 32), np.uint8))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "patient", "label", "split"), *rows])
    run = modicum.fit(
        tmp_path / "table.csv", "linear", runs=tmp_path / "runs", backbone="test_vit", weights="random",
        image_size=32, pool="mean", epochs=2, lr=0.1, leaks="allow", resamples=0, workers=0,
        write_report=False,
    )  # fmt: skip
    _, _, method = load_method(run.folder)
    assert (
        next(s for s in method.stages() if isinstance(s, ExtractStage)).settings()["features"]
        == "mean of patches"
    )
    assert method.predictor().head.norm.weight.std() > 0
    with torch.no_grad():
        torch.testing.assert_close(method.merge()(IMAGES), method.predictor().eval()(IMAGES))
    body = timm.create_model("test_vit", img_size=32, num_classes=2, global_pool="avg")
    from safetensors.torch import load_file

    body.load_state_dict(load_file(run.export(tmp_path / "probe.safetensors")))


# --- layer-wise rates ------------------------------------------------------------------------------------------


def test_low_rank_updates_learn_slower_the_earlier_their_block():
    method = made("lora", "vit_base_patch16_224", 224, device="meta", pool="mean", layer_decay=0.65)
    found = rates(method)
    for name, rate in found.items():
        if ".blocks." in name:
            block = int(name.split(".blocks.")[1].split(".")[0])
            assert rate == pytest.approx(0.65 ** (12 - block)), name
        else:
            assert "fc_norm" in name or name.startswith("head")
            assert rate == 1.0, name
    by_block = sorted({rate for name, rate in found.items() if ".blocks." in name})
    assert by_block[0] == pytest.approx(0.005688, abs=1e-6)
    assert by_block[-1] == pytest.approx(0.65)
    assert len(by_block) == 12


def test_full_fine_tuning_counts_layers_from_the_embeddings_as_mae_does():
    method = made("full", "vit_base_patch16_224", 224, device="meta", pool="mean", layer_decay=0.65)
    found = rates(method)
    assert len(found) == len(list(method.predictor().parameters()))
    body = "_backbone.body."
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        assert found[body + name] == pytest.approx(0.65**13)
    assert found[body + "blocks.0.mlp.fc1.weight"] == pytest.approx(0.65**12)
    assert found[body + "blocks.11.norm2.bias"] == pytest.approx(0.65)
    assert found[body + "fc_norm.weight"] == found["head.1.weight"] == 1.0


def test_timms_own_grouping_has_the_same_rates():
    """timm's param_groups_layer_decay, which follows BEiT and MAE."""
    from timm.optim import param_groups_layer_decay

    body = timm.create_model("test_vit", img_size=32, num_classes=5, global_pool="avg")
    theirs = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(body, layer_decay=0.65)
        for p in group["params"]
    }
    depth = len(body.blocks)
    for name, parameter in body.named_parameters():
        assert 0.65 ** (depth + 1 - layer_number(name, depth)) == pytest.approx(theirs[id(parameter)]), name


@pytest.mark.parametrize(
    ("name", "config"), [("full", {"decay_vectors": False}), ("lora", {"layer_decay": 0.65})]
)
def test_vectors_are_not_pulled_to_zero_where_asked(name, config):
    for group in optimizer_of(small(name, pool="mean", **config), weight_decay=0.05).param_groups:
        vectors = {parameter.ndim <= 1 for parameter in group["params"]}
        assert len(vectors) == 1
        assert group["weight_decay"] == (0.0 if vectors.pop() else 0.05)


def decays(method) -> dict[str, float]:
    """Weight decay of each parameter of a method's network."""
    groups = optimizer_of(method, weight_decay=0.05).param_groups
    by_id = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    return {name: by_id[id(parameter)] for name, parameter in method.predictor().named_parameters()}


@pytest.mark.parametrize("layer_decay", [1.0, 0.65])
def test_decay_is_that_of_timms_grouping_where_embeddings_are_exempt(layer_decay):
    """timm's param_groups_layer_decay with the network's own no_weight_decay(), as in MAE's fine-tuning."""
    from timm.optim import param_groups_layer_decay

    method = small("full", pool="mean", layer_decay=layer_decay, decay_vectors=False, decay_embeddings=False)
    body = method.predictor().backbone.body
    theirs = {
        id(p): group["weight_decay"]
        for group in param_groups_layer_decay(body, 0.05, no_weight_decay_list=body.no_weight_decay())
        for p in group["params"]
    }
    expected = {name: theirs[id(p)] for name, p in method.predictor().named_parameters() if id(p) in theirs}
    found = decays(method)
    assert {name: found[name] for name in expected} == expected
    assert found["_backbone.body.pos_embed"] == found["_backbone.body.cls_token"] == 0.0
    assert found["head.1.weight"] == 0.05


def test_embeddings_alone_are_exempt_where_asked_and_decay_as_before_by_default():
    alone = decays(small("full", decay_embeddings=False))
    assert sorted(name for name, decay in alone.items() if decay == 0) == [
        "_backbone.body.cls_token",
        "_backbone.body.pos_embed",
    ]
    as_before = decays(small("full", layer_decay=0.65, decay_vectors=False))
    assert as_before["_backbone.body.pos_embed"] == as_before["_backbone.body.cls_token"] == 0.05


def test_a_network_without_embeddings_has_none_to_exempt():
    method = made("full", "test_resnet", 32, decay_embeddings=False)
    assert set(decays(method).values()) == {0.05}


def test_without_these_settings_parameters_are_grouped_as_before():
    groups = optimizer_of(small("full"), weight_decay=0.05).param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.05]
    assert set(rates(small("full")).values()) == set(rates(small("lora")).values()) == {1.0}


def test_the_scale_of_the_backbone_and_the_layers_multiply():
    found = rates(small("full", layer_decay=0.5, backbone_lr_scale=0.1))
    assert found["head.1.weight"] == 1.0
    assert found["_backbone.body.blocks.5.norm1.weight"] == pytest.approx(0.05)


# --- stochastic depth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["full", "lora"])
def test_branches_are_left_out_more_often_the_later_their_block(name):
    method = made(name, "vit_base_patch16_224", 224, device="meta", drop_path=0.1)
    shares = []
    for block in method.predictor().backbone.body.blocks:
        pair = [
            layer.drop_prob if isinstance(layer, DropPath) else 0.0
            for layer in (block.drop_path1, block.drop_path2)
        ]
        assert pair[0] == pair[1]
        shares.append(pair[0])
    assert shares == pytest.approx([0.1 * block / 11 for block in range(12)])


@torch.no_grad()
@pytest.mark.parametrize("name", ["full", "lora"])
def test_branches_are_left_out_in_training_only_and_not_by_default(name):
    network = small(name, drop_path=0.9).predictor()
    assert not torch.equal(network.train()(IMAGES), network(IMAGES))
    assert torch.equal(network.eval()(IMAGES), network(IMAGES))
    network = small(name).predictor().train()
    assert torch.equal(network(IMAGES), network(IMAGES))


def test_a_merged_network_leaves_out_nothing():
    network = small("lora", drop_path=0.9).predictor()
    assert set(network.plain().backbone.body.state_dict()) == set(
        Backbone("test_vit", (32, 32)).body.state_dict()
    )
    with torch.no_grad():
        torch.testing.assert_close(network.plain()(IMAGES), network.eval()(IMAGES))


# --- schedule and optimiser ------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [12, 1226])
@pytest.mark.parametrize(("epoch", "rate"), [(2.5, 0.025), (5, 0.05), (50, 0.02706), (100, 1e-6)])
def test_the_published_schedule(steps, epoch, rate):
    """lr 0.05, 100 epochs, 5 of warm-up, 1e-6 at the end; our first step has the rate of the published second."""
    during_warmup = epoch < 5
    factor = lr_factor(int(epoch * steps) - during_warmup, 100 * steps, 5 * steps, min_factor=1e-6 / 0.05)
    assert 0.05 * factor == pytest.approx(rate, abs=5e-6)


def test_momentum_looks_ahead_unless_told_not_to():
    assert optimizer_of(small("full")).param_groups[0]["nesterov"]
    assert not optimizer_of(small("full"), nesterov=False).param_groups[0]["nesterov"]
    assert not optimizer_of(small("full"), momentum=0.0).param_groups[0]["nesterov"]


def test_the_cosine_ends_at_the_least_rate_and_never_above_the_peak():
    assert make_recipe("images.csv", "full", {}).training.min_lr == 0
    assert make_recipe("images.csv", "full", {"min_lr": 1e-6}).training.min_lr == 1e-6
    with pytest.raises(InputError, match=r"training.min_lr.*cannot end above lr, which is 0.001"):
        make_recipe("images.csv", "full", {"lr": 1e-3, "min_lr": 1e-2})


# --- published checkpoints -------------------------------------------------------------------------------------


def checkpoint(path, without: str = ""):
    """Weights as MRM's release keeps them: under ``model``, with a decoder and a text branch beside the encoder."""
    torch.manual_seed(5)
    body = timm.create_model("test_vit", img_size=32, num_classes=0).state_dict()
    others = {
        name: torch.zeros(2)
        for name in ("mask_token", "decoder_embed.weight", "bert_encoder.x", "bert_mlp.0.bias")
    }
    kept = {
        name: tensor
        for name, tensor in (body | others).items()
        if not without or not name.startswith(without)
    }
    torch.save({"model": kept, "epoch": 200}, path)
    return body


def from_checkpoint(path):
    small_vit = {"backbone": "test_vit", "image_size": 32, "weights": str(path)}
    recipe = make_recipe("data", None, small_vit, given_recipe("cxr/lora_nih_1pct"))
    return make_method(recipe, Classification("multi-label", ["Edema", "Hernia"]), {}).predictor().backbone


def test_a_checkpoint_with_a_text_branch_loads(tmp_path):
    weights = checkpoint(tmp_path / "mrm.pth")
    backbone = from_checkpoint(tmp_path / "mrm.pth")
    assert torch.equal(backbone.body.blocks[3].mlp.fc1.weight, weights["blocks.3.mlp.fc1.weight"])
    assert torch.equal(
        backbone.body.blocks[3].attn.qkv.key.weight, weights["blocks.3.attn.qkv.weight"].chunk(3)[1]
    )
    assert backbone.normalisation["mean"] == pytest.approx([0.4978] * 3)


def test_a_checkpoint_without_one_of_the_blocks_is_refused(tmp_path):
    checkpoint(tmp_path / "mrm.pth", without="blocks.3.")
    with pytest.raises(InputError, match=r"12 of its \d+ tensors are missing .*'blocks.3.norm1.weight'"):
        from_checkpoint(tmp_path / "mrm.pth")
