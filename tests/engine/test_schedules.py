"""Schedules by epochs and by the training loss, against PyTorch's own and the figures of Huang et al."""

import json
import math

import pytest
import torch
from torch.optim import lr_scheduler

from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.schedule import Schedule
from modicum.errors import InputError

STEPS = 7


def by_epoch(epochs=25, lr=1e-3, losses=None, **settings) -> list[float]:
    """The rate of each epoch, which must be the same in all of its steps."""
    schedule = Schedule(TrainingSettings(epochs=epochs, lr=lr, warmup_epochs=0, **settings))
    rates = []
    for epoch in range(epochs):
        factors = {schedule.factor(epoch * STEPS + step, STEPS) for step in range(STEPS)}
        assert len(factors) == 1
        rates.append(lr * factors.pop())
        if losses is not None:
            schedule.epoch_ended(losses[epoch])
    return rates


def pytorchs(scheduler_of, epochs, lr, losses=None) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = scheduler_of(optimizer)
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*(() if losses is None else (losses[epoch],)))
    return rates


def test_cosine_by_epoch_has_the_published_rates():
    rates = by_epoch(schedule_by="epoch")
    published = {1: 1e-3, 2: 9.96057e-4, 13: 5.31395e-4, 14: 4.68605e-4, 25: 3.94265e-6}
    for epoch, rate in published.items():
        assert rates[epoch - 1] == pytest.approx(rate, rel=1e-5)


def test_clipped_cosine_is_a_cosine_to_zero_that_stops_at_its_floor():
    rates = by_epoch(schedule_by="epoch", schedule="clipped_cosine", min_lr=1e-4)
    cosine = [1e-3 * (1 + math.cos(math.pi * epoch / 25)) / 2 for epoch in range(25)]
    assert rates == pytest.approx([max(1e-4, rate) for rate in cosine])
    assert rates[-1] == 1e-4 > cosine[-1]


def test_exponential_and_multi_step_are_pytorchs():
    assert by_epoch(schedule="exponential") == pytest.approx(
        pytorchs(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.6), 25, 1e-3)
    )
    milestones = [3, 4, 20]
    assert by_epoch(schedule="multi_step", milestones=milestones, gamma=0.3) == pytest.approx(
        pytorchs(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, milestones, 0.3), 25, 1e-3)
    )


def test_no_schedule_falls_below_the_lowest_rate():
    assert min(by_epoch(schedule="exponential", min_lr=1e-4)) == pytest.approx(1e-4)


LOSSES = [1.0, 0.9, 0.9, 0.95, 0.9, 0.91, 0.9, 0.89, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]


def test_plateau_is_pytorchs_and_goes_on_after_a_kill():
    theirs = pytorchs(
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2),
        len(LOSSES),
        0.01,
        LOSSES,
    )
    settings = {"schedule": "plateau", "plateau_patience": 2}
    assert by_epoch(len(LOSSES), 0.01, LOSSES, **settings) == pytest.approx(theirs)
    assert len(set(theirs)) == 3, "the losses must lower the rate twice"

    recipe = TrainingSettings(epochs=len(LOSSES), lr=0.01, warmup_epochs=0, **settings)
    for killed in range(len(LOSSES)):
        before, after = Schedule(recipe), Schedule(recipe)
        for loss in LOSSES[:killed]:
            before.epoch_ended(loss)
        after.restore(json.loads(json.dumps(before.state())))
        for epoch, loss in list(enumerate(LOSSES))[killed:]:
            assert 0.01 * after.factor(epoch * STEPS, STEPS) == pytest.approx(theirs[epoch])
            after.epoch_ended(loss)


def test_warm_up_by_epoch_rises_by_whole_shares():
    schedule = Schedule(TrainingSettings(epochs=10, warmup_epochs=4, schedule_by="epoch"))
    assert [schedule.factor(epoch * STEPS, STEPS) for epoch in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_lowest_rate_above_the_first_is_refused():
    from modicum.engine.recipe.validation import validated

    with pytest.raises(InputError, match="min_lr"):
        validated(TrainingSettings, {"lr": 1e-4, "schedule": "exponential", "min_lr": 1e-3}, "settings")
