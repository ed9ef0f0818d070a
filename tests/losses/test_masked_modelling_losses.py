"""Losses of masked modelling by hand, by loops, and by their invariances."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from modicum.engine.training.meters import saved_tensors
from modicum.losses import (
    masked_modelling,
    masked_patch_loss,
    masked_token_loss,
    normalised_patches,
    patch_errors,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_hidden(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def test_docstring_examples_run():
    assert doctest.testmod(masked_modelling).failed == 0


# --- patches ----------------------------------------------------------------------------------------------------


def test_a_constant_patch_becomes_zeros():
    for value in (0.0, 0.5, -2.0):
        assert not normalised_patches(torch.full((1, 2, 3072), value)).any()
    # Otherwise up to the rounding of the mean, which the floor of the deviation, 0.001, magnifies.
    assert normalised_patches(torch.full((1, 2, 3072), 0.37)).abs().max() < 1e-3


def test_a_normalised_patchs_mean_square_is_n_minus_1_over_n():
    patches = normalised_patches(noise(2, 3, 3072))
    torch.testing.assert_close(patches.square().mean(2), torch.full((2, 3), 3071 / 3072), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches.mean(2), torch.zeros(2, 3), atol=1e-5, rtol=0)


@given(st.floats(0.2, 5), st.floats(-3, 3))
@settings(max_examples=30)
def test_brightness_and_contrast_of_patches_do_not_change_the_loss(factor, shift):
    patches, predicted, hidden = noise(2, 4, 48), noise(2, 4, 48, seed=1), some_hidden(2, 4)
    before = masked_patch_loss(predicted, normalised_patches(patches), hidden)
    after = masked_patch_loss(predicted, normalised_patches(factor * patches + shift), hidden)
    assert after.item() == pytest.approx(before.item(), abs=1e-3)


def test_the_loss_is_its_formula_patch_by_patch():
    predicted, target, hidden = noise(3, 5, 12), noise(3, 5, 12, seed=1), some_hidden(3, 5)
    errors = [
        sum((predicted[b, p, j].item() - target[b, p, j].item()) ** 2 for j in range(12)) / 12
        for b in range(3)
        for p in range(5)
        if hidden[b, p]
    ]
    found = masked_patch_loss(predicted, target, hidden).item()
    assert found == pytest.approx(sum(errors) / len(errors), abs=1e-6)


def test_visible_patches_do_not_count():
    predicted, target, hidden = noise(3, 5, 12), noise(3, 5, 12, seed=1), some_hidden(3, 5)
    other = torch.where(hidden.unsqueeze(2), predicted, 1e3)
    assert torch.equal(masked_patch_loss(other, target, hidden), masked_patch_loss(predicted, target, hidden))


def test_with_as_many_hidden_patches_each_the_loss_is_the_mean_over_images():
    predicted, target = noise(3, 4, 12), noise(3, 4, 12, seed=1)
    hidden = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0]], dtype=torch.bool)
    errors = patch_errors(predicted, target, hidden)
    assert errors.shape == (3,)
    assert masked_patch_loss(predicted, target, hidden).item() == pytest.approx(errors.mean().item())


def test_half_precision_predictions_are_compared_in_single():
    predicted, target, hidden = noise(1, 2, 3072).bfloat16(), noise(1, 2, 3072), some_hidden(1, 2)
    assert masked_patch_loss(predicted, target, hidden).dtype == torch.float32
    torch.testing.assert_close(
        masked_patch_loss(predicted, target, hidden), masked_patch_loss(predicted.float(), target, hidden)
    )


# --- words ------------------------------------------------------------------------------------------------------


def test_equal_scores_cost_the_logarithm_of_the_vocabulary():
    loss = masked_token_loss(torch.zeros(5, 30_000), torch.arange(5))
    assert loss.item() == pytest.approx(math.log(30_000), abs=1e-4)


def test_no_position_gives_zero_and_zero_gradients():
    logits = torch.zeros(0, 7, requires_grad=True)
    loss = masked_token_loss(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 7)


def test_the_mean_over_parts_with_their_mean_count_is_that_of_the_whole():
    logits, words = noise(10, 7), torch.arange(10) % 7
    count = torch.tensor(5.0)
    parts = [masked_token_loss(logits[part], words[part], count) for part in (slice(0, 3), slice(3, 10))]
    assert torch.stack(parts).mean().item() == pytest.approx(F.cross_entropy(logits, words).item(), abs=1e-6)


def test_a_head_at_masked_positions_alone_has_the_loss_of_all_positions_and_at_most_0_6_of_its_memory():
    head = torch.nn.Linear(32, 2_000)
    words = torch.arange(400).reshape(4, 100)
    hidden = torch.rand(4, 100, generator=torch.Generator().manual_seed(0)) < 0.5
    kept, losses = [], []
    for everywhere in (True, False):
        features = noise(4, 100, 32).requires_grad_()
        with saved_tensors([*head.parameters(), features]) as account:
            if everywhere:
                ignored = words.masked_fill(~hidden, -100)
                loss = F.cross_entropy(head(features).flatten(0, 1), ignored.flatten())
            else:
                loss = masked_token_loss(head(features[hidden]), words[hidden])
        kept.append(account.bytes)
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert kept[1] <= 0.6 * kept[0]
