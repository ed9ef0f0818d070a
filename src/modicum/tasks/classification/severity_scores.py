"""Collects the severity scores of a split; see :mod:`modicum.tasks.classification.severity_metrics`."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from modicum.tasks.base import Example, Scores
from modicum.tasks.bootstrap import Estimate
from modicum.tasks.classification.scores import ClassificationScores
from modicum.tasks.classification.severity_metrics import evaluate_severity, severity_metrics
from modicum.tasks.classification.tables import severity_columns, truth_columns
from modicum.tasks.classification.thresholds import Thresholds


class SeverityScores(ClassificationScores):
    """See :class:`~modicum.tasks.base.Scores`. Made by :meth:`Classification.scores` of a task with one output.

    Args:
        kind: ``binary`` or ``multi-class``.
        classes: names of the grades, rising.
        thresholds: from scores to grades.
        specificity: where sensitivity is read.
        activate: from outputs ``[b, 1]`` to scores ``[b, 1]``.
    """

    def __init__(
        self,
        kind: str,
        classes: Sequence[str],
        thresholds: Thresholds,
        specificity: float,
        activate: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(kind, classes, True, specificity, activate)
        self.thresholds = thresholds

    def pool(self, others: Sequence[Scores]) -> None:
        """See :meth:`~modicum.tasks.base.Scores.pool`; grades are decided by the mean of all thresholds."""
        of_all = [self.thresholds, *(one.thresholds for one in others if isinstance(one, SeverityScores))]
        self.merge(others)
        if any(one != self.thresholds for one in of_all):
            values = np.mean([one.values for one in of_all], axis=0)
            self.thresholds = Thresholds(tuple(values.tolist()), "validation")

    def scores_and_truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores float64 ``[n]`` and grades int64 ``[n]``, in the order of :meth:`rows`."""
        _, scores, truth = self._collected()
        return scores[:, 0], truth

    def metrics(self) -> dict[str, float]:
        return severity_metrics(
            *self.scores_and_truth(),
            classes=self.classes,
            thresholds=self.thresholds,
            specificity=self.specificity,
        )

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        return evaluate_severity(
            *self.scores_and_truth(),
            classes=self.classes,
            thresholds=self.thresholds,
            groups=groups,
            resamples=resamples,
            seed=seed,
            specificity=self.specificity,
        )

    def table(self) -> pd.DataFrame:
        scores, truth = self.scores_and_truth()
        columns = [
            truth_columns(truth, self.classes, self.kind),
            severity_columns(scores, self.classes, self.thresholds),
        ]
        return pd.concat(columns, axis=1)

    def examples(self, count: int) -> list[Example]:
        """``count`` mistakes whose score is farthest from the truth, then half as many of the nearest hits."""
        scores, truth = self.scores_and_truth()
        predicted, rows = self.thresholds.grades(scores), self.rows()
        order = np.argsort(-np.abs(scores - truth), kind="stable")
        mistakes = [index for index in order if predicted[index] != truth[index]][:count]
        hits = [index for index in order[::-1] if predicted[index] == truth[index]][: count // 2]
        return [
            Example(
                row=int(rows[index]),
                kind="correct" if predicted[index] == truth[index] else "mistake",
                output=0,
                truth=self.classes[truth[index]],
                prediction=self.classes[predicted[index]],
                probability=math.nan,
                score=float(scores[index]),
            )
            for index in (*mistakes, *hits)
        ]
