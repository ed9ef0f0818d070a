"""Collects how well images and reports find each other over one split."""

import hashlib
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from torch import Tensor

from modicum.tasks.base import Batch, Scores
from modicum.tasks.bootstrap import Estimate, bootstrap
from modicum.tasks.image_text.metric_table import DIRECTIONS, RANKS
from modicum.tasks.image_text.scores import mean_of

_CHUNK = 1024


class Pair(NamedTuple):
    """One row: an image and its report as vectors of length one."""

    image: Float[np.ndarray, "d"]
    text: Float[np.ndarray, "d"]
    has_text: bool
    report: int
    """Number of the report's text: rows with the same one are right answers for each other."""
    findings: int
    """Number of the row's set of labels; -1 where none is known."""


class RetrievalScores(Scores):
    """Each image looks for its report among those of the split, and each report for its image.

    Outputs are an image's vector, its report's, and 1 where it has one (``[b, 2 d + 1]``). Rows without a report are
    neither queries nor found. Reports with the same text are all right. Ties count against the model.

    ``recall_at_k`` is the share of queries with a right answer among the k best, ``mrr`` the mean of one over the rank of
    the first; ``precision_at_k`` the mean share, among the k best, of rows with the query's labels, where there are any.
    """

    def __init__(self) -> None:
        self._pairs: dict[int, Pair] = {}

    def update(self, outputs: Float[Tensor, "b outputs"], batch: Batch) -> None:
        values = outputs.cpu().numpy().astype(np.float32)
        width = (values.shape[1] - 1) // 2
        tokens = batch["tokens"].cpu().numpy()
        sets = batch["finding_set"].tolist() if "finding_set" in batch else [-1] * len(values)
        for row, value, words, findings in zip(batch["row"].tolist(), values, tokens, sets, strict=True):
            image, text, has_text = value[:width], value[width:-1], bool(value[-1] > 0.5)
            self._pairs[row] = Pair(_unit(image), _unit(text), has_text, _number(words), findings)

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, RetrievalScores)
            self._pairs |= other._pairs

    def metrics(self) -> dict[str, float]:
        columns = self._values()
        return {
            name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in columns.items()
        }

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        columns = self._values()
        statistics = [mean_of(name, values, "no row has what it needs") for name, values in columns.items()]
        return bootstrap(statistics, len(self._pairs), groups=groups, resamples=resamples, seed=seed)

    def rows(self) -> np.ndarray:
        return np.array(sorted(self._pairs), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> "RetrievalScores":
        some = copy(self)
        some._pairs = {row: self._pairs[row] for row in rows.tolist() if row in self._pairs}
        return some

    def table(self) -> pd.DataFrame:
        """One row per scored image: the rank of its report, and of the image for its report; blank without a report."""
        ranks = {f"{name}_rank": searched.ranks for name, searched in self._both().items()}
        return pd.DataFrame(ranks)

    def _values(self) -> dict[str, Float[np.ndarray, "rows"]]:
        """Each metric's value for each row; NaN where it has none."""
        columns: dict[str, np.ndarray] = {}
        both = self._both()
        for name, searched in both.items():
            columns[f"{name}_mrr"] = 1 / searched.ranks
            for k in RANKS:
                columns[f"{name}_recall_at_{k}"] = np.where(
                    np.isnan(searched.ranks), np.nan, (searched.ranks <= k).astype(np.float64)
                )
                columns[f"{name}_precision_at_{k}"] = searched.precisions[k]
        first, second = (columns[f"{name}_mrr"] for name in DIRECTIONS)
        chance = next(iter(both.values())).chance
        return {"mrr": (first + second) / 2, **columns, **{f"chance_recall_at_{k}": chance[k] for k in RANKS}}

    def _both(self) -> dict[str, "_Found"]:
        pairs = [self._pairs[row] for row in self.rows().tolist()]
        kept = np.array([pair.has_text for pair in pairs], dtype=bool)
        chosen = [pair for pair in pairs if pair.has_text]
        images, texts = (
            np.array([getattr(pair, name) for pair in chosen] or np.zeros((0, 1)), dtype=np.float32)
            for name in ("image", "text")
        )
        reports = np.array([pair.report for pair in chosen], dtype=np.int64)
        findings = np.array([pair.findings for pair in chosen], dtype=np.int64)
        by_direction = {}
        for name, queries, gallery in (
            (DIRECTIONS[0], images, texts),
            (DIRECTIONS[1], texts, images),
        ):
            by_direction[name] = _searched(queries, gallery, reports, findings).spread_over(kept)
        return by_direction


class _Found(NamedTuple):
    ranks: Float[np.ndarray, "rows"]
    precisions: dict[int, Float[np.ndarray, "rows"]]
    chance: dict[int, Float[np.ndarray, "rows"]]

    def spread_over(self, kept: Bool[np.ndarray, "all"]) -> "_Found":
        """The same with NaN for rows that are not kept."""

        def spread(values: np.ndarray) -> np.ndarray:
            out = np.full(len(kept), np.nan)
            out[kept] = values
            return out

        return _Found(
            spread(self.ranks),
            {k: spread(v) for k, v in self.precisions.items()},
            {k: spread(v) for k, v in self.chance.items()},
        )


def _searched(
    queries: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "n d"],
    reports: Int[np.ndarray, "n"],
    findings: Int[np.ndarray, "n"],
) -> _Found:
    """Ranks of the first right answer, precision among the best, and what chance comes to; chunk by chunk."""
    count = len(queries)
    ranks = np.full(count, np.nan)
    precisions = {k: np.full(count, np.nan) for k in RANKS}
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        scores = queries[part] @ gallery.T
        right = reports[part, None] == reports[None]
        best = np.where(right, scores, -np.inf).max(1)
        ranks[part] = 1 + ((scores >= best[:, None]) & ~right).sum(1)
        order = _best(scores, max(RANKS))
        alike = findings[part, None] == findings[order]
        is_labelled = findings[part] >= 0
        for k in RANKS:
            if count >= k:
                precisions[k][part] = np.where(is_labelled, alike[:, :k].mean(1), np.nan)
    _, inverse, counts = np.unique(reports, return_inverse=True, return_counts=True)
    return _Found(ranks, precisions, {k: chance_of_recall(counts[inverse], count, k) for k in RANKS})


def _best(scores: Float[np.ndarray, "q n"], k: int) -> Int[np.ndarray, "q best"]:
    """The places of the k highest scores of each row, the highest first."""
    if k < scores.shape[1]:
        places = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    else:
        places = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    order = np.argsort(-np.take_along_axis(scores, places, 1), axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)


def chance_of_recall(right: Int[np.ndarray, "n"], count: int, k: int) -> Float[np.ndarray, "n"]:
    """Probability that ``k`` of ``count`` at random hold one of the right ones.

    >>> chance_of_recall(np.array([1, 2]), 10, 5).round(4).tolist()
    [0.5, 0.7778]
    """
    missed = np.ones(len(right))
    for step in range(min(k, count)):
        missed *= np.clip(count - right - step, 0, None) / (count - step)
    return 1 - missed


def _unit(vector: Float[np.ndarray, "d"]) -> Float[np.ndarray, "d"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _number(tokens: Int[np.ndarray, "length"]) -> int:
    """A number of the text, the same in all processes."""
    digest = hashlib.blake2b(tokens.astype(np.int64).tobytes(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
