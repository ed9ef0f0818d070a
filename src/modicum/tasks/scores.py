"""Scores: collect the predictions of one pass over a split and compute metrics from them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
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

    def pool(self, others: Sequence["Scores"]) -> None:
        """Adds the predictions of other networks for other rows, as of the folds of a cross-validation.

        Where a task chooses something on validation images (thresholds, a temperature), each network's predictions stay
        decided by what its own task chose, or all by the mean of that.
        """
        self.merge(others)

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

    def rescaled(self, location: float, scale: float) -> "Scores":
        """The same predictions in units of :meth:`~modicum.tasks.base.Task.output_scale`; of tasks that have one."""
        raise NotImplementedError


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


class MapScores(Scores):
    """Scores of images that also measure a predictor's maps (:class:`~modicum.methods.predictor.MakesMaps`) by masks."""

    @abstractmethod
    def without_truth(self, row: int) -> bool:
        """Whether a map of a row without a mask counts, as nothing is to be found in that image."""

    @abstractmethod
    def add_map(
        self, row: int, values: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"] | None
    ) -> None:
        """Adds the map of an image that has been scored.

        Args:
            row: its row of the manifest.
            values: in ``[0, 1]``, at the size of the network's input.
            truth: where the image is abnormal, at the same size; None for nowhere.
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
