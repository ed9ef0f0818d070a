"""Collects the predictions of a classifier over one split."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from modicum.tasks.base import Batch, Example, Scores
from modicum.tasks.bootstrap import Estimate
from modicum.tasks.classification.evaluation import evaluate, point_metrics
from modicum.tasks.classification.metrics import predicted_classes
from modicum.tasks.classification.tables import prediction_columns, truth_columns


class ClassificationScores(Scores):
    """See :class:`~modicum.tasks.base.Scores`. Made by :meth:`Classification.scores`."""

    def __init__(
        self,
        kind: str,
        classes: Sequence[str],
        ordered: bool,
        specificity: float,
        activate: Callable[[Tensor], Tensor],
        decision_thresholds: Sequence[float] = (),
        class_groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.kind = kind
        self.classes = tuple(classes)
        self.ordered = ordered
        self.specificity = specificity
        self.decision_thresholds: Sequence[float] | np.ndarray = tuple(decision_thresholds)
        self.class_groups = class_groups
        self._activate = activate
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, outputs: Tensor, batch: Batch) -> None:
        target = batch["labels" if self.kind == "multi-label" else "label"]
        # In single precision all logits above 17 have probability 1, and the order of sure images would be lost.
        outputs = outputs.detach().cpu().double()
        self._parts.append((batch["row"].cpu().numpy(), outputs.numpy(), target.cpu().numpy()))

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, ClassificationScores)
            self._parts += other._parts
        rows, outputs, truth = self._raw()
        _, first = np.unique(rows, return_index=True)
        self._parts = [(rows[first], outputs[first], truth[first])]

    def pool(self, others: Sequence[Scores]) -> None:
        """See :meth:`~modicum.tasks.base.Scores.pool`: probabilities and decisions are those of each network's own task.

        Afterwards outputs are logits of the calibrated probabilities, and thresholds are one row an image.
        """
        parts = [self, *(part for part in others if isinstance(part, ClassificationScores))]
        rows = np.concatenate([part.rows() for part in parts])
        order = np.argsort(rows, kind="stable")
        thresholds = _row_by_row(parts)
        self._parts = [
            (rows, _as_logits(probabilities, self.kind), truth)
            for rows, probabilities, truth in (part._collected() for part in parts)
        ]
        self.decision_thresholds = () if thresholds is None else thresholds[order]
        self._activate = torch.sigmoid if self.kind == "multi-label" else partial(torch.softmax, dim=-1)

    def outputs_and_truth(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's outputs ``[n, outputs]``, as they came, and the truth, in the order of :meth:`rows`."""
        _, outputs, truth = self._raw()
        return outputs, truth

    def _raw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(self._parts) > 1:
            rows, outputs, truth = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
            order = np.argsort(rows, kind="stable")
            self._parts = [(rows[order], outputs[order], truth[order])]
        return self._parts[0]

    def _collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, activated outputs and truth."""
        rows, outputs, truth = self._raw()
        return rows, self._activate(torch.from_numpy(outputs)).numpy(), truth

    def rows(self) -> np.ndarray:
        return self._raw()[0]

    def of_rows(self, rows: np.ndarray) -> "ClassificationScores":
        kept, some = np.isin(self.rows(), rows), copy(self)
        some._parts = [(self._raw()[0][kept], self._raw()[1][kept], self._raw()[2][kept])]
        if isinstance(self.decision_thresholds, np.ndarray):
            some.decision_thresholds = self.decision_thresholds[kept]
        return some

    def metrics(self) -> dict[str, float]:
        _, probabilities, truth = self._collected()
        return point_metrics(
            probabilities,
            truth,
            kind=self.kind,
            classes=self.classes,
            ordered=self.ordered,
            specificity=self.specificity,
            thresholds=self.decision_thresholds,
            class_groups=self.class_groups,
        )

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        _, probabilities, truth = self._collected()
        return evaluate(
            probabilities,
            truth,
            kind=self.kind,
            classes=self.classes,
            ordered=self.ordered,
            groups=groups,
            resamples=resamples,
            seed=seed,
            specificity=self.specificity,
            thresholds=self.decision_thresholds,
            class_groups=self.class_groups,
        )

    def table(self) -> pd.DataFrame:
        _, probabilities, truth = self._collected()
        return pd.concat(
            [
                truth_columns(truth, self.classes, self.kind),
                prediction_columns(probabilities, self.classes, self.kind, self.decision_thresholds),
            ],
            axis=1,
        )

    def examples(self, count: int) -> list[Example]:
        """``count`` most confident mistakes, then half as many of the most confident hits."""
        rows, probabilities, truth = self._collected()
        candidates = (
            self._finding_examples(probabilities, truth)
            if self.kind == "multi-label"
            else self._class_examples(probabilities, truth)
        )
        candidates.sort(key=lambda example: -example.probability)
        chosen = []
        for kind, limit in (("mistake", count), ("correct", count // 2)):
            of_kind = [example for example in candidates if example.kind == kind]
            seen: set[tuple[int, int]] = set()
            for example in _spread(of_kind, limit):
                if (example.row, example.output) not in seen:
                    seen.add((example.row, example.output))
                    chosen.append(example)
        return [
            Example(int(rows[e.row]), e.kind, e.output, e.truth, e.prediction, e.probability) for e in chosen
        ]

    def _class_examples(self, probabilities: np.ndarray, truth: np.ndarray) -> list[Example]:
        predicted = predicted_classes(probabilities, self.kind, self.decision_thresholds)
        return [
            Example(
                row,
                "correct" if predicted[row] == truth[row] else "mistake",
                int(predicted[row]),
                self.classes[truth[row]],
                self.classes[predicted[row]],
                float(probabilities[row, predicted[row]]),
            )
            for row in range(len(truth))
        ]

    def _finding_examples(self, probabilities: np.ndarray, truth: np.ndarray) -> list[Example]:
        examples = []
        answers = predicted_classes(probabilities, self.kind, self.decision_thresholds)
        for row, finding in zip(*np.nonzero(~np.isnan(truth)), strict=True):
            present, predicted = truth[row, finding] > 0.5, answers[row, finding]
            if not present and not predicted:
                continue  # a finding that is absent and not claimed shows nothing
            name = self.classes[finding]
            confidence = probabilities[row, finding] if predicted else 1 - probabilities[row, finding]
            examples.append(
                Example(
                    int(row),
                    "correct" if present == predicted else "mistake",
                    int(finding),
                    name if present else f"no {name}",
                    name if predicted else f"no {name}",
                    float(confidence),
                )
            )
        return examples


def _row_by_row(parts: Sequence[ClassificationScores]) -> np.ndarray | None:
    """The thresholds of each image ``[n, thresholds]``, one half where a part has none; None where no part has any."""
    count = max(len(np.atleast_2d(part.decision_thresholds)[0]) for part in parts)
    if not count:
        return None
    halves = [0.5] * count
    return np.concatenate(
        [
            np.broadcast_to(
                np.asarray(part.decision_thresholds if len(part.decision_thresholds) else halves),
                (len(part.rows()), count),
            )
            for part in parts
        ]
    )


def _as_logits(probabilities: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return special.logit(probabilities) if kind == "multi-label" else np.log(probabilities)


def _spread(examples: list[Example], limit: int) -> list[Example]:
    """The first ``limit`` examples, but not more than a fair share of one predicted class while others wait."""
    classes = {example.prediction for example in examples}
    share = max(1, -(-limit // max(1, len(classes))))
    taken: dict[str, int] = {}
    first: list[Example] = []
    rest: list[Example] = []
    for example in examples:
        taken[example.prediction] = taken.get(example.prediction, 0) + 1
        (first if taken[example.prediction] <= share else rest).append(example)
    return sorted((first + rest)[:limit], key=lambda example: -example.probability)
