"""PaCo against its paper and code: anchors, the momentum encoder, what is kept; and its loss entry by entry."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.losses import PaCoLoss
from modicum.losses.parametric_contrastive import EMPTY
from modicum.methods.base import Context
from modicum.methods.paco import PaCo
from modicum.nn import Backbone
from modicum.nn.momentum_copy import MomentumCopy
from modicum.tasks import task_from_dict


def made(training=None, **settings):
    torch.manual_seed(0)
    task = task_from_dict(
        {"name": "classification", "kind": "multi-class", "classes": ["a", "b", "c"], "ordered": False,
         "specificity": 0.95}
    )  # fmt: skip
    context = Context(
        task, lambda: Backbone("test_resnet", (32, 32)), {"label": np.array([0] * 6 + [1, 1, 2])}, {},
        image_size=(32, 32), training=training or {}, stage_training={"tune": training or {}},
    )  # fmt: skip
    given = {"queue": 6, "projection": 8, "query_augment": "none", "key_augment": "none", **settings}
    return PaCo(PaCo.Config(**given), context)


def batch():
    torch.manual_seed(1)
    return {"image": torch.rand(4, 3, 32, 32), "label": torch.tensor([0, 1, 2, 0])}


def as_in_the_code(query, key, old, labels, old_labels, logits, prior, t, alpha, beta=1.0, gamma=1.0):
    """The code's loss (folder LT), anchor by anchor: queries against centres, queries, keys and queue."""
    others, of_others = torch.cat([query, key, old]), torch.cat([labels, labels, old_labels])
    losses = []
    for i in range(len(query)):
        centres = [logits[i, c].item() + math.log(prior[c].item() + 1e-9) for c in range(len(prior))]
        similar = {j: (query[i] @ others[j]).item() / t for j in range(len(others)) if j != i}
        total = math.log(sum(map(math.exp, centres)) + gamma * sum(map(math.exp, similar.values())))
        weighted = beta * (centres[labels[i]] - total)
        positive = [j for j in similar if of_others[j] == labels[i]]
        weighted += alpha * sum(similar[j] - total for j in positive)
        losses.append(-weighted / (beta + alpha * len(positive)))
    return sum(losses) / len(losses)


def test_the_loss_is_that_of_the_code_entry_by_entry():
    torch.manual_seed(0)
    query, key, old = (F.normalize(torch.randn(n, 5, dtype=torch.float64), dim=1) for n in (4, 4, 6))
    labels, old_labels = torch.tensor([0, 1, 2, 0]), torch.randint(3, (6,))
    logits, prior = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0.7, 0.2, 0.1]).double()
    loss = PaCoLoss(5, prior, queue=6, temperature=0.2, alpha=0.05).double().eval()
    loss.queue.vectors.copy_(old)
    loss.queue.labels.copy_(old_labels)
    expected = as_in_the_code(query, key, old, labels, old_labels, logits, prior, 0.2, 0.05)
    assert loss(query, key, labels, logits).item() == pytest.approx(expected, abs=1e-8)


def test_the_closed_form_of_gpaco_where_both_views_are_alike():
    """All zero: queries alone as anchors have the mean that both views have, 3.786685 with these labels and prior."""
    loss = PaCoLoss(5, torch.tensor([100.0, 30.0, 10.0]) / 140, queue=8).eval()
    loss.queue.labels.copy_(torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]))
    zero = torch.zeros(4, 5)
    found = loss(zero, zero, torch.tensor([0, 1, 2, 0]), torch.zeros(4, 3))
    assert found.item() == pytest.approx(3.786685, abs=1e-5)


def test_a_copy_follows_by_its_momentum_and_learns_nothing_itself():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    copied = MomentumCopy(network, 0.9)
    assert not list(copied.parameters())
    assert set(copied.module.state_dict()) == set(network.state_dict())
    before = {name: value.clone() for name, value in copied.module.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    images = torch.rand(8, 3)
    network(images)
    copied.follow()
    for name, parameter in network.named_parameters():
        expected = 0.9 * before[name] + 0.1 * parameter
        assert torch.allclose(copied.module.state_dict()[name], expected, atol=1e-6)
    assert torch.equal(
        copied.module[1].running_mean, before["1.running_mean"]
    )  # of what it has seen: nothing
    answer = copied(images)
    assert not answer.requires_grad
    assert not torch.equal(copied.module[1].running_mean, before["1.running_mean"])
    copied.start()
    assert torch.equal(copied.module[0].weight, network[0].weight)


def test_a_step_moves_the_network_by_gradients_and_its_followers_by_momentum():
    stage = made(momentum=0.5).stages()[0].train()
    stage.on_epoch_start(0)
    first = {name: value.clone() for name, value in stage.followers[0].module.named_buffers()}
    stage.losses(batch())["contrast"].backward()
    assert all(parameter.grad is not None for parameter in stage.parameters())
    with torch.no_grad():
        for parameter in stage.updates()[0].parameters:
            parameter -= 0.1 * parameter.grad
    assert stage.contrast.queue.labels.tolist() == [0, 1, 2, 0, EMPTY, EMPTY]
    stage.losses(batch())
    for name, parameter in stage.network.backbone.named_parameters():
        expected = 0.5 * first[name] + 0.5 * parameter
        assert torch.allclose(stage.followers[0].module.get_buffer(name), expected, atol=1e-6)


def test_only_the_network_is_kept_and_a_loss_of_the_users_is_refused():
    method = made()
    assert method.stages()[0].persistent_modules() == ("network",)
    assert method.predictor()(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert method.stages()[0].contrast.prior.tolist() == pytest.approx([6 / 9, 2 / 9, 1 / 9])
    with pytest.raises(InputError, match="loss='focal' has no effect: paco learns by PaCo's loss"):
        made(training={"loss": "focal"})
