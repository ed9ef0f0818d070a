"""The training step on its own, against loops written by hand in plain PyTorch."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from modicum.engine.training.step import BatchInStep, StepHooks, TrainingStep
from modicum.methods import Update


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batches(count, size=5):
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(size, 3, generator=generator)} for _ in range(count)]


def squared(net):
    return lambda batch: {"size": net(batch["x"]).square().mean()}


def optimizer(net, lr=0.1):
    made = AdamW(net.parameters(), lr=lr, weight_decay=0.01)
    for group in made.param_groups:
        group["peak_lr"] = lr
    return made


def test_batches_of_an_epoch_are_grouped_and_the_last_step_may_have_fewer():
    places = [BatchInStep.at(batch, 5, 2) for batch in range(5)]
    assert places == [
        BatchInStep(2, True, False), BatchInStep(2, False, True),
        BatchInStep(2, True, False), BatchInStep(2, False, True), BatchInStep(1, True, True),
    ]  # fmt: skip


def test_accumulated_batches_take_one_step_on_the_mean_of_their_gradients():
    ours, plain = network(), network()
    step = TrainingStep([Update("all", list(ours.parameters()), squared(ours))], [optimizer(ours)])
    by_hand = AdamW(plain.parameters(), lr=0.1, weight_decay=0.01)
    data = batches(5)
    for number, batch in enumerate(data):
        step(batch, BatchInStep.at(number, len(data), 2))
    for group in (data[:2], data[2:4], data[4:]):
        by_hand.zero_grad()
        (sum(plain(batch["x"]).square().mean() for batch in group) / len(group)).backward()
        by_hand.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_rates_are_the_peak_times_the_schedule_times_the_updates_own_factor_and_gradients_are_clipped():
    net, data = network(), batches(1)[0]
    made = SGD(net.parameters(), lr=1.0)
    made.param_groups[0]["peak_lr"] = 0.5
    update = Update("all", list(net.parameters()), squared(net), lr_factor=lambda epoch: 0.1 * epoch)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    step = TrainingStep([update], [made], clip_norm=1e-3)
    losses, lr = step(data, lr_factor=0.25, epoch=3)
    assert lr == pytest.approx(0.5 * 0.25 * 0.3)
    assert list(losses) == ["size"]
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, net.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(lr * 1e-3, rel=1e-3)


@contextmanager
def noted(events, name):
    events.append(f"{name} {{")
    yield
    events.append("}")


def test_hooks_come_in_the_order_of_the_step_and_only_own_parameters_get_gradients():
    first, second, events = network(0), network(1), []

    def both(batch):
        learning = [any(p.requires_grad for p in net.parameters()) for net in (first, second)]
        events.append(f"losses {learning}")
        return {"sum": (first(batch["x"]) + second(batch["x"])).square().mean()}

    optimizers = [optimizer(first), optimizer(second)]
    step = TrainingStep(
        [Update("a", list(first.parameters()), both), Update("b", list(second.parameters()), both)],
        optimizers,
        release_gradients=True,
        hooks=StepHooks(
            backward=lambda loss: (events.append("backward"), loss.backward())[1],
            no_sync=lambda: noted(events, "no_sync"),
            around_forward=lambda: noted(events, "forward"),
            after=lambda part, own: events.append((part, optimizers.index(own))),
        ),
    )
    data = batches(2)
    step(data[0], BatchInStep(2, True, False))
    forward = ["forward {", "losses [True, False]", "}", "backward", ("backward", 0)]
    other = ["forward {", "losses [False, True]", "}", "backward", ("backward", 1)]
    assert events == ["no_sync {", *forward, "}", "no_sync {", *other, "}"]
    events.clear()
    step(data[1], BatchInStep(2, False, True))
    assert events == [*forward, ("step", 0), *other, ("step", 1)]
    assert all(p.requires_grad and p.grad is None for net in (first, second) for p in net.parameters())


def test_parameters_of_two_updates_learn_in_both_and_frozen_ones_stay_frozen():
    net = network()
    net[0].weight.requires_grad_(False)
    head = list(net[2].parameters())
    updates = [Update("all", list(net.parameters()), squared(net)), Update("head", head, squared(net))]
    made = [optimizer(net), AdamW(head, lr=0.1)]
    made[1].param_groups[0]["peak_lr"] = 0.1
    TrainingStep(updates, made)(batches(1)[0])
    assert not net[0].weight.requires_grad
    assert net[0].weight.grad is None
    assert all(parameter.grad is not None and parameter.requires_grad for parameter in head)
    assert all(parameter in state.state for state in made for parameter in head)
