"""Attention over stored tokens against attention written out, in value and gradient, and what it keeps."""

import pytest
import torch

from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.frozen_tokens import FrozenTokens

KINDS = ("float32", "float16", "bfloat16", "int8", "lowrank4")
BATCH, LAYERS, HEADS, TOKENS, DIM, PROMPTS = 3, 2, 2, 20, 16, 5


def stored(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(BATCH, LAYERS, 2, HEADS, TOKENS, DIM, generator=generator)
    codec = FeatureCodec(kind, TOKENS, DIM)
    record = codec.encode(features)
    return record, codec.decode(record)


def queries(batch, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(batch, LAYERS, HEADS, PROMPTS, DIM, generator=generator, dtype=torch.float64)
    return made.to(dtype).requires_grad_(True)


def written_out(asked, tokens):
    keys, values = tokens.dense()
    attention = (asked @ keys.transpose(-2, -1).to(asked) / DIM**0.5).softmax(-1)
    return attention @ values.to(asked)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, BATCH])
def test_value_and_gradient_are_those_of_attention_written_out(kind, batch):
    _, tokens = stored(kind)
    weights = torch.randn(BATCH, LAYERS, HEADS, PROMPTS, DIM, generator=torch.Generator().manual_seed(2))
    found, expected = queries(batch), queries(batch)
    read, reference = tokens.attend(found), written_out(expected, tokens)
    torch.testing.assert_close(read, reference, atol=1e-5, rtol=1e-5)
    (read * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, atol=1e-5, rtol=1e-4)
    assert found.grad.shape == found.shape


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_value_and_gradient_are_close(kind):
    _, tokens = stored(kind)
    found, expected = queries(1), queries(1)
    with torch.autocast("cpu", torch.bfloat16):
        read = tokens.attend(found)
    assert read.dtype == torch.bfloat16
    reference = written_out(expected, tokens)
    torch.testing.assert_close(read.float(), reference, atol=0.05, rtol=0.05)
    read.float().square().sum().backward()
    reference.square().sum().backward()
    error = (found.grad - expected.grad).norm() / expected.grad.norm()
    assert error < 0.03
    assert found.grad.dtype == torch.float32


def test_the_gradient_is_the_slope_of_the_value():
    """Finite differences; the softmax is in single precision, hence the wide steps."""
    _, tokens = stored("float32")
    asked = queries(1, dtype=torch.float64)
    assert torch.autograd.gradcheck(tokens.attend, (asked,), eps=1e-2, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_only_queries_and_the_stored_tokens_are_kept_for_the_backward_pass(kind):
    record, tokens = stored(kind)
    asked, kept = queries(1), []

    def note(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        tokens.attend(asked)
    own = {record.untyped_storage().data_ptr(), asked.untyped_storage().data_ptr()}
    assert {tensor.untyped_storage().data_ptr() for tensor in kept} == own


def test_stored_tokens_receive_no_gradient():
    keys = torch.randn(BATCH, LAYERS, HEADS, TOKENS, DIM, requires_grad=True)
    values = torch.randn(BATCH, LAYERS, HEADS, TOKENS, DIM, requires_grad=True)
    FrozenTokens(keys, values).attend(queries(1)).sum().backward()
    assert keys.grad is None
    assert values.grad is None


def test_equal_keys_are_read_as_the_mean_of_the_values():
    values = torch.randn(BATCH, LAYERS, HEADS, TOKENS, DIM)
    read = FrozenTokens(torch.zeros_like(values), values).attend(queries(1))
    torch.testing.assert_close(read, values.mean(3, keepdim=True).expand(-1, -1, -1, PROMPTS, -1))


def test_the_order_of_tokens_does_not_matter():
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(BATCH, LAYERS, 2, HEADS, TOKENS, DIM, generator=generator)
    order = torch.rand(BATCH, LAYERS, 1, HEADS, TOKENS, 1, generator=generator).argsort(-2)
    shuffled = features.take_along_dim(order, -2)
    assert not torch.equal(shuffled, features)
    read, again = (FrozenTokens(f[:, :, 0], f[:, :, 1]).attend(queries(1)) for f in (features, shuffled))
    torch.testing.assert_close(read, again, atol=1e-5, rtol=0)
