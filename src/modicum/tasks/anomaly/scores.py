"""Collects the scores of images, and of pixels where there are masks."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from torch import Tensor

from modicum.batch import Batch
from modicum.tasks.anomaly.metric_table import metrics_of
from modicum.tasks.anomaly.pixels import MapSums, pixel_statistic
from modicum.tasks.anomaly.tables import prediction_columns
from modicum.tasks.anomaly.threshold import Threshold
from modicum.tasks.bootstrap import Estimate, Statistic, Sums, Values, bootstrap, point_values
from modicum.tasks.classification.metrics import ranking, sensitivity_name
from modicum.tasks.scores import Example, MapScores, Scores

T = TypeVar("T")


class AnomalyScores(MapScores):
    """See :class:`~modicum.tasks.base.Scores`.

    Args:
        groups: names of the abnormal classes.
        specificity: where sensitivity is read.
        threshold: from which score on an image is called abnormal.
        activate: from outputs to scores.
        names: what to call a normal image and an abnormal one.
    """

    def __init__(
        self,
        groups: Sequence[str],
        specificity: float,
        threshold: Threshold,
        activate: Callable[[Tensor], Tensor],
        names: tuple[str, str] = ("normal", "abnormal"),
    ) -> None:
        self.groups = tuple(groups)
        self.specificity = specificity
        self.threshold = threshold
        self.names = names
        self._activate = activate
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._maps: dict[int, MapSums] = {}

    def update(self, outputs: Tensor, batch: Batch) -> None:
        # In single precision all log-odds above 17 are probability 1, and the order of sure images would be lost.
        scores = outputs.detach().cpu().double()[:, 0].numpy()
        truth = (batch["label"].cpu().numpy() > 0, batch["groups"].cpu().numpy() > 0)
        self._parts.append((batch["row"].cpu().numpy(), scores, *truth))

    def add_map(
        self, row: int, values: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"] | None
    ) -> None:
        self._maps[row] = MapSums.of(values, truth)

    def without_truth(self, row: int) -> bool:
        rows, _, abnormal, _ = self._raw()
        return not abnormal[np.searchsorted(rows, row)]

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, AnomalyScores)
            self._parts += other._parts
            self._maps |= other._maps
        _, first = np.unique(self._raw()[0], return_index=True)
        self._parts = [tuple(part[first] for part in self._raw())]

    def pool(self, others: Sequence[Scores]) -> None:
        """See :meth:`~modicum.tasks.base.Scores.pool`; images are called abnormal by the mean of all thresholds."""
        of_all = [self.threshold, *(one.threshold for one in others if isinstance(one, AnomalyScores))]
        values = [one.value for one in of_all if one.value is not None]
        self.merge(others)
        if values:
            images = sum(one.images for one in of_all)
            self.threshold = Threshold(float(np.mean(values)), self.threshold.source, images)

    def _raw(self) -> tuple[np.ndarray, ...]:
        """Rows, raw scores, whether abnormal, and groups, in the order of the rows."""
        if len(self._parts) > 1:
            parts = [np.concatenate(arrays) for arrays in zip(*self._parts, strict=True)]
            order = np.argsort(parts[0], kind="stable")
            self._parts = [tuple(part[order] for part in parts)]
        return self._parts[0]

    def scores_and_truth(self) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """Activated scores, and whether each image is abnormal, in the order of :meth:`rows`."""
        _, raw, abnormal, _ = self._raw()
        return self._activate(torch.from_numpy(raw)[:, None]).numpy()[:, 0], abnormal

    def rows(self) -> np.ndarray:
        return self._raw()[0]

    def of_rows(self, rows: np.ndarray) -> "AnomalyScores":
        kept, some = np.isin(self.rows(), rows), copy(self)
        some._parts = [tuple(part[kept] for part in self._raw())]
        some._maps = {row: sums for row, sums in self._maps.items() if row in set(rows.tolist())}
        return some

    def rescaled(self, location: float, scale: float) -> "AnomalyScores":
        other = copy(self)
        other._parts = [(rows, (raw - location) / scale, *truth) for rows, raw, *truth in self._parts]
        return other

    def metrics(self) -> dict[str, float]:
        statistics = self._statistics()
        return self._ordered(point_values(statistics, len(self.rows()))[0])

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        found = bootstrap(self._statistics(), len(self.rows()), groups=groups, resamples=resamples, seed=seed)
        return self._ordered(found)

    def _ordered(self, found: dict[str, T]) -> dict[str, T]:
        """Summaries first, then group by group, as the task lists them."""
        names = metrics_of(self.groups, self.specificity, bool(self._maps))
        return {name: found[name] for name in names}

    def _statistics(self) -> list[Statistic]:
        rows, raw, abnormal, groups = self._raw()
        at = sensitivity_name(self.specificity)
        base = ("auroc", "average_precision")
        # A score that is not finite ranks as the most abnormal: nobody should be told that such an image is well.
        raw = np.where(np.isfinite(raw), raw, np.inf)
        whole = ranking(raw, abnormal, specificity=self.specificity, finding="an abnormality")
        statistics = [whole.renamed({**dict(zip(base, base, strict=True)), "sensitivity_at_specificity": at})]
        statistics.append(_decided(self._called(), abnormal, groups, self.groups))
        for index, group in enumerate(self.groups if len(self.groups) > 1 else ()):
            among = np.flatnonzero(~abnormal | groups[:, index])
            of_group = ranking(
                raw[among], abnormal[among], specificity=self.specificity, finding=f"'{group}'"
            )
            named = of_group.renamed(
                {"auroc": f"auroc/{group}", "sensitivity_at_specificity": f"{at}/{group}"}
            )
            statistics.append(named.among(among, len(rows)))
        if self._maps:
            statistics.append(pixel_statistic([self._maps.get(int(row)) for row in rows]))
        return statistics

    def _called(self) -> Bool[np.ndarray, "n"] | None:
        """Which images are called abnormal; None without a threshold."""
        if self.threshold.value is None:
            return None
        scores, _ = self.scores_and_truth()
        return ~(scores < self.threshold.value)

    def table(self) -> pd.DataFrame:
        """``truth`` (the group, or normal), ``prediction`` and ``score``."""
        scores, abnormal = self.scores_and_truth()
        table = prediction_columns(scores, self.threshold, self.names)
        table.insert(0, "truth", self._truth(abnormal))
        return table

    def _truth(self, abnormal: np.ndarray) -> list[str]:
        groups = self._raw()[3]
        return [
            self.names[0]
            if not ill
            else ("|".join(n for n, has in zip(self.groups, of, strict=True) if has) or self.names[1])
            for ill, of in zip(abnormal, groups, strict=True)
        ]

    def examples(self, count: int) -> list[Example]:
        """The worst ranked images, then half as many of the best: of abnormal and normal images alike."""
        rows, raw, _, _ = self._raw()
        scores, abnormal = self.scores_and_truth()
        called, truth = self._called(), self._truth(abnormal)
        order = np.argsort(np.where(np.isfinite(raw), raw, np.inf), kind="stable")
        missed = [i for i in order.tolist() if abnormal[i]]
        alarms = [i for i in order[::-1].tolist() if not abnormal[i]]
        worst = _in_turn(missed, alarms, count)
        best = [i for i in _in_turn(missed[::-1], alarms[::-1], count // 2) if i not in worst]
        return [
            Example(
                int(rows[i]),
                "mistake" if _is_mistake(i in worst, called, i, abnormal) else "correct",
                0,
                truth[i],
                "" if called is None else self.names[int(called[i])],
                float(scores[i]),
                float(scores[i]),
            )
            for i in (*worst, *best)
        ]


def _is_mistake(worst: bool, called: np.ndarray | None, index: int, abnormal: np.ndarray) -> bool:
    return worst if called is None else bool(called[index] != abnormal[index])


def _in_turn(first: list[int], second: list[int], count: int) -> list[int]:
    pairs = [
        one for i in range(max(len(first), len(second))) for one in (first[i : i + 1] + second[i : i + 1])
    ]
    return [int(index) for index in pairs[:count]]


def _decided(
    called: np.ndarray | None, abnormal: np.ndarray, groups: np.ndarray, names: Sequence[str]
) -> Statistic:
    """``sensitivity``, ``specificity`` and ``sensitivity/<group>`` of what is called abnormal."""
    kinds = [abnormal, ~abnormal, *(groups.T & abnormal if len(names) > 1 else ())]
    titles = ["sensitivity", "specificity", *(f"sensitivity/{n}" for n in names if len(names) > 1)]
    right = np.zeros(len(abnormal), bool) if called is None else called == abnormal
    rows = np.array([*kinds, *(kind & right for kind in kinds)], dtype=np.float64)

    def finish(sums: Sums) -> Values:
        there, found = sums[: len(kinds)], sums[len(kinds) :]
        shares = np.where(there > 0, found / there, np.nan)
        if called is None:
            shares = np.full_like(shares, np.nan)
        return dict(zip(titles, shares, strict=True))

    why = "no threshold: there were no normal validation images" if called is None else "no such image"
    needs = {title: kind[None] for title, kind in zip(titles, kinds, strict=True)}
    return Statistic(sparse.csr_array(rows), finish, dict.fromkeys(titles, why), needs)
