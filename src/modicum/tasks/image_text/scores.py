"""Collects how well hidden parts of images and reports were completed over one split."""

from collections.abc import Sequence
from copy import copy

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from modicum.tasks.base import Batch, Scores
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap
from modicum.tasks.needs import needs_some


class CompletionScores(Scores):
    """Each image's values, as the learning stage gives them; a metric of a split is the mean over its images.

    Images whose report had nothing to hide have NaN, and do not count there.

    Args:
        names: of the columns of the outputs.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._values: dict[int, list[float]] = {}

    def update(self, outputs: Float[Tensor, "b outputs"], batch: Batch) -> None:
        self._values |= zip(batch["row"].tolist(), outputs.tolist(), strict=True)

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, CompletionScores)
            self._values |= other._values

    def metrics(self) -> dict[str, float]:
        columns = self._columns()
        return {name: float(columns[name].mean()) for name in self._names}

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        columns = self._columns()
        reason = "no report has a hidden word"
        statistics = [mean_of(n, columns[n].to_numpy(dtype=np.float64), reason) for n in self._names]
        return bootstrap(statistics, len(columns), groups=groups, resamples=resamples, seed=seed)

    def rows(self) -> np.ndarray:
        return np.array(sorted(self._values), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> "CompletionScores":
        some = copy(self)
        some._values = {row: self._values[row] for row in rows.tolist() if row in self._values}
        return some

    def table(self) -> pd.DataFrame:
        """One row per scored image; the error of its patches is ``image_error``, as ``image`` is the name of the file."""
        return self._columns().rename(columns={"image": "image_error"})

    def _columns(self) -> pd.DataFrame:
        rows = [self._values[row] for row in self.rows().tolist()]
        return pd.DataFrame(rows, columns=list(self._names), dtype=np.float64)


def mean_of(name: str, values: Float[np.ndarray, "images"], reason: str) -> Statistic:
    """The mean of a metric over the images that have one; ``reason`` says why where none has."""
    is_known = ~np.isnan(values)
    terms = sparse.csr_array(np.stack([np.where(is_known, values, 0.0), is_known.astype(np.float64)]))
    needs = needs_some([name], is_known)
    return Statistic(terms, lambda sums: {name: sums[0] / sums[1]}, {name: reason}, needs)
