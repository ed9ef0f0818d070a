"""What collects the predictions of one pass over a split, and turns them into metrics."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from modicum.batch import Batch
from modicum.tasks.bootstrap import Estimate


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


class DenseScores(Scores):
    """Scores of predictions that are pictures; they can also be taken one image at a time, at its own size."""

    @abstractmethod
    def add(
        self,
        position: int,
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray],
        spacing: tuple[float, float] | None,
    ) -> None:
        """Takes one image.

        Args:
            position: its row of the manifest.
            activated: what the task makes of the network's output, brought to the image's own size.
            truth: what :meth:`~modicum.tasks.base.DenseTask.ground_truth` gave.
            spacing: millimetres between rows and between columns, where known.
        """


@dataclass(frozen=True)
class Example:
    """One prediction worth looking at."""

    row: int
    kind: str
    output: int
    truth: str
    prediction: str
    probability: float
