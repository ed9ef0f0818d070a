"""Decisions over a set are made by networks in evaluation mode, without gradients, once for each row."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from modicum.engine.model import method_parts
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.scoring import CollectedOutputs, decided
from modicum.errors import InputError
from modicum.methods import Decision, Rows
from modicum.tasks import Classification, task_class

TASK = Classification("multi-class", ["a", "b", "c"])
ROWS = Rows(["x", "y"], [None] * 2, [None] * 2, [None] * 2)


class Head(nn.Module):
    """A stage whose network decides; half of what it gets is dropped in training."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))


def method(decide, *stages):
    return SimpleNamespace(name="made", stages=lambda: stages, decide=decide)


def test_the_networks_that_decide_are_in_evaluation_mode_and_afterwards_as_they_were():
    stage = Head()
    stage.network[1].eval()
    outputs = torch.ones(2, 4)
    found = decided(method(lambda outputs, rows: Decision(stage.network(outputs)), stage), outputs, ROWS)
    assert not found.outputs.requires_grad
    torch.testing.assert_close(found.outputs, stage.network[1](outputs))
    assert [module.training for module in stage.modules()] == [True, True, True, False]


@pytest.mark.parametrize(
    "decision",
    [Decision(torch.zeros(1, 3)), Decision(torch.zeros(2, 3), {"cluster": np.zeros(3)})],
)
def test_another_number_of_answers_than_of_images_is_refused(decision):
    with pytest.raises(InputError, match="decided over 2 images and gave another number of values"):
        decided(method(lambda outputs, rows: decision), torch.zeros(2, 4), ROWS)


def test_rows_that_two_processes_have_seen_are_decided_once_and_in_the_order_of_the_data():
    collected, other, asked = CollectedOutputs(), CollectedOutputs(), []
    collected.take(torch.tensor([[3.0], [1.0]]), {"row": torch.tensor([3, 1]), "label": torch.tensor([0, 1])})
    other.take(torch.tensor([[2.0], [1.0]]), {"row": torch.tensor([2, 1]), "label": torch.tensor([2, 1])})
    collected.merge([other])

    def decide(outputs, rows):
        asked.append((outputs.flatten().tolist(), rows.tolist()))
        return Decision(torch.eye(3)[torch.tensor([1, 2, 0])])

    scores = TASK.scores()
    rows, _ = collected.decided(decide, scores)
    assert asked == [([1.0, 2.0, 3.0], [1, 2, 3])]
    assert rows.tolist() == [1, 2, 3]
    assert scores.metrics()["accuracy"] == 1


def test_a_decision_over_a_set_is_refused_for_predictions_that_are_pictures(monkeypatch):
    decides = SimpleNamespace(tasks=("image-to-image",), decides_over="set")
    monkeypatch.setattr("modicum.engine.model.method_class", lambda name: decides)
    task = task_class("image-to-image").from_options({}, None)
    recipe = make_recipe("data", "reggan", {})
    with pytest.raises(
        InputError, match="decides over a set of images, which task 'image-to-image' predicts one"
    ):
        method_parts(recipe, task, {}, lambda: None)
