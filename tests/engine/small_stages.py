"""Small stages and data that the engine can train in milliseconds, for the tests beside this file."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.methods import TrainStage, Update
from modicum.methods.supervised import SupervisedStage
from modicum.tasks import Classification

TASK = Classification("multi-class", ["a", "b", "c"])
WIDTH = 5


class Reader:
    """Reads records from memory and remembers which were asked for, batch by batch."""

    def __init__(self, records: np.ndarray) -> None:
        self.records = records
        self.asked: list[list[int]] = []

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        self.asked.append([int(position) for position in positions])
        return self.records[positions]

    def training(self, data: StageData) -> list[list[int]]:
        """The batches of training rows, in the order in which they were read."""
        own = set(data.train_rows.tolist())
        return [batch for batch in self.asked if set(batch) <= own]


def stage_data(train: int = 24, val: int = 4, shares=(1, 1, 1), seed: int = 0) -> StageData:
    """Features that say something of the class."""
    generator = np.random.default_rng(seed)
    labels = np.resize(np.repeat(np.arange(3), shares), train + val)
    centres = generator.normal(size=(3, WIDTH))
    features = centres[labels] + 0.7 * generator.normal(size=(train + val, WIDTH))
    rows = np.arange(train + val)
    return StageData(
        {"features": Stored(Reader(features.astype(np.float32)), rows[None])},
        {"label": labels.astype(np.int64)},
        rows[:train],
        rows[train:],
        labels[:train],
    )


def reader_of(data: StageData) -> Reader:
    """What the features of :func:`stage_data` are read from."""
    reader = data.stored["features"].read
    assert isinstance(reader, Reader)
    return reader


class Perceptron(SupervisedStage):
    """Two layers, no batch normalisation."""

    reads = ("features",)

    def __init__(self, loss: nn.Module | None = None, seed: int = 0) -> None:
        super().__init__(TASK.loss({}, {}) if loss is None else loss)
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 3))

    def parameter_groups(self):
        return list(self.network.parameters())

    def forward(self, batch):
        return self.network(batch["features"])


class Scripted(TrainStage):
    """Learns by constant steps, and is told by a script how good each validation is."""

    name = "tune"

    def __init__(self, script: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.script = list(script)
        self.at_validation: list[float] = []

    def updates(self):
        return [Update("network", [self.weight], lambda batch: {"slope": -self.weight})]

    def forward(self, batch):
        return torch.eye(3)[batch["label"]]

    def validate(self, batch):
        self.at_validation.append(self.weight.item())
        return self(batch), {"scripted": torch.tensor(self.script[len(self.at_validation) - 1])}


def trainer(stage: TrainStage, folder: Path, data: StageData | None = None, **settings) -> StageTrainer:
    """A trainer of a stage in a run folder, on the CPU."""
    chosen = {"epochs": 2, "batch_size": 4, "lr": 1e-2, "warmup_epochs": 0, "augment": "none", **settings}
    return StageTrainer(
        stage,
        make_recipe("data", "full", chosen),
        RunFolder(folder),
        stage_data() if data is None else data,
        TASK,
        torch.device("cpu"),
    )


def weights_of(stage: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what a stage has learned."""
    return {name: value.detach().clone() for name, value in stage.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
