"""Eight images in two steps, seen by one process or shared by two; and what stages keep of them in buffers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from small_stages import WIDTH, Perceptron, stage_data, trainer
from torch import Tensor, nn

from modicum.losses.parametric_contrastive import VectorQueue
from modicum.methods.led.familiarity import Familiarity
from modicum.methods.mixed import MixedConfig, MixedStage
from modicum.methods.reggan.stages import RegGanStage
from modicum.nn.sentence_prototypes import SentencePrototypes
from modicum.tasks import Classification


def gathered_over_steps(rank: int, count: int) -> dict[str, Tensor]:
    """Buffers after two steps of four rows, of which each process has its part."""
    draw = torch.Generator().manual_seed(0)
    images, fields = torch.rand(8, 3, 8, 8, generator=draw), torch.randn(8, 2, 8, 8, generator=draw)
    sentences, present = torch.randn(8, 5, 4, generator=draw), torch.arange(40).view(8, 5) % 3 > 0
    known, bank, queue = Familiarity(3, (8, 8)), SentencePrototypes(6, 4), VectorQueue(6, 4)
    with torch.no_grad():
        bank.prototypes.copy_(torch.randn(6, 4, generator=draw))
    anchor = SimpleNamespace(training=True, mean_displacement=torch.zeros(2))
    for step in torch.arange(8).view(2, 4):
        rows = step.view(count, -1)[rank]
        known.observe(images[rows])
        bank.count_usage(sentences[rows], present[rows])
        RegGanStage._anchor(anchor, fields[rows])  # of a stage it needs nothing else
        queue.enqueue(sentences[rows, 0], rows)
    return {
        "count": known.count,
        "mean": known.mean,
        "squares": known.squares,
        "usage": bank.usage,
        "mean_displacement": anchor.mean_displacement,
        "queue": queue.labels,
    }


class _Counting(nn.Module):
    """A loss that needs the other processes, as with weights of classes, and counts its calls."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.loss = Classification("multi-class", ["a", "b"]).loss(
            {"label": np.array([0, 0, 0, 1])}, {"class_weights": "balanced"}
        )

    def forward(self, outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
        self.calls += 1
        return self.loss(outputs, batch)


def same_decisions(rank: int) -> list[bool]:
    """Whether each of eight batches was mixed, where the processes' generators differ."""
    network, loss = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), _Counting()
    stage = MixedStage(network, loss, MixedConfig(mix_p=0.5), torch.tensor([3, 1]))
    batch = {"image": torch.rand(4, 3, 2, 2), "label": torch.tensor([0, 0, 1, 0])}
    mixed = []
    for step in range(8):
        torch.manual_seed(100 * rank + step)
        before = loss.calls
        sum(stage.losses(batch).values()).backward()
        mixed.append(loss.calls - before == 2)
    return mixed


def without_validation(folder: str) -> dict[str, Tensor]:
    """Running statistics after a training without validation images."""
    stage = Perceptron()
    stage.network = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    trainer(stage, Path(folder) / "stage", stage_data(val=0), batch_size=4, epochs=1, devices=2).run()
    return {name: value.clone() for name, value in stage.network.named_buffers(prefix="network")}


def with_unused_parameters(folder: str, devices: int) -> dict[str, Tensor]:
    """Weights of a stage that names parameters which its loss does not need."""
    stage = Perceptron()
    stage.network[1].unused = nn.Linear(2, 2)  # of the activation, which does not know it
    trainer(
        stage, Path(folder) / f"unused{devices}", batch_size=4 // devices, epochs=1, devices=devices
    ).run()
    return {name: value.detach().clone() for name, value in stage.named_parameters()}
