"""The rivals of fine-grained prompt tuning: counts of their papers, what learns, and what it costs."""

import itertools
import math

import pytest
import torch
from rivals import MERGING, NAMES, START_AS_THE_BACKBONE, made, small
from torch import nn
from torch.nn import functional as F

from modicum.engine.training.meters import saved_tensors
from modicum.errors import InputError
from modicum.methods import TrainStage
from modicum.nn import Backbone, count_parameters
from modicum.nn.prompts import PromptedBlock
from modicum.nn.scale_shift import ScaleShift

ALL_OF_VIT_B = 86_090_496  # at 384 pixels, without a head
HEAD = 768 * 5 + 5


def perturbed(network: nn.Module, size: float = 0.05) -> nn.Module:
    """The network with something learned: every learnable parameter moved."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def batch_of(count: int = 4) -> dict[str, torch.Tensor]:
    return {"image": images(count), "label": torch.arange(count) % 5}


def train(method, steps: int) -> TrainStage:
    """Some steps as the engine would take them."""
    (stage,) = method.stages()
    (update,) = stage.train().updates()
    optimizer = torch.optim.AdamW(list(update.parameters), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack(list(update.losses(batch_of()).values())).sum().backward()
        optimizer.step()
    return stage


# --- counts of ViT-B/16 with five classes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "learnable", "total"),
    [
        ("full", {}, 86_094_341, ALL_OF_VIT_B + HEAD),
        ("linear", {}, 3_845, ALL_OF_VIT_B + HEAD),
        ("partial", {}, 7_091_717, ALL_OF_VIT_B + HEAD),
        ("bitfit", {}, 106_757, ALL_OF_VIT_B + HEAD),
        ("attention", {}, 28_352_261, ALL_OF_VIT_B + HEAD),
        ("vpt", {}, 151_301, ALL_OF_VIT_B + 151_301),
        ("vpt", {"deep": False}, 16 * 768 + HEAD, ALL_OF_VIT_B + 16 * 768 + HEAD),
        ("adapter", {}, 1_783_685, ALL_OF_VIT_B + 1_783_685),
        ("adaptformer", {}, 1_193_477, ALL_OF_VIT_B + 1_193_477),
        ("ssf", {}, 209_669, ALL_OF_VIT_B + 209_669),
        ("lora", {}, 593_669, ALL_OF_VIT_B + 593_669),
        ("dora", {}, 593_669 + 12 * 2 * 768, ALL_OF_VIT_B + 593_669 + 12 * 2 * 768),
        ("dtl", {}, 36_864 + HEAD, ALL_OF_VIT_B + 36_864 + HEAD),
        ("lst", {}, 2_376_492 + HEAD, ALL_OF_VIT_B + 2_376_492 + HEAD),
    ],
)
def test_learnable_parameters_are_those_of_the_papers(name, config, learnable, total):
    method = made(name, "vit_base_patch16_384", 384, device="meta", **config)
    assert count_parameters(method.predictor()) == (total, learnable)
    (update,) = method.stages()[-1].updates()
    groups = [group["params"] if isinstance(group, dict) else [group] for group in update.parameters]
    assert sum(parameter.numel() for group in groups for parameter in group) == learnable


def test_the_ladder_has_the_size_of_its_closed_form():
    """Side blocks of 12 w^2 + 13 w, down-projections of (D + 1) w, gates, norm of 2 w, up-projection (w + 1) D."""
    for reduction in (2, 4):
        width, depth = 64, 6
        w = width // reduction
        expected = (
            depth * (12 * w * w + 13 * w) + (depth + 1) * (width + 1) * w + depth + 2 * w + (w + 1) * width
        )
        network = small("lst", reduction=reduction).predictor()
        assert count_parameters(network)[1] == expected + 5 * (width + 1)


# --- what learns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_its_own_parameters_and_nothing_else(name):
    method = small(name)
    network = method.predictor()
    learnable = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    train(method, steps=3)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == learnable
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_frozen_parts_stay_in_evaluation_mode(name):
    network = small(name).predictor().train()
    training = [part for part in network.backbone.body.modules() if part.training]
    learned = {inner for part in getattr(network, "parts", ()) for inner in part.modules()}
    assert set(training) <= learned
    assert network.head.training
    assert not any(part.training for part in network.eval().modules())


@pytest.mark.parametrize("name", START_AS_THE_BACKBONE)
def test_training_starts_at_the_backbones_own_features(name):
    network = small(name).predictor().eval()
    torch.manual_seed(0)
    untouched = Backbone("test_vit", (32, 32)).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images()), network.head(untouched(images())), atol=2e-7, rtol=0)


@pytest.mark.parametrize("name", ["partial", "lst", "dtl"])
def test_no_graph_below_what_is_trained(name):
    network = small(name).predictor().train()
    graph = []
    stack = network.backbone.body.blocks
    blocks = stack if name == "partial" else stack[0].blocks
    for block in blocks:
        block.register_forward_hook(lambda _block, _inputs, output: graph.append(output.requires_grad))
    network(images())
    # DTL feeds the outputs of blocks 4 to 6, so the first block with something to pass on is the fifth.
    expected = {"partial": [False] * 5 + [True], "lst": [False] * 6, "dtl": [False] * 4 + [True] * 2}
    assert graph == expected[name]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"bitfit", "side"}))
def test_a_convolutional_network_is_refused(name):
    with pytest.raises(
        InputError, match=f"method {name} needs a plain vision transformer.*pass for instance"
    ):
        made(name, "test_resnet", 32)


@pytest.mark.parametrize("name", ["bitfit", "side"])
def test_methods_that_need_no_transformer_take_a_convolutional_network(name):
    method = made(name, "test_resnet", 32)
    statistics = {key: tensor.clone() for key, tensor in method.predictor().backbone.named_buffers()}
    train(method, steps=1)
    for key, tensor in method.predictor().backbone.named_buffers():
        assert torch.equal(tensor, statistics[key])  # batch norms of frozen networks do not drift


# --- what they compute -----------------------------------------------------------------------------------------


def test_deep_prompts_follow_the_class_token_and_are_renewed_before_each_block():
    network = small("vpt", num_prompts=3).predictor()
    seen = []
    for block in network.backbone.body.blocks:
        assert isinstance(block, PromptedBlock)
        block.block.register_forward_pre_hook(lambda _block, inputs: seen.append(inputs[0]))
    features = network.backbone.feature_map(images())
    assert features.shape[1] == 1 + 4  # a class token and 2 x 2 patches
    for tokens, block in zip(seen, network.backbone.body.blocks, strict=True):
        assert tokens.shape[1] == 1 + 3 + 4
        assert torch.equal(tokens[:, 1:4], block.prompts.expand(3, -1, -1))


def test_shallow_prompts_enter_once_and_pass_through_all_blocks():
    network = small("vpt", num_prompts=3, deep=False).predictor()
    tokens = []
    for block in network.backbone.body.blocks:
        block.block.register_forward_hook(lambda _block, inputs, output: tokens.append((inputs[0], output)))
    network(images())
    for (_, before), (after, _) in itertools.pairwise(tokens):
        assert before is after


def test_prompts_are_uniform_within_the_xavier_bound_of_a_patch():
    bound = math.sqrt(6 / (3 * 16 * 16 + 64))
    prompts = torch.cat([block.prompts.flatten() for block in small("vpt").predictor().backbone.body.blocks])
    assert prompts.abs().max() <= bound
    assert prompts.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("name", ["adapter", "adaptformer"])
def test_bottlenecks_are_the_formulas_of_their_papers(name):
    network = perturbed(small(name).predictor())
    adapted = network.backbone.body.blocks[0].mlp
    tokens = torch.randn(2, 5, 64)
    narrow = adapted.bottleneck
    ffn = adapted.part(tokens)
    if name == "adapter":
        expected = ffn + narrow.up(F.gelu(narrow.down(ffn)))
    else:
        expected = ffn + 0.1 * narrow.up(F.relu(narrow.down(tokens)))
    torch.testing.assert_close(adapted(tokens), expected)


def test_compact_side_network_is_the_recurrence_of_its_paper():
    network = perturbed(small("dtl").predictor(), size=0.3)
    body = network.backbone.body
    side = body.blocks[0]
    with torch.no_grad():
        tokens = body._pos_embed(body.patch_embed(network.backbone.normalise(images())))
        total = torch.zeros_like(tokens)
        for place in range(6):
            total = total + torch.einsum("btd,rd,er->bte", tokens, side.down[place], side.up[place])
            tokens = side.blocks[place](tokens)
            if place + 1 >= 4:
                tokens = tokens + total * torch.sigmoid(100.0 * total)
        expected = network.head(body.norm(tokens)[:, 0])
        torch.testing.assert_close(network(images()), expected)


def test_gates_of_the_ladder_are_sharpened_by_their_temperature():
    """With gates at +1 and temperature 0.1 the ladder reads the backbone alone: sigmoid(10) = 0.99995."""
    network = small("lst").predictor().eval()
    ladder = network.backbone.body.blocks[0]
    with torch.no_grad():
        ladder.gates.fill_(1.0)
        read = []
        ladder.side[-1].register_forward_pre_hook(lambda _block, inputs: read.append(inputs[0]))
        last = []
        ladder.blocks[-1].register_forward_hook(lambda _block, _inputs, output: last.append(output))
        network(images())
        torch.testing.assert_close(read[0], ladder.down[-1](last[0]), atol=2e-4, rtol=0)


def test_side_tuning_blends_by_the_sigmoid_of_alpha():
    network = small("side").predictor().eval()
    with torch.no_grad():
        base, side = network.backbone(images()), network.side(network.backbone.normalise(images()))
        torch.testing.assert_close(network(images()), network.head((base + side) / 2))
        network.blend.fill_(math.log(3))
        torch.testing.assert_close(network(images()), network.head(0.75 * base + 0.25 * side))


def test_scales_and_shifts_start_near_one_and_zero():
    method = made("ssf", "vit_tiny_patch16_224", 32)
    parts = [part for part in method.predictor().modules() if isinstance(part, ScaleShift)]
    scales = torch.cat([part.scale for part in parts])
    shifts = torch.cat([part.shift for part in parts])
    assert scales.mean().item() == pytest.approx(1, abs=2e-3)
    assert shifts.mean().item() == pytest.approx(0, abs=2e-3)
    assert scales.std().item() == pytest.approx(0.02, rel=0.05)
    assert shifts.std().item() == pytest.approx(0.02, rel=0.05)


# --- one plain network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["test_vit", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("name", MERGING)
def test_the_merged_network_computes_the_same_with_timms_layers_only(name, backbone):
    method = made(name, backbone, 32)
    network = perturbed(method.predictor())
    with torch.no_grad():
        outputs = network(images())
        merged = method.merge()
        torch.testing.assert_close(merged(images()), outputs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network(images()), outputs, atol=0, rtol=0)
    named = set(merged.backbone.body.state_dict())
    if name == "ssf":  # where a projection had no bias, a shift gives it one
        named = {key for key in named if backbone == "test_vit" or not key.endswith("qkv.bias")}
    assert named == set(Backbone(backbone, (32, 32)).body.state_dict())


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(MERGING)))
def test_what_is_more_than_its_backbone_does_not_merge(name):
    with pytest.raises(
        InputError, match=f"what method '{name}' learns does not fold into its backbone; export its predictor"
    ):
        small(name).merge()


# --- other plain transformers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"side", "bitfit", "partial", "attention"}))
def test_transformers_with_rotary_positions_are_served_or_refused_in_words(name, backbone):
    size = 28 if "14" in backbone else 32
    if (name, backbone) == ("ssf", "eva02_tiny_patch14_224"):
        with pytest.raises(InputError, match="adds biases to its projections apart from them; choose for"):
            made(name, backbone, size)
        return
    network = made(name, backbone, size).predictor().train()
    network(images(2, size)).sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in network.parameters())


# --- memory ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved():
    """Bytes saved for the backward pass by each method, as a share of full fine-tuning's (ViT-S, 224 pixels)."""
    found = {}
    for name in ("full", *NAMES):
        network = made(name, "vit_small_patch16_224", 224).predictor().train()
        with saved_tensors([*network.parameters(), *network.buffers()]) as account:
            outputs = network(images(1, 224))
        outputs.sum().backward()  # lets go of what was saved
        found[name] = account.bytes
    return {name: size / found["full"] for name, size in found.items()}


def test_methods_through_the_backbone_save_a_part_of_its_activations(saved):
    for name in ("bitfit", "vpt", "adapter", "lora", "attention"):
        assert 0.5 < saved[name] < 0.9, (name, saved)


def test_methods_beside_the_backbone_save_far_less(saved):
    for name in ("side", "lst", "dtl"):
        assert saved[name] < 0.6 * saved["lora"], (name, saved)
    assert saved["partial"] == pytest.approx(1 / 12, abs=0.02)
