"""Masked encoding of images: published counts, masks, positions by formula, and timm's answer on the same weights."""

import time

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modicum.errors import InputError
from modicum.nn import (
    MaskedAutoencoder,
    MaskedEncoder,
    PatchDecoder,
    count_parameters,
    mask_patches,
    patchify,
    sincos_pos_embed,
    unpatchify,
    vision_transformer,
    xavier_initialise,
)
from modicum.nn.masked_encoder import number_kept

SMALL = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 4}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def size(*parameters: nn.Module | nn.Parameter) -> int:
    return sum(count_parameters(p)[0] if isinstance(p, nn.Module) else p.numel() for p in parameters)


def small_encoder(seed: int = 0, **changes) -> MaskedEncoder:
    torch.manual_seed(seed)
    return MaskedEncoder(vision_transformer(**(SMALL | changes))).eval()


# --- counts -----------------------------------------------------------------------------------------------------


def test_parts_of_vit_b_16_and_its_decoder_have_the_published_counts():
    with torch.device("meta"):
        model = MaskedAutoencoder(MaskedEncoder(vision_transformer()))
    body, decoder = model.encoder.body, model.decoder
    assert size(body.patch_embed) == 590_592
    assert size(body.blocks) == 85_054_464
    assert size(body.norm) == size(decoder.norm) == 1_536
    assert size(decoder.embed) == 590_592
    assert size(decoder.blocks) == 28_351_488
    assert size(decoder.predict) == 2_362_368
    assert size(body.cls_token) == size(decoder.mask_token) == 768
    assert size(body.pos_embed) == size(decoder.pos_embed) == 151_296


def test_the_vit_b_that_is_fine_tuned_for_14_classes_has_the_published_count():
    with torch.device("meta"):
        body = vision_transformer()
        tuned = timm.create_model("vit_base_patch16_224", global_pool="avg", num_classes=14)
    fresh = {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert set(tuned.state_dict()) - set(body.state_dict()) == fresh
    assert size(tuned) == 85_809_422


def test_only_the_position_tables_are_frozen():
    model = MaskedAutoencoder(small_encoder(), width=16, depth=1, heads=2)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["encoder.body.pos_embed", "decoder.pos_embed"]


# --- patches ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.integers(1, 3))
@settings(max_examples=40)
def test_patches_go_together_again_exactly(rows, columns, batch, side, channels):
    images = noise(batch, channels, rows * side, columns * side)
    patches = patchify(images, side)
    assert patches.shape == (batch, rows * columns, channels * side**2)
    assert torch.equal(unpatchify(patches, side, (rows, columns)), images)


def test_a_patch_is_ordered_by_row_column_and_channel():
    images = noise(1, 3, 8, 12)
    patch = patchify(images, 4)[0, 3 + 2]  # second row of patches, third column
    assert torch.equal(patch, images[0, :, 4:8, 8:12].permute(1, 2, 0).flatten())


def test_patches_that_do_not_divide_an_image_are_an_error():
    with pytest.raises(InputError, match="patches of 16 pixels do not divide images of 40x32"):
        patchify(torch.zeros(1, 3, 40, 32), 16)


# --- positions --------------------------------------------------------------------------------------------------


def test_positions_are_sines_and_cosines_of_column_then_row():
    width, grid = 16, (2, 3)
    found = sincos_pos_embed(grid, width)[0].numpy()
    assert np.array_equal(found[0], np.zeros(width))
    for row in range(grid[0]):
        for column in range(grid[1]):
            expected = [
                wave(place / 10_000 ** (i / (width / 4)))
                for place in (column, row)
                for wave in (np.sin, np.cos)
                for i in range(width // 4)
            ]
            np.testing.assert_allclose(found[1 + row * grid[1] + column], expected)


def test_inner_products_of_positions_depend_on_the_distance_alone():
    table = sincos_pos_embed((6, 6), 64, prefix=0)[0].view(6, 6, 64)
    assert (table[1, 2] @ table[4, 3]).item() == pytest.approx((table[0, 1] @ table[3, 2]).item())
    assert (table[0, 0] @ table[0, 0]).item() == pytest.approx(32)


# --- masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 98), (0.6, 78), (0.75, 49), (0.9, 19)])
def test_of_196_patches_the_published_numbers_are_kept(ratio, kept):
    mask = mask_patches(noise(3, 196), ratio)
    assert mask.kept.shape == (3, kept)
    assert mask.hidden.sum(1).tolist() == [196 - kept] * 3


def test_rounding_does_not_lose_a_patch():
    assert 10 * (1 - 0.9) < 1
    assert number_kept(10, 0.9) == 1


@pytest.mark.parametrize(("patches", "ratio"), [(1, 0.5), (4, 0.9)])
def test_a_share_that_leaves_nothing_to_see_is_an_error(patches, ratio):
    with pytest.raises(InputError, match=f"leaves 0 of {patches} patches visible"):
        mask_patches(noise(1, patches), ratio)


@given(st.integers(2, 50), st.integers(0, 1000))
@settings(max_examples=50)
def test_restoring_inverts_the_shuffle(patches, seed):
    mask = mask_patches(noise(2, patches, seed=seed), 0.5)
    for kept, restore, hidden in zip(*mask, strict=True):
        shuffled = torch.cat([kept, hidden.nonzero().flatten()])
        # Visible patches are found where they stand; whatever order the hidden ones have, they come behind.
        assert torch.equal(restore[kept], torch.arange(len(kept)))
        assert sorted(restore.tolist()) == list(range(patches))
        assert not hidden[kept].any()
        assert sorted(shuffled.tolist()) == list(range(patches))


def test_each_patch_is_kept_in_a_quarter_of_the_draws():
    kept = ~mask_patches(noise(20_000, 196), 0.75).hidden
    share = kept.float().mean(0)
    # 1 % is 3.3 standard deviations of a draw; the largest of 196 may reach it.
    assert (share - 0.25).abs().max() < 0.0135
    assert (share - 0.25).abs().mean() < 0.005


def test_images_of_a_batch_are_masked_independently():
    hidden = mask_patches(noise(20_000, 16), 0.5).hidden.float()
    first, second = hidden[::2], hidden[1::2]
    covariance = ((first - 0.5) * (second - 0.5)).mean(0)
    assert covariance.abs().max() < 0.25 * 4 / 100  # four standard deviations of 10,000 pairs


# --- the encoder ------------------------------------------------------------------------------------------------


def test_without_masking_it_is_timms_network():
    encoder, images = small_encoder(), noise(2, 3, 32, 32)
    torch.testing.assert_close(encoder(images), encoder.body.forward_features(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_its_weights_load_into_a_plain_timm_network_by_name(pool):
    encoder, images = small_encoder(), noise(2, 3, 32, 32)
    plain = VisionTransformer(
        32, 8, num_classes=0, embed_dim=32, depth=2, num_heads=4, global_pool=pool, fc_norm=False
    )
    plain.load_state_dict(encoder.body.state_dict(), strict=True)
    features = plain.eval().forward_features(images)
    torch.testing.assert_close(features, encoder(images), atol=1e-5, rtol=0)
    tokens = encoder(images)
    expected = tokens[:, 0] if pool == "token" else tokens[:, 1:].mean(1)
    torch.testing.assert_close(plain(images), expected, atol=1e-5, rtol=0)


def test_timms_own_vit_b_16_is_what_is_made_by_default():
    with torch.device("meta"):
        own, timms = vision_transformer(), timm.create_model("vit_base_patch16_224", num_classes=0)
    assert {n: t.shape for n, t in own.state_dict().items()} == {
        n: t.shape for n, t in timms.state_dict().items()
    }


def test_hidden_patches_are_not_seen():
    encoder, images = small_encoder(), noise(2, 3, 32, 32)
    mask = mask_patches(noise(2, 16, seed=1), 0.75)
    changed = images + unpatchify(mask.hidden.unsqueeze(2).float().expand(-1, -1, 192), 8, (4, 4))
    assert not torch.equal(changed, images)
    torch.testing.assert_close(encoder(changed, mask.kept), encoder(images, mask.kept), atol=0, rtol=0)


def test_the_order_of_visible_patches_does_not_matter():
    encoder, images = small_encoder(), noise(1, 3, 32, 32)
    kept = torch.tensor([[3, 0, 9, 12]])
    order = torch.tensor([2, 0, 3, 1])
    first, second = encoder(images, kept), encoder(images, kept[:, order])
    torch.testing.assert_close(first[:, 1:][:, order], second[:, 1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first[:, 0], second[:, 0], atol=1e-5, rtol=1e-5)


def test_positions_can_be_kept_as_the_weights_have_them():
    body = vision_transformer(**SMALL)
    body.pos_embed.data.normal_()
    before = body.pos_embed.clone()
    encoder = MaskedEncoder(body, pos_embed="kept")
    assert torch.equal(encoder.body.pos_embed, before)
    assert not encoder.body.pos_embed.requires_grad


def test_encoding_a_quarter_of_vit_bs_patches_takes_at_most_0_3_of_the_operations():
    with torch.device("meta"):
        encoder, images = MaskedEncoder(vision_transformer()), torch.empty(4, 3, 224, 224)
        kept = torch.empty(4, 49, dtype=torch.int64)
    counts = []
    for chosen in (kept, None):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(images, chosen)
        counts.append(counter.get_total_flops())
    assert counts[0] <= 0.30 * counts[1]


def test_encoding_a_quarter_of_the_patches_takes_at_most_0_4_of_the_time():
    encoder = small_encoder(image_size=224, patch_size=16, width=192, depth=4, heads=3)
    images, kept = noise(4, 3, 224, 224), mask_patches(noise(4, 196), 0.75).kept

    def seconds(chosen: torch.Tensor | None) -> float:
        began = time.process_time()
        encoder(images, chosen)
        return time.process_time() - began

    with torch.no_grad():
        encoder(images)
        rounds = [seconds(kept) / seconds(None) for _ in range(7)]
    assert sorted(rounds)[3] <= 0.40


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (nn.Linear(1, 1), "'Linear' is not a plain vision transformer"),
        (VisionTransformer(32, 8, embed_dim=32, depth=1, num_heads=4, reg_tokens=2), "not exactly one token"),
        (
            VisionTransformer(
                32, 8, embed_dim=32, depth=1, num_heads=4, class_token=False, global_pool="avg"
            ),
            "not exactly one token",
        ),
        (
            VisionTransformer(32, 8, embed_dim=32, depth=1, num_heads=4, pos_embed="none"),
            "no position embedding",
        ),
        (
            VisionTransformer(32, 8, embed_dim=32, depth=1, num_heads=4, global_pool="avg"),
            "after its pooling",
        ),
        (VisionTransformer(32, 8, in_chans=1, embed_dim=32, depth=1, num_heads=4), "reads 1 channels"),
    ],
)
def test_networks_that_cannot_be_masked_are_refused(body, problem):
    with pytest.raises(InputError, match=problem):
        MaskedEncoder(body)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"image_size": 33}, "do not divide images of 33x33"), ({"heads": 5}, "does not divide into 5 heads")],
)
def test_sizes_that_do_not_fit_are_refused(changes, problem):
    with pytest.raises(InputError, match=problem):
        vision_transformer(**(SMALL | changes))


@pytest.mark.parametrize(("side", "patch"), [(32, 4), (32, 16), (448, 16)])
def test_small_and_large_images_and_patches_are_encoded(side, patch):
    encoder = small_encoder(image_size=side, patch_size=patch, depth=1)
    patches = (side // patch) ** 2
    kept = mask_patches(noise(1, patches), 0.75).kept
    assert encoder(noise(1, 3, side, side), kept).shape == (1, 1 + patches // 4, 32)


# --- initialisation ---------------------------------------------------------------------------------------------


def test_fresh_weights_have_the_published_spread():
    torch.manual_seed(0)
    body = vision_transformer(depth=1)
    block = body.blocks[0]
    assert block.attn.qkv.weight.std().item() == pytest.approx((2 / (768 + 2304)) ** 0.5, rel=0.01)
    assert body.patch_embed.proj.weight.std().item() == pytest.approx((2 / (768 + 768)) ** 0.5, rel=0.01)
    assert body.cls_token.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(not bias.any() for name, bias in body.named_parameters() if name.endswith("bias"))
    assert all((norm.weight == 1).all() for norm in body.modules() if isinstance(norm, nn.LayerNorm))


def test_attention_of_pytorch_is_initialised_as_three_matrices():
    attention = nn.MultiheadAttention(96, 4)
    xavier_initialise(attention)
    assert attention.in_proj_weight.abs().max().item() == pytest.approx((6 / (96 + 96)) ** 0.5, rel=0.01)


# --- the decoder ------------------------------------------------------------------------------------------------


def test_without_blocks_each_patch_is_predicted_from_its_own_token_and_place():
    torch.manual_seed(0)
    decoder = PatchDecoder(8, (2, 3), values=5, width=16, depth=0, heads=2)
    nn.init.normal_(decoder.mask_token)
    mask = mask_patches(noise(2, 6), 0.5)
    tokens = noise(2, 4, 8, seed=1)
    found = decoder(tokens, mask.restore)
    table = sincos_pos_embed((2, 3), 16).float()[0, 1:]
    for image in range(2):
        for patch in range(6):
            seen = (mask.kept[image] == patch).nonzero()
            token = decoder.embed(tokens[image, 1 + seen[0, 0]]) if len(seen) else decoder.mask_token[0, 0]
            expected = decoder.predict(decoder.norm(token + table[patch]))
            torch.testing.assert_close(found[image, patch], expected, atol=1e-5, rtol=1e-5)
