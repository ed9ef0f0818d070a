"""Scores: collect the predictions of one pass over a split and compute metrics from them."""

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
    """Collects predictions batch by batch and computes metrics from them. One object for one pass over one split."""

    @abstractmethod
    def update(self, outputs: Tensor, batch: Batch) -> None:
        """Adds one batch of raw network outputs with its targets."""

    @abstractmethod
    def merge(self, others: Sequence["Scores"]) -> None:
        """Adds the predictions of other processes; a row that occurs twice counts once."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Point values, fast to compute: shown after each epoch, and used to select the best weights."""

    @abstractmethod
    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        """Values with bootstrap intervals; ``groups`` are patients, in the order of :meth:`rows`."""

    @abstractmethod
    def rows(self) -> np.ndarray:
        """Rows of the manifest that were scored, in the order of :meth:`table`."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """One row per scored image: truth, prediction, and probabilities."""

    def of_rows(self, rows: np.ndarray) -> "Scores | None":
        """The scores of some of the rows alone; None for scores that cannot be taken apart."""
        return None


class DenseScores(Scores):
    """Scores of predictions that are images; also accepts one image at a time, at its original size."""

    @abstractmethod
    def add(
        self,
        row: int,
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray],
        spacing: tuple[float, float] | None,
    ) -> None:
        """Adds one image.

        Args:
            row: its row of the manifest.
            activated: the task's activation of the network's output, resized to the image's original size.
            truth: the result of :meth:`~modicum.tasks.dense.DenseTask.ground_truth`.
            spacing: millimetres between rows and between columns, where known.
        """


@dataclass(frozen=True)
class Example:
    """A notable prediction. For a severity score, which is not a probability, ``score`` is set as well."""

    row: int
    kind: str
    output: int
    truth: str
    prediction: str
    probability: float
    score: float | None = None
