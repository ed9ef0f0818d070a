"""An update's learning rate by epoch, on top of the run's schedule; files that a stage leaves."""

import json

import pytest
import torch
from small_stages import WIDTH, trainer
from torch import nn

from modicum.methods import TrainStage, Update


class TwoRates(TrainStage):
    """Two updates with constant gradients: the second learns at a fifth of its rate from the second epoch on."""

    name = "tune"

    def __init__(self) -> None:
        super().__init__()
        self.steady = nn.Parameter(torch.zeros(()))
        self.falling = nn.Parameter(torch.zeros(WIDTH))

    def updates(self):
        return [
            Update("steady", [self.steady], lambda batch: {"steady": -self.steady}),
            Update(
                "falling",
                [self.falling],
                lambda batch: {"falling": -self.falling.sum()},
                lr_factor=lambda epoch: 0.2 if epoch >= 1 else 1.0,
            ),
        ]

    def forward(self, batch):
        return torch.eye(3)[batch["label"]]


def test_a_factor_of_an_update_holds_from_its_epoch_on_and_for_that_update_alone(tmp_path):
    stage = TwoRates()
    # SGD without momentum on a constant slope of 1: weights are the sum of the rates. 24 rows make 6 steps an epoch.
    trainer(
        stage, tmp_path, epochs=3, optimizer="sgd", momentum=0, lr=0.01, weight_decay=0, clip_norm=0,
        schedule="constant", select="last",
    ).run()  # fmt: skip
    assert stage.steady.item() == pytest.approx(0.01 * 18)
    assert stage.falling.tolist() == pytest.approx([0.01 * (6 + 0.2 * 12)] * WIDTH)
    steps = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    rates = [step["lr"] for step in steps if step["kind"] == "step"]
    assert rates[:12] == pytest.approx([0.01] * 6 + [0.002] * 6)
