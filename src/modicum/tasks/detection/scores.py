"""Collects the boxes that were found over one split, and measures them against the true ones."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from modicum.tasks.base import Batch, Example, Scores
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap, point_values
from modicum.tasks.box_lists import BoxListScores
from modicum.tasks.detection.matching import IOUS, matches
from modicum.tasks.detection.metric_table import METRICS
from modicum.tasks.detection.statistics import froc_statistic, precision_statistic
from modicum.tasks.metric import with_classes
from modicum.wording import count_of

_OF_CLASSES = tuple(metric.name for metric in METRICS if metric.per_class)


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """What was found in an image, and what is there.

    Attributes:
        found: left, top, right, bottom, score, class; the highest score first.
        truth: left, top, right, bottom, class.
        hit: which of the boxes found hit, at each of :data:`~modicum.tasks.detection.matching.IOUS`.
        near: the same at the overlap of FROC.
    """

    found: Float[np.ndarray, "n 6"]
    truth: Float[np.ndarray, "m 5"]
    hit: Bool[np.ndarray, "overlaps n"]
    near: Bool[np.ndarray, "n"]

    def counts(self, threshold: float) -> tuple[int, int, int]:
        """True boxes, boxes found with a score from a threshold on, and hits among these."""
        above = self.found[:, 4] >= threshold
        return len(self.truth), int(above.sum()), int((self.near & above).sum())


class DetectionScores(BoxListScores):
    """Average precision and FROC of boxes.

    Args:
        classes: names of the classes of boxes.
        hit_overlap: least intersection over union of a hit, for FROC and counts.
        threshold: score from which on boxes are counted and shown.
    """

    def __init__(self, classes: Sequence[str], hit_overlap: float, threshold: float) -> None:
        self._classes = tuple(classes)
        self._overlap = hit_overlap
        self._threshold = threshold
        self._images: dict[int, ImageBoxes] = {}

    def update(self, outputs: Float[Tensor, "b k 6"], batch: Batch) -> None:
        """Adds a batch; images of whose boxes nothing is said (``annotated`` is false) are left out."""
        annotated = batch.get("annotated", torch.ones(len(outputs), dtype=torch.bool)).cpu().numpy()
        rows = batch["row"].tolist()
        truths = torch.cat([batch["boxes"], batch["box_classes"][..., None].to(batch["boxes"].dtype)], -1)
        parts = (tensor.detach().cpu().numpy().astype(np.float64) for tensor in (outputs, truths))
        for row, is_annotated, detections, truth in zip(rows, annotated, *parts, strict=True):
            if is_annotated:
                self._images[row] = self._measured(_real(detections), _real(truth))

    def _measured(self, detections: np.ndarray, truth: np.ndarray) -> ImageBoxes:
        detections = detections[np.argsort(-detections[:, 4], kind="stable")]
        near = matches(detections, truth, (self._overlap,))[0]
        return ImageBoxes(detections, truth, matches(detections, truth) >= 0, near >= 0)

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, DetectionScores)
            self._images |= other._images

    def found(self, row: int) -> Float[np.ndarray, "n 6"]:
        return self._images[row].found

    def truth(self, row: int) -> Float[np.ndarray, "m 5"]:
        return self._images[row].truth

    def scores_and_hits(self) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"], int]:
        """Of all boxes found, of all classes: their scores, whether they hit; and the number of true boxes."""
        images = [self._images[row] for row in self.rows().tolist()]
        found = _joined([image.found for image in images], (0, 6))
        near = np.concatenate([np.zeros(0, bool), *(image.near for image in images)])
        return found[:, 4], near, sum(len(image.truth) for image in images)

    def metrics(self) -> dict[str, float]:
        values, _ = point_values(self._statistics(), len(self._images), self._means())
        return {name: values[name] for name in self._names()}

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        if not self._images:  # nothing is said of the boxes of any
            return {name: Estimate(np.nan, reason="no image has its boxes named") for name in self._names()}
        values = bootstrap(
            self._statistics(),
            len(self._images),
            means=self._means(),
            groups=groups,
            resamples=resamples,
            seed=seed,
        )
        return {name: values[name] for name in self._names()}

    def rows(self) -> np.ndarray:
        return np.array(sorted(self._images), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> "DetectionScores":
        some = copy(self)
        some._images = {row: self._images[row] for row in rows.tolist() if row in self._images}
        return some

    def table(self) -> pd.DataFrame:
        """One row per scored image: counts of boxes, found from the threshold on, and the best score."""
        images = [self._images[row] for row in self.rows().tolist()]
        counts = np.array([image.counts(self._threshold) for image in images], np.int64).reshape(-1, 3)
        best = [float(image.found[0, 4]) if len(image.found) else np.nan for image in images]
        return pd.DataFrame(
            {
                "true_boxes": counts[:, 0],
                "found_boxes": counts[:, 1],
                "hits": counts[:, 2],
                "best_score": np.array(best, np.float64),
            }
        )

    def examples(self, count: int) -> list[Example]:
        """The images with most mistakes (missed and false boxes), and some with hits and fewest mistakes."""
        of_row = {row: image.counts(self._threshold) for row, image in self._images.items()}
        mistakes = {row: true + count_shown - 2 * hit for row, (true, count_shown, hit) in of_row.items()}
        ranked = sorted(mistakes, key=lambda row: (-mistakes[row], row))
        worst = ranked[: min(count, -(-len(ranked) // 2))]
        good = [row for row in ranked[len(worst) :][::-1] if of_row[row][2]][: max(1, count // 2)]
        return [
            Example(row, kind, 0, *_said(*of_row[row]), float(mistakes[row]))
            for kind, chosen in (("mistake", worst), ("correct", good))
            for row in chosen
        ]

    # --- parts -----------------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        several = self._classes if len(self._classes) > 1 else ()
        return list(with_classes(METRICS, several))

    def _means(self) -> dict[str, list[str]]:
        if len(self._classes) < 2:
            return {}
        return {metric: [f"{metric}/{name}" for name in self._classes] for metric in _OF_CLASSES}

    def _statistics(self) -> list[Statistic]:
        images = [self._images[row] for row in self.rows().tolist()]
        detections = _joined([image.found for image in images], (0, 6))
        index = np.repeat(np.arange(len(images)), [len(image.found) for image in images])
        hit = np.concatenate([np.zeros((len(IOUS), 0), bool), *(image.hit for image in images)], axis=1)
        near = np.concatenate([np.zeros(0, bool), *(image.near for image in images)])
        statistics = []
        for number, name in enumerate(self._classes):
            of_class = detections[:, 5] == number
            true = np.array([(image.truth[:, 4] == number).sum() for image in images], np.float64)
            suffix = f"/{name}" if len(self._classes) > 1 else ""
            names = "map" + suffix, "map_50" + suffix, "map_75" + suffix
            statistics.append(
                precision_statistic(detections[of_class, 4], index[of_class], hit[:, of_class], true, names)
            )
        true = np.array([len(image.truth) for image in images], np.float64)
        return [*statistics, froc_statistic(detections[:, 4], index, near, true)]


def _real(rows: np.ndarray) -> np.ndarray:
    return rows[np.isfinite(rows).all(axis=1)]


def _joined(parts: Sequence[np.ndarray], empty: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.zeros(empty), *parts])


def _said(true: int, num_found: int, hit: int) -> tuple[str, str]:
    """Truth and prediction of an image in words."""
    return f"{count_of(true, 'box')} there", f"{num_found} found, {hit} of them right"
