"""The anchor of RegGAN's registration: what settles the shift that the paper's losses leave open."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reggan_loop import pairs, stage_of

from modicum.losses import correction_loss, smoothness_loss
from modicum.methods.reggan.stages import ANCHOR_MEMORY
from modicum.nn import warp


def field_of(rows: float, columns: float, spread: torch.Tensor) -> torch.Tensor:
    """Two images' displacements: a common shift, and what is opposite in the two."""
    shift = torch.tensor([rows, columns]).view(1, 2, 1, 1)
    return shift + torch.stack([spread, -spread])


@given(st.floats(-4, 4), st.floats(-4, 4))
@settings(max_examples=20, deadline=None)
def test_its_gradient_is_the_running_mean_displacement(rows, columns):
    stage = stage_of(anchor_weight=1.0)
    field = field_of(rows, columns, torch.randn(2, 8, 8)).requires_grad_()
    stage._anchor(field).backward()
    running = (1 - ANCHOR_MEMORY) * torch.tensor([rows, columns])
    torch.testing.assert_close(stage.mean_displacement, running, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(field.grad.sum((0, 2, 3)), running, atol=1e-6, rtol=1e-4)


def test_motions_that_have_no_direction_in_common_cost_nothing():
    stage = stage_of(anchor_weight=1.0)
    field = field_of(0, 0, torch.full((2, 8, 8), 5.0))
    assert stage._anchor(field).abs() < 1e-12


def test_the_papers_losses_do_not_see_a_shift_that_registration_takes_back():
    """A picture moved by two rows and a field two rows longer: correction and smoothness are the same, the anchor not."""
    picture = torch.zeros(1, 1, 32, 32)
    picture[:, :, 12:20, 10:22] = torch.rand(1, 1, 8, 12)
    field = torch.zeros(1, 2, 32, 32)
    moved, longer = picture.roll(2, 2), field + torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    # Equal up to what grid_sample's float32 places cost.
    assert correction_loss(warp(moved, longer), picture) < 1e-5
    assert smoothness_loss(longer) == smoothness_loss(field) == 0
    stage = stage_of(anchor_weight=1.0)
    assert stage._anchor(field) == 0
    assert stage._anchor(longer) == pytest.approx(2 * 2 * (1 - ANCHOR_MEMORY))


def test_it_is_off_as_in_the_paper_and_then_part_of_nothing():
    stage = stage_of()
    assert "anchor" not in stage.generator_losses(pairs())
    assert "mean_displacement" not in stage.state_dict()


def test_on_it_is_one_more_loss_and_goes_on_from_a_checkpoint():
    stage, again = stage_of(anchor_weight=0.4), stage_of(anchor_weight=0.4)
    with torch.no_grad():
        stage.registration.displacement.bias += 1.5
    losses = stage.generator_losses(pairs())
    assert losses["anchor"] > 0
    again.load_state_dict(stage.state_dict())
    assert torch.equal(again.mean_displacement, stage.mean_displacement)
    assert again.mean_displacement.abs().min() > 0


def test_validation_leaves_the_running_mean_alone():
    stage = stage_of(anchor_weight=0.4).eval()
    stage._anchor(field_of(3, 3, torch.zeros(2, 8, 8)))
    assert torch.equal(stage.mean_displacement, torch.zeros(2))
