"""LoRA and DoRA: the published code's counts, initial state, merging and dropout; timm and plain algebra on the side."""

import copy
import math

import pytest
import torch
from pydantic import ValidationError
from rivals import made, small
from torch import nn
from torch.nn import functional as F

from modicum.engine.model import learned_of
from modicum.engine.recipe.validation import validated
from modicum.errors import InputError
from modicum.methods.lora import LoRAConfig
from modicum.nn import Backbone, count_parameters
from modicum.nn.low_rank import SharedDropout, SplitProjection

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def layer_of(network, place: int = 0, which: str = "query"):
    """PEFT's layer of one projection."""
    return getattr(network.backbone.body.blocks[place].attn.qkv, which)


def with_updates(name: str = "lora", backbone: str = "test_vit", std: float = 0.02, **config):
    """A network whose second matrices are no longer zero."""
    network = made(name, backbone, 28 if "14" in backbone else 32, **config).predictor()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for layer in network.layers:
            matrix = layer.lora_B["default"].weight
            matrix.copy_(std * torch.randn(matrix.shape, generator=generator))
    return network.eval()


@torch.no_grad()
def logits(network: nn.Module, size: int = 32) -> torch.Tensor:
    return network(IMAGES[..., :size, :size])


# --- counts: Lian et al.'s published code, ViT-B/16 at 224 pixels, mean pooling with its own norm ----------------


@pytest.mark.parametrize(
    ("classes", "rank", "total", "learnable"),
    [
        (14, 4, 85_956_878, 159_758),
        (14, 8, 86_104_334, 307_214),
        (14, 16, 86_399_246, 602_126),
        (14, 32, 86_989_070, 1_191_950),
        (5, 4, 85_949_957, 152_837),
        (5, 8, 85_949_957 + 4 * 36_864, 300_293),
        (5, 16, 85_949_957 + 12 * 36_864, 595_205),
        (5, 32, 85_949_957 + 28 * 36_864, 1_185_029),
        (1, 4, 85_946_881, 149_761),
        (1, 32, 86_979_073, 1_181_953),
    ],
)
def test_counts_are_those_of_the_published_code(classes, rank, total, learnable):
    method = made("lora", "vit_base_patch16_224", 224, classes=classes, device="meta", rank=rank, pool="mean")
    assert count_parameters(method.predictor()) == (total, learnable)


def test_matrices_of_a_block_have_the_shapes_and_the_scale_of_rank_four():
    network = made("lora", "vit_base_patch16_224", 224, device="meta", rank=4).predictor()
    pair = [layer_of(network, which=which) for which in ("query", "value")]
    assert [tuple(layer.lora_A["default"].weight.shape) for layer in pair] == [
        (4, 768)
    ] * 2  # stacked [8, 768]
    assert [tuple(layer.lora_B["default"].weight.shape) for layer in pair] == [(768, 4)] * 2
    assert [layer.scaling["default"] for layer in pair] == [8.0, 8.0]


@pytest.mark.parametrize(
    ("targets", "sides"),
    [(("proj",), 2), (("mlp",), 10), (("qv", "proj"), 6), (("qv", "proj", "mlp"), 16)],
)
def test_targets_cost_rank_times_the_sides_of_their_layers(targets, sides):
    """In widths: queries and values 1 + 1 each, the output 1 + 1, the feed-forward part 1 + 4 twice."""
    method = made("lora", "vit_base_patch16_224", 224, device="meta", rank=3, targets=targets)
    assert count_parameters(method.predictor())[1] == 12 * 3 * sides * 768 + 3_845


@pytest.mark.parametrize("targets", [("attn",), ("qkv",), ()])
def test_unknown_targets_are_an_error_not_a_linear_probe(targets):
    with pytest.raises(ValidationError, match="targets"):
        LoRAConfig(targets=targets)
    with pytest.raises(InputError, match="method lora: setting 'targets"):
        validated(LoRAConfig, {"targets": list(targets)}, "method lora")


# --- the start -------------------------------------------------------------------------------------------------


def test_first_matrix_is_uniform_within_one_over_the_square_root_of_the_width():
    network = made("lora", "vit_tiny_patch16_224", 32).predictor()
    matrices = torch.cat([layer.lora_A["default"].weight.flatten() for layer in network.layers])
    assert matrices.abs().max() <= 1 / math.sqrt(192)
    assert matrices.std().item() == pytest.approx(1 / math.sqrt(3 * 192), rel=0.02)
    assert all(not layer.lora_B["default"].weight.any() for layer in network.layers)


def test_the_split_projection_is_the_fused_one_row_by_row():
    fused = nn.Linear(64, 192)
    split = SplitProjection(fused)
    for part, weight, bias in zip(
        (split.query, split.key, split.value), fused.weight.chunk(3), fused.bias.chunk(3), strict=True
    ):
        assert torch.equal(part.weight, weight)
        assert torch.equal(part.bias, bias)
    joined = split.joined()
    assert torch.equal(joined.weight, fused.weight)
    assert torch.equal(joined.bias, fused.bias)
    tokens = torch.randn(2, 5, 64)
    torch.testing.assert_close(split(tokens), fused(tokens))


def test_mean_pooling_starts_at_logits_near_zero_and_a_loss_of_log_two():
    network = small("lora", pool="mean").predictor().eval()
    body = network.backbone.body
    assert (body.fc_norm.weight == 1).all()
    assert (body.fc_norm.bias == 0).all()
    assert network.head.weight.std().item() == pytest.approx(2e-5, rel=0.2)
    assert (network.head.bias == 0).all()
    outputs = logits(network)
    loss = F.binary_cross_entropy_with_logits(outputs, torch.ones_like(outputs))
    assert loss.item() == pytest.approx(math.log(2), abs=2e-3)
    torch.manual_seed(0)
    untouched = Backbone("test_vit", (32, 32))
    untouched.body.norm = nn.Identity()
    tokens = untouched.eval().feature_map(IMAGES)[:, 1:]
    expected = network.head(F.layer_norm(tokens.mean(dim=1), (64,), eps=body.fc_norm.eps))
    torch.testing.assert_close(outputs, expected.detach(), atol=1e-8, rtol=1e-4)


def test_first_gradient_reaches_the_second_matrix_only_and_then_both():
    network = small("lora").predictor().train()
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        network(IMAGES).square().sum().backward()
        for layer in network.layers:
            assert layer.lora_A["default"].weight.grad.any() == (step > 0)
            assert layer.lora_B["default"].weight.grad.any()
        optimizer.step()
    now = dict(network.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())
    assert all(now[name].grad is None for name in frozen)


# --- the update ------------------------------------------------------------------------------------------------


def test_the_update_is_scale_times_both_matrices_on_queries_and_values_only():
    network = with_updates(rank=4)
    projection = network.backbone.body.blocks[2].attn.qkv
    tokens = torch.randn(2, 5, 64)
    with torch.no_grad():
        query, key, value = projection(tokens).chunk(3, dim=-1)
        for found, layer in ((query, projection.query), (value, projection.value)):
            first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            frozen = F.linear(tokens, layer.base_layer.weight, layer.base_layer.bias)
            torch.testing.assert_close(found, frozen + 8.0 * tokens @ first.T @ second.T)
        torch.testing.assert_close(key, projection.key(tokens))


def test_matrices_padded_with_zeros_to_a_larger_rank_are_weighted_less():
    """Alpha stays, so rank 4 in rank 16 gives a quarter of the update."""
    narrow, wide = with_updates(rank=4), small("lora", rank=16).predictor().eval()
    tokens = torch.randn(2, 5, 64)
    with torch.no_grad():
        first, second = layer_of(narrow).lora_A["default"].weight, layer_of(narrow).lora_B["default"].weight
        layer_of(wide).lora_A["default"].weight.zero_()[:4] = first
        layer_of(wide).lora_B["default"].weight.zero_()[:, :4] = second
        base = layer_of(wide).base_layer(tokens)
        small_update, large_update = layer_of(wide)(tokens) - base, layer_of(narrow)(tokens) - base
    torch.testing.assert_close(small_update, large_update / 4, atol=1e-6, rtol=1e-4)


def test_one_mask_for_queries_and_values():
    network = with_updates(dropout=0.5).train()
    projection = network.backbone.body.blocks[0].attn.qkv
    assert projection.query.lora_dropout["default"] is projection.value.lora_dropout["default"]
    seen = []
    for layer in (projection.query, projection.value):
        layer.lora_A["default"].register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    for _ in range(2):
        projection(torch.randn(2, 5, 64))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0] == 0, seen[2] == 0)
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_mask_left_over_from_a_failure_is_not_used_for_other_inputs():
    dropout = SharedDropout(0.5).train()
    torch.manual_seed(0)
    dropout(torch.ones(100))  # the second layer never came
    other = 2 * torch.ones(100)
    assert set(dropout(other).unique().tolist()) == {0.0, 4.0}


def test_dropout_shows_in_training_only_and_only_once_the_second_matrix_is_not_zero():
    start = small("lora").predictor().train()
    assert torch.equal(start(IMAGES), start(IMAGES))
    later = with_updates(std=0.5).train()
    assert not torch.equal(later(IMAGES), later(IMAGES))
    later.eval()
    assert torch.equal(later(IMAGES), later(IMAGES))


# --- merging ---------------------------------------------------------------------------------------------------

BACKBONES = [
    "test_vit",
    "eva02_tiny_patch14_224",  # fused, biases apart
    "vit_small_patch16_dinov3",  # fused, no bias
    "eva02_base_patch14_224",  # separate projections
]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_merged_in_place_or_as_a_copy_the_logits_are_the_same(name, backbone):
    network, size = with_updates(name, backbone), 28 if "14" in backbone else 32
    expected = logits(network, size)
    plain = network.plain()
    torch.testing.assert_close(logits(plain, size), expected, atol=1e-5, rtol=1e-5)
    network.merge()
    assert network.merged
    torch.testing.assert_close(logits(network, size), expected, atol=1e-5, rtol=1e-5)
    network.unmerge()
    torch.testing.assert_close(logits(network, size), expected, atol=1e-5, rtol=1e-5)
    names = set(plain.backbone.body.state_dict())
    assert names == set(Backbone(backbone, (size, size)).body.state_dict())


@pytest.mark.parametrize("name", ["lora", "dora"])
def test_merging_or_unmerging_twice_changes_nothing_more(name):
    network = with_updates(name)
    expected = logits(network)
    network.merge()
    network.merge()
    torch.testing.assert_close(logits(network), expected, atol=1e-5, rtol=1e-5)
    network.unmerge()
    network.unmerge()
    torch.testing.assert_close(logits(network), expected, atol=1e-5, rtol=1e-5)


def test_a_hundred_cycles_leave_the_frozen_weights_where_they_were():
    network = with_updates(rank=4)
    weights = [layer.base_layer.weight.clone() for layer in network.layers]
    for _ in range(100):
        network.merge()
        network.unmerge()
    drift = max((a - b.base_layer.weight).abs().max() for a, b in zip(weights, network.layers, strict=True))
    assert drift <= 1e-6


def test_training_after_merging_learns_on_unmerged_weights():
    network = with_updates(dropout=0.0)
    expected = logits(network)
    network.merge()
    network.train()
    assert not network.merged
    outputs = network(IMAGES)
    torch.testing.assert_close(outputs.detach(), expected, atol=1e-5, rtol=1e-5)
    outputs.sum().backward()
    assert all(layer.lora_A["default"].weight.grad.any() for layer in network.layers)


def test_merged_weights_are_neither_saved_nor_loaded_over():
    method = small("lora")
    network = method.predictor()
    state = copy.deepcopy(network.state_dict())
    network.merge()
    for act in (network.state_dict, lambda: network.load_state_dict(state), lambda: learned_of(method)):
        with pytest.raises(InputError, match="would be applied twice; call unmerge"):
            act()
    network.unmerge()
    network.load_state_dict(state)
    tensors = learned_of(method)
    assert {key.rsplit("default.", 1)[-1] for key in tensors if "lora" in key} == {"weight"}
    assert sum(tensor.numel() for tensor in tensors.values()) == count_parameters(network)[1]


def test_weight_changes_have_the_rank_of_the_update_in_query_and_value_rows_and_none_in_key_rows():
    network = with_updates(rank=4)
    torch.manual_seed(0)
    before = Backbone("test_vit", (32, 32)).body.state_dict()
    after = network.plain().backbone.body.state_dict()
    for place in range(6):
        key = f"blocks.{place}.attn.qkv"
        change = (after[f"{key}.weight"] - before[f"{key}.weight"]).double()
        query, keys, value = change.chunk(3)
        ranks = [int(torch.linalg.matrix_rank(part, atol=1e-5)) for part in (query, value, change)]
        assert ranks == [4, 4, 8]
        assert not keys.any()
        assert torch.equal(after[f"{key}.bias"], before[f"{key}.bias"])
    same = {n for n in before if torch.equal(before[n], after[n])}
    assert set(before) - same == {f"blocks.{place}.attn.qkv.weight" for place in range(6)}


def test_dora_scales_the_columns_of_the_updated_weight_to_the_learned_magnitudes():
    """Rows of the merged weight have the learned norms (Liu et al., equation 5; outputs are rows in PyTorch)."""
    network = with_updates("dora", rank=4)
    with torch.no_grad():
        magnitude = layer_of(network).lora_magnitude_vector["default"].weight
        magnitude.mul_(1.5)
    merged = network.plain().backbone.body.blocks[0].attn.qkv.weight
    torch.testing.assert_close(merged[:64].norm(dim=1), magnitude.detach(), atol=1e-5, rtol=1e-5)
