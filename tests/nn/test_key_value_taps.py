"""Which tokens are taken, against timm's explicit attention, and what is taken of them, computed by hand."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_transformers import SHAPES, explicit_attention, images, made, uneven
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.key_value_taps import KeyValueTaps, attend_and_score, kept_tokens, token_scores

WITH_CLASS_TOKEN = [kind for kind in SHAPES if kind != "no class token"]


def reference_scores(backbone, pixels, score):
    """Per block ``[b, h, n]``, from the whole attention."""
    with explicit_attention(backbone.body) as attention, torch.no_grad():
        backbone.body.forward_features(pixels)
    return [a.mean(2) if score == "global" else a[:, :, 0] for a in attention]


def as_sets(indices):
    return [set(row.tolist()) for row in indices.flatten(0, -2)]


# --- how many -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "kept"), [(224, 39), (384, 115), (512, 205), (768, 461), (1024, 819), (2048, 3277)]
)
def test_a_fifth_of_the_tokens_at_patch_16(pixels, kept):
    assert kept_tokens(1 + (pixels // 16) ** 2, 0.2) == kept


def test_29_percent_of_100_tokens_are_29():
    assert int(100 * 0.29) == 28  # what binary fractions make of it
    assert kept_tokens(100, 0.29) == 29


@given(st.integers(1, 10_000), st.integers(1, 1000))
def test_the_count_is_the_exact_floor_and_at_least_one(tokens, thousandths):
    assert kept_tokens(tokens, thousandths / 1000) == max(1, int(tokens * Fraction(thousandths, 1000)))


# --- which --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("score", ["global", "class_token"])
def test_the_tokens_of_largest_attention_are_taken_in_descending_order(kind, score):
    backbone = made(kind)
    if score == "class_token" and kind == "no class token":
        with pytest.raises(InputError, match="no class token to score by; use score=global"):
            KeyValueTaps(backbone, [0, 2, 3], 0.3, score)
        return
    pixels = images(backbone)
    taps = KeyValueTaps(backbone, [0, 2, 3], 0.3, score)
    _, places = taps.select(pixels)
    expected = [reference_scores(backbone, pixels, score)[layer] for layer in (0, 2, 3)]
    for row, scores in enumerate(expected):
        assert as_sets(places[:, row]) == as_sets(scores.topk(taps.tokens).indices)
        taken = scores.gather(-1, places[:, row])
        assert (taken.diff(dim=-1) <= 1e-6).all()
    assert as_sets(places[:, 0]) != as_sets(places[:, 1])  # each layer chooses for itself
    assert len({frozenset(s) for s in as_sets(places[:1, 0])}) > 1  # and each head


def test_prefix_tokens_can_be_left_out():
    backbone = made("registers")
    pixels = images(backbone)
    taps = KeyValueTaps(backbone, [1], 0.25, keep_prefix=False)
    _, places = taps.select(pixels)
    assert taps.tokens == 16  # a quarter of the 64 patches
    assert places.min() >= 5
    scores = reference_scores(backbone, pixels, "global")[1][:, :, 5:]
    assert as_sets(places[:, 0]) == as_sets(scores.topk(16).indices + 5)
    assert KeyValueTaps(backbone, [1], 1.0).select(pixels)[1].min() == 0


def test_a_smaller_share_is_the_beginning_of_a_larger_one():
    backbone = made("plain")
    pixels = images(backbone)
    few, few_places = KeyValueTaps(backbone, [1, 3], 0.1).select(pixels)
    many, many_places = KeyValueTaps(backbone, [1, 3], 0.4).select(pixels)
    assert torch.equal(few_places, many_places[..., : few_places.shape[-1]])
    assert torch.equal(few, many[..., : few.shape[-2], :])


def test_all_tokens_are_taken_once_where_all_are_asked_for():
    backbone = made("plain")
    _, places = KeyValueTaps(backbone, [0, 3], 1.0).select(images(backbone))
    assert torch.equal(places.sort(-1).values, torch.arange(65).expand(2, 2, 3, 65))


def test_shapes_of_vit_base_at_512_pixels():
    with torch.device("meta"):
        taps = KeyValueTaps(Backbone("vit_base_patch16_224", (512, 512)), [*range(12)])
        found, places = taps.select(torch.empty(2, 3, 512, 512))
    assert found.shape == (2, 12, 2, 12, 205, 64)
    assert places.shape == (2, 12, 12, 205)


def test_selection_in_vit_base_at_512_pixels():
    torch.manual_seed(0)
    backbone = Backbone("vit_base_patch16_224", (512, 512)).eval()
    del backbone.body.blocks[4:]
    uneven(backbone.body)
    pixels = images(backbone, 1)
    _, places = KeyValueTaps(backbone, [0, 3]).select(pixels)
    expected = reference_scores(backbone, pixels, "global")
    for row, layer in enumerate((0, 3)):
        scores, taken = expected[layer], places[:, row]
        left = scores.scatter(-1, taken, 0).amax(-1)
        # Scores are about 1e-3; among 1,025 some differ by less than the rounding of a sum of so many.
        assert (scores.gather(-1, taken).amin(-1) >= left - 1e-6).all()
        same = [len(a & b) for a, b in zip(as_sets(taken), as_sets(scores.topk(205).indices), strict=True)]
        assert min(same) >= 204


# --- scores -------------------------------------------------------------------------------------------------------


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000), st.floats(0.1, 3))
def test_scores_are_column_means_of_the_attention_in_any_chunks(tokens, chunk, seed, size):
    queries, keys = size * _random(2, 3, tokens, 8, seed=seed), _random(2, 3, tokens, 8, seed=seed + 1)
    whole = (queries @ keys.transpose(-2, -1) / 8**0.5).softmax(-1)
    chunked = token_scores(queries, keys, chunk=chunk)
    torch.testing.assert_close(chunked, whole.mean(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked.sum(-1), torch.ones(2, 3), atol=1e-5, rtol=0)
    first = token_scores(queries, keys, "class_token", chunk=chunk)
    torch.testing.assert_close(first, whole[:, :, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("tokens", [1, 127, 128, 300])
def test_attention_and_scores_at_once_are_attention_and_scores(tokens):
    queries, keys, values = (_random(2, 3, tokens, 16, seed=s) for s in range(3))
    attended, scores = attend_and_score(4 * queries, keys, values)
    expected = F.scaled_dot_product_attention(4 * queries, keys, values)
    torch.testing.assert_close(attended, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, token_scores(4 * queries, keys), atol=1e-6, rtol=0)


# --- what ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "registers", "layer scale", "patch 14, not square", "distilled"])
def test_keys_and_values_are_projections_of_the_normalised_block_input(kind):
    backbone = made(kind)
    pixels = images(backbone)
    inputs = []
    hooks = [
        b.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for b in backbone.body.blocks
    ]
    with torch.no_grad():
        backbone.body.forward_features(pixels)
    for hook in hooks:
        hook.remove()
    found, places = KeyValueTaps(backbone, [1, 3], 0.3).select(pixels)
    for row, layer in enumerate((1, 3)):
        block = backbone.body.blocks[layer]
        normalised = F.layer_norm(inputs[layer], (48,), block.norm1.weight, block.norm1.bias, block.norm1.eps)
        weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
        for which, start in ((0, 48), (1, 96)):  # rows of the fused projection: queries, keys, values
            made_by_hand = normalised @ weight[start : start + 48].T + bias[start : start + 48]
            for head in range(3):
                own = made_by_hand[..., 16 * head : 16 * head + 16]
                expected = torch.stack([own[i, places[i, row, head]] for i in range(2)])
                torch.testing.assert_close(found[:, row, which, head], expected, atol=1e-4, rtol=1e-4)


def test_keys_of_a_network_with_key_norm_are_normalised():
    backbone = made("query and key norm")
    pixels, seen = images(backbone), []
    hook = backbone.body.blocks[2].attn.k_norm.register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        backbone.body.forward_features(pixels)
    hook.remove()
    found, places = KeyValueTaps(backbone, [2], 0.3).select(pixels)
    expected = seen[0].gather(2, places[:, 0, :, :, None].expand(-1, -1, -1, 16))
    torch.testing.assert_close(found[:, 0, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["rotary", "rotary, registers"])
def test_keys_of_a_rotary_network_are_taken_after_the_rotation(kind):
    """Without the first tokens, a key's features are pairs turned by angles of its row and column."""
    backbone = made(kind)
    body, pixels = backbone.body, images(backbone, 1)
    inputs = []
    hook = body.blocks[1].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        body.forward_features(pixels)
    hook.remove()
    block = body.blocks[1]
    weight = block.attn.k_proj.weight if block.attn.qkv is None else block.attn.qkv.weight[48:96]
    keys = (block.norm1(inputs[0]) @ weight.T).unflatten(-1, (3, 16)).transpose(1, 2)
    prefix = body.num_prefix_tokens
    sine, cosine = body.rope.get_embed().tensor_split(2, -1)
    own = keys[:, :, prefix:]
    turned = torch.stack([-own[..., 1::2], own[..., ::2]], -1).flatten(-2)
    rotated = torch.cat([keys[:, :, :prefix], own * cosine + turned * sine], 2)
    found, places = KeyValueTaps(backbone, [1], 1.0).select(pixels)
    expected = rotated.gather(2, places[:, 0, :, :, None].expand(-1, -1, -1, 16))
    torch.testing.assert_close(found[:, 0, 0], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(rotated, keys, atol=1e-2)


# --- the forward pass ---------------------------------------------------------------------------------------------


def test_blocks_behind_the_last_tap_are_not_run():
    backbone = made("plain")
    body, ran = backbone.body, []
    for number, block in enumerate(body.blocks):
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(f"block {number}"))
        block.attn.proj.register_forward_pre_hook(lambda *_, number=number: ran.append(f"proj {number}"))
        block.mlp.register_forward_pre_hook(lambda *_, number=number: ran.append(f"mlp {number}"))
    body.norm.register_forward_pre_hook(lambda *_: ran.append("norm"))
    KeyValueTaps(backbone, [0, 1])(images(backbone))
    assert ran == ["block 0", "proj 0", "mlp 0", "block 1"]


def test_tapping_more_layers_changes_nothing_of_one():
    backbone = made("plain")
    pixels = images(backbone)
    torch.testing.assert_close(
        KeyValueTaps(backbone, [3])(pixels)[:, 0], KeyValueTaps(backbone, [0, 1, 3])(pixels)[:, 2],
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_an_image_does_not_depend_on_its_batch():
    backbone = made("plain")
    pixels = images(backbone, 4)
    together = KeyValueTaps(backbone, [2])(pixels)
    torch.testing.assert_close(together[1:2], KeyValueTaps(backbone, [2])(pixels[1:2]), atol=1e-4, rtol=1e-4)


def test_nothing_is_recorded_for_gradients():
    backbone = made("plain")
    found = KeyValueTaps(backbone, [0, 3])(images(backbone).requires_grad_(True))
    assert not found.requires_grad


@pytest.mark.parametrize("layers", [[], [4], [-1], [1, 0], [1, 1]])
def test_layers_that_are_not_there_or_not_ascending_are_refused(layers):
    with pytest.raises(InputError, match="choose ascending numbers from 0 to 3"):
        KeyValueTaps(made("plain"), layers)
