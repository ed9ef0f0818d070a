"""Averaged parameters against the closed form and against timm's implementation."""

import copy

import pytest
import torch
from torch import nn

from modicum.engine.training.averaging import AveragedParameters


def walk(model: nn.Module, steps: int):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn(parameter.shape, generator=generator)
        yield


def test_average_of_a_constant_is_the_constant():
    model = nn.Linear(3, 2)
    average = AveragedParameters(dict(model.named_parameters()), 0.9)
    for _ in range(20):
        average.update()
    assert all(torch.equal(average.average[name], p) for name, p in model.named_parameters())


def test_equals_timms_average_once_the_warmup_is_over():
    from timm.utils import ModelEmaV3

    model = nn.Linear(4, 3)
    decay = 0.1  # the warm-up's (1 + n) / (10 + n) never falls below 0.1, so it plays no part
    average = AveragedParameters(dict(model.named_parameters()), decay)
    theirs = ModelEmaV3(copy.deepcopy(model), decay=decay)
    for _ in walk(model, 25):
        average.update()
        theirs.update(model)
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(average.average[name], value)


def test_first_updates_forget_faster_than_the_decay():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = AveragedParameters(dict(model.named_parameters()), 0.999)
    nn.init.ones_(model.weight)
    average.update()
    assert average.average["weight"].item() == pytest.approx(0.9)  # 1 - (1 + 0) / (10 + 0)


def test_network_has_its_own_weights_back_after_the_block():
    model = nn.Linear(3, 2)
    average = AveragedParameters(dict(model.named_parameters()), 0.9)
    for _ in walk(model, 3):
        average.update()
    own = copy.deepcopy(model.state_dict())
    averaged = {name: value.clone() for name, value in average.average.items()}
    with average.in_network():
        assert all(torch.equal(p, averaged[name]) for name, p in model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in model.named_parameters())
    assert all(torch.equal(average.average[name], averaged[name]) for name in averaged)
