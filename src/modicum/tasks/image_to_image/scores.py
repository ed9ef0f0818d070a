"""Collects the errors of translated images over one split."""

import math
from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from modicum.tasks.base import Batch, Example, Scores
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap
from modicum.tasks.image_to_image.metric_table import MEASURES
from modicum.tasks.image_to_image.metrics import SCALE, mean_over_slices
from modicum.tasks.scores import DenseScores

NAMES = [metric.name for metric in MEASURES]

UNDEFINED = "no image shows anything but background"


class TranslationScores(DenseScores):
    """Each image's metrics (:data:`~modicum.tasks.image_to_image.metric_table.MEASURES`); images themselves are not kept.

    A metric of a split is the mean over its images, as published.
    """

    def __init__(self) -> None:
        self._values: dict[int, dict[str, float]] = {}

    def update(self, outputs: Tensor, batch: Batch) -> None:
        predicted = outputs.detach().float().cpu().numpy()
        real = batch["target"].float().cpu().numpy()
        for index, row in enumerate(batch["row"].tolist()):
            self.add(row, predicted[index], {"target": real[index]}, None)

    def add(
        self,
        row: int,
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray],
        spacing: tuple[float, float] | None,
    ) -> None:
        predicted, real = (SCALE * values.astype(np.float32) - 1 for values in (activated, truth["target"]))
        self._values[row] = {metric.name: measure(predicted, real) for metric, measure in MEASURES.items()}

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, TranslationScores)
            self._values |= other._values

    def metrics(self) -> dict[str, float]:
        return {name: mean_over_slices(row[name] for row in self._values.values()) for name in NAMES}

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        table = self.table()
        statistics = [_mean_of(name, table[name].to_numpy(dtype=np.float64)) for name in NAMES]
        return bootstrap(statistics, len(table), groups=groups, resamples=resamples, seed=seed)

    def rows(self) -> np.ndarray:
        return np.array(sorted(self._values), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> "TranslationScores":
        some = copy(self)
        some._values = {row: self._values[row] for row in rows.tolist() if row in self._values}
        return some

    def table(self) -> pd.DataFrame:
        rows = [self._values[row] for row in self.rows().tolist()]
        return pd.DataFrame(rows, columns=NAMES)

    def examples(self, count: int) -> list[Example]:
        """The ``count`` images of the largest error, then half as many around the median."""
        errors = [(values["nmae"], row) for row, values in self._values.items()]
        ranked = sorted((pair for pair in errors if not math.isnan(pair[0])), reverse=True)
        worst = ranked[:count]
        rest = ranked[count:]
        start = max(0, len(rest) // 2 - count // 4)
        typical = rest[start : start + count // 2]
        return [
            Example(row, kind, 0, "", f"NMAE {value:.3f}", value)
            for kind, pairs in (("worst", worst), ("typical", typical))
            for value, row in pairs
        ]


def _mean_of(name: str, values: Float[np.ndarray, "images"]) -> Statistic:
    """The mean of a metric over the images that have one."""
    defined = ~np.isnan(values)
    terms = sparse.csr_array(np.stack([np.where(defined, values, 0.0), defined.astype(np.float64)]))
    return Statistic(terms, lambda sums: {name: sums[0] / sums[1]}, {name: UNDEFINED})
