"""What a record takes, what it keeps of keys and values, and that its beginning is a record of fewer tokens."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from modicum.data.stores.shard_format import RecordSpec
from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.key_value_taps import KeyValueTaps

KINDS = ("float32", "float16", "bfloat16", "int8", "lowrank4")


def features(batch=2, layers=3, heads=2, tokens=20, head_dim=16, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    channels = torch.rand(layers, 2, heads, 1, head_dim, generator=generator) * 3 + 0.05
    return size * channels * torch.randn(batch, layers, 2, heads, tokens, head_dim, generator=generator)


def restored(codec, given_features):
    keys, values = codec.decode(codec.encode(given_features)).dense()
    return torch.stack([keys, values], 2)


# --- bytes: the tables of the specification, for ViT-B/16 at 512 pixels and a fifth of its tokens --------------------


@pytest.mark.parametrize(
    ("kind", "twelve_layers", "six_layers"),
    [
        ("float32", 15_114_240, 7_557_120),
        ("float16", 7_557_120, 3_778_560),
        ("bfloat16", 7_557_120, 3_778_560),
        ("int8", 3_815_424, 1_907_712),
        ("lowrank8", 1_239_552, 619_776),
    ],
)
def test_bytes_of_a_record(kind, twelve_layers, six_layers):
    codec = FeatureCodec(kind, 205, 64)
    for layers, expected in ((12, twelve_layers), (6, six_layers)):
        assert layers * 2 * 12 * codec.record_bytes_per_head == expected
        record = codec.encode(torch.zeros(1, layers, 2, 12, 205, 64))
        assert record.nbytes == expected


def test_padded_to_pages_a_half_precision_record_is_1845_or_923_pages():
    for layers, pages in ((12, 1845), (6, 923)):
        assert RecordSpec("float16", (layers, 2, 12, 205, 64), 4096).stride == pages * 4096
    assert 923 * 4096 == 3_780_608


# --- precision ----------------------------------------------------------------------------------------------------


def test_single_precision_is_exact():
    given_features = features()
    assert torch.equal(restored(FeatureCodec("float32", 20, 16), given_features), given_features)


def test_half_precision_is_the_nearest_half_precision_number():
    given_features = features()
    for kind, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        found = restored(FeatureCodec(kind, 20, 16), given_features)
        assert torch.equal(found, given_features.to(dtype).float())


def test_bfloat16_survives_numpy_which_does_not_know_it():
    codec, given_features = FeatureCodec("bfloat16", 20, 16), features(size=1e9)
    stored = np.array(codec.encode(given_features).numpy())
    assert stored.dtype == np.int16
    keys, _ = codec.decode(torch.from_numpy(stored)).dense()
    assert torch.equal(keys, given_features[:, :, 0].bfloat16().float())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(-30, 18))
def test_int8_is_within_half_a_step_of_each_channel(seed, power):
    """A step is the channel's largest value over 127, a little more for rounding; never less than 2^-14."""
    given_features = features(seed=seed, size=2.0**power)
    found = restored(FeatureCodec("int8", 20, 16), given_features)
    largest = given_features.abs().amax(-2, keepdim=True)
    step = (largest / 127 * (1 + 2**-9)).clamp_min(2**-14)
    assert ((found - given_features).abs() <= 0.5 * step * (1 + 1e-5)).all()


@settings(deadline=None, max_examples=100)
@given(st.floats(2**-14, 6e4, width=32), st.integers(1, 5))
def test_the_largest_value_of_a_channel_never_overflows_int8(scale, sign):
    """Were the scale rounded down, the largest value would be cut off at 127 steps."""
    value = scale * 127 * (-1) ** sign
    given_features = torch.full((1, 1, 2, 1, 3, 2), value) * torch.tensor([1.0, -0.5])
    record = FeatureCodec("int8", 3, 2).encode(given_features)
    steps = record[..., 4:].view(torch.int8)
    assert steps.abs().max() in (126, 127)
    found = restored(FeatureCodec("int8", 3, 2), given_features)
    torch.testing.assert_close(found, given_features, atol=0, rtol=0.009)


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_low_rank_is_the_best_approximation_of_its_rank(rank):
    """Eckart and Young: its squared error is the sum of the squares of the singular values left out."""
    given_features = features(seed=3)
    found = restored(FeatureCodec(f"lowrank{rank}", 20, 16), given_features)
    left, values, right = torch.linalg.svd(given_features.double(), full_matrices=False)
    best = (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]
    smallest = values[..., rank:].square().sum(-1).sqrt()
    error = (found - given_features).double().flatten(-2).norm(dim=-1)
    torch.testing.assert_close(error, smallest, atol=0.02, rtol=1e-3)
    torch.testing.assert_close(found.double(), best, atol=0.02, rtol=0.01)
    assert (torch.linalg.matrix_rank(found, rtol=1e-4) == rank).all()


def context_error(kind, found, asked):
    """Relative error of what queries read from stored tokens."""
    codec = FeatureCodec(kind, found.shape[-2], 64)
    keys, values = found[:, :, 0], found[:, :, 1]
    exact = (asked @ keys.transpose(-2, -1) / 8).softmax(-1) @ values
    read = codec.decode(codec.encode(found)).attend(asked)
    return float((read - exact).norm() / exact.norm())


@pytest.mark.parametrize(("kind", "most"), [("float16", 6e-5), ("bfloat16", 5e-4), ("int8", 1.5e-3)])
def test_error_of_what_first_prompts_read_of_a_smooth_image(kind, most):
    """The specification's case, a random network and prompts near zero: measured there 3e-5, 2.4e-4 and 9e-4."""
    torch.manual_seed(0)
    backbone = Backbone("vit_tiny_patch16_224", (384, 384)).eval()
    image = F.interpolate(torch.rand(1, 3, 6, 6), (384, 384), mode="bilinear") * 2 - 1
    found = KeyValueTaps(backbone, [6, 11])(image)
    prompts = F.layer_norm(1e-6 * torch.randn(1, 2, 16, 192), (192,))
    asked = prompts.unflatten(-1, (3, 64)).transpose(2, 3)
    assert most / 10 < context_error(kind, found, asked) < most


@pytest.mark.parametrize(
    ("kind", "most"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 8e-3), ("int8", 2e-2)]
)
def test_error_of_what_sharp_queries_read_of_noise(kind, most):
    """The hard case: keys' errors move the attention, and values cancel in the mean."""
    asked = torch.randn(1, 2, 12, 16, 64, generator=torch.Generator().manual_seed(1))
    assert context_error(kind, features(1, 2, 12, 205, 64), asked) < most


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [7e4, -7e4])
def test_what_half_precision_cannot_hold_is_refused_with_a_remedy(value):
    given_features = features()
    given_features[1, 2, 0, 1, 3, 4] = value
    with pytest.raises(InputError, match="float16 can hold; set store_dtype=bfloat16 or float32"):
        FeatureCodec("float16", 20, 16).encode(given_features)
    assert torch.isfinite(restored(FeatureCodec("int8", 20, 16), given_features)).all()
    assert torch.isfinite(restored(FeatureCodec("bfloat16", 20, 16), given_features)).all()


def test_what_int8_cannot_hold_is_refused_with_a_remedy():
    given_features = features()
    given_features[1, 2, 0, 1, 3, 4] = 9e6
    with pytest.raises(InputError, match="too much for int8 with float16 scales; set store_dtype=bfloat16"):
        FeatureCodec("int8", 20, 16).encode(given_features)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_is_refused(kind, value):
    """Stored, it would spoil every image of the batch without a word."""
    given_features = features()
    given_features[1, 2, 0, 1, 3, 4] = value
    with pytest.raises(InputError, match="not finite numbers; check the backbone's weights"):
        FeatureCodec(kind, 20, 16).encode(given_features)


def test_unknown_kinds_are_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="float16"):
        FeatureCodec("flaot16", 20, 16)
    for kind in ("lowrank0", "lowrank", "lowrank-1", "int4"):
        with pytest.raises(InputError):
            FeatureCodec(kind, 20, 16)


def test_a_rank_that_saves_nothing_is_refused():
    with pytest.raises(InputError, match="choose a rank below 16, or int8"):
        FeatureCodec("lowrank16", 20, 16)


# --- prefix -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_part_of_a_record_is_a_record_of_the_first_tokens(kind):
    codec, given_features = FeatureCodec(kind, 20, 16), features()
    record = codec.encode(given_features)
    part = record[(slice(None), slice(1, 3), slice(None), slice(None), *codec.token_part(7))]
    keys, values = FeatureCodec(kind, 7, 16).decode(part.contiguous()).dense()
    whole = restored(codec, given_features)[:, 1:3]
    assert torch.equal(keys, whole[:, :, 0, :, :7])
    assert torch.equal(values, whole[:, :, 1, :, :7])


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_copies_nothing(kind):
    codec = FeatureCodec(kind, 20, 16)
    record = codec.encode(features())
    tokens = codec.decode(record)
    for part in (tokens.keys, tokens.values):
        assert part.untyped_storage().data_ptr() == record.untyped_storage().data_ptr()


def test_int8_needs_an_even_number_of_features():
    with pytest.raises(InputError, match="even number of features"):
        FeatureCodec("int8", 5, 3)
