"""What a task owes the rest: targets, a loss, scores, and how its predictions are written.

A task says *what* is learned, apart from how. Methods ask it for the size of the output and the loss; the engine
asks it for scores and for tables of predictions; the report finds its sections by the task's name. A new task is
a new subclass, a new method gets evaluation and reports from it for nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.manifest import Manifest
from modicum.tasks.bootstrap import Estimate

Batch = dict[str, Tensor]
"""Tensors of one batch by name; ``image`` ``[b, c, h, w]`` in ``[0, 1]``, ``position`` ``[b]`` (the row of the
manifest), and what the task's targets are called."""


class Scores(ABC):
    """Collects predictions batch by batch and turns them into metrics. One object for one pass over one split."""

    @abstractmethod
    def update(self, outputs: Tensor, batch: Batch) -> None:
        """Takes one batch of raw network outputs together with its targets."""

    @abstractmethod
    def merge(self, others: Sequence["Scores"]) -> None:
        """Takes over what other processes collected; a row seen twice counts once."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Point values, quickly: what is shown after each epoch and selects the best weights."""

    @abstractmethod
    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        """Values with bootstrap intervals; ``groups`` are patients, in the order of :meth:`positions`."""

    @abstractmethod
    def positions(self) -> np.ndarray:
        """Rows of the manifest that were scored, in the order of :meth:`table`."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """One row a scored image: truth, prediction, and probabilities."""


@dataclass(frozen=True)
class Example:
    """One prediction worth looking at."""

    row: int
    kind: str
    output: int
    truth: str
    prediction: str
    probability: float


class Task(ABC):
    """A kind of target and prediction."""

    name: ClassVar[str]
    kind: str
    """A finer distinction inside the task, for instance ``multi-class``."""

    @classmethod
    @abstractmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Task":
        """Finds classes and kind in a manifest. Raises :class:`~modicum.errors.InputError` where it cannot."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The inverse of :meth:`to_dict`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What a run folder must keep so that the task can be made again."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Size of the network's output."""

    @property
    @abstractmethod
    def monitor(self) -> str:
        """The validation metric that selects the best weights unless the user names another."""

    @abstractmethod
    def higher_is_better(self, metric: str) -> bool:
        """Direction of a metric. Raises :class:`~modicum.errors.InputError` for an unknown name."""

    @abstractmethod
    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """Targets of every row, by the name they have in a batch."""

    @abstractmethod
    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """What balanced sampling goes by; see :func:`modicum.data.sampling.sample_weights`."""

    @abstractmethod
    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The loss: ``(outputs, batch) -> scalar``. ``targets`` are those of the training rows (class weights)."""

    @abstractmethod
    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """From raw network outputs to what a user reads, for instance probabilities."""

    @abstractmethod
    def scores(self) -> Scores:
        """A fresh collector."""

    @abstractmethod
    def prediction_table(self, activated: np.ndarray) -> pd.DataFrame:
        """Columns of a predictions file for images without a known truth."""

    @abstractmethod
    def examples(self, scores: Scores, count: int) -> list[Example]:
        """The most confident mistakes and some of the most confident hits, with the output to explain."""
