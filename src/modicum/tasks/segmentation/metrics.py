"""Metrics of segmentation: their definitions, from what is kept of each image.

==================  ==================================================================================================
``dice``            2 TP / (2 TP + FP + FN) of each image, the mean over images
``iou``             TP / (TP + FP + FN) of each image, the mean over images
``auroc``           of the probabilities of all pixels of all images together
``auprc``           average precision of the same
``sensitivity``     TP / (TP + FN) over all pixels of all images together
``specificity``     TN / (TN + FP) of the same
``accuracy``        (TP + TN) / all of the same
``dice_positives``  ``dice`` over those images alone where the class is
``empty``           share of images where the class is not: the Dice that an empty prediction reaches
``hausdorff95``     95 % Hausdorff distance of each image, the mean over images
``surface_distance``  average symmetric surface distance of each image, the mean over images
==================  ==================================================================================================

Conventions, where the field has more than one:

- All is inside the field of view, and where the truth is known; an image without such pixels counts nowhere.
- Where the class is not and is not predicted, Dice and IoU are 1; where it is not and is predicted, 0.
- Distances are in mm where every image has a spacing, in pixels where none has one; with some of each they are undefined,
  as is the distance of an image where the class is not, or is not predicted.
- Of several classes a metric is the mean over the classes (not over the background); ``dice/<class>`` is that of one.
- Metrics of all pixels together do not depend on batches, and a larger image counts more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from modicum.tasks.bootstrap import Statistic, Sums, Values
from modicum.tasks.metric import with_classes
from modicum.tasks.needs import needs_some
from modicum.tasks.segmentation.metric_table import METRICS
from modicum.tasks.segmentation.pixels import BINS, ranking_of

DISTANCES = ("hausdorff95", "surface_distance")
"""Metrics that take seconds per image, and are computed only at the images' original size."""


@dataclass(frozen=True)
class ImageStatistics:
    """All that is kept of one image, of each class.

    Attributes:
        counts: true positives, false positives, false negatives, true negatives: pixels inside the field of view.
        bins: which entries of the flattened histogram ``[classes, 2, bins]`` are not zero.
        pixels: how many pixels each of those entries has.
        distances: 95 % Hausdorff and average surface distance; None where they were not measured.
        spacing: millimetres between rows and between columns, where known.
    """

    counts: Int[np.ndarray, "4 classes"]
    bins: Int[np.ndarray, "filled"]
    pixels: Int[np.ndarray, "filled"]
    distances: Float[np.ndarray, "2 classes"] | None = None
    spacing: tuple[float, float] | None = None

    @property
    def size(self) -> int:
        """Pixels that count."""
        return int(self.counts[:, 0].sum())

    @property
    def true_area(self) -> Int[np.ndarray, "classes"]:
        """Pixels of each class."""
        return self.counts[0] + self.counts[2]

    @property
    def predicted_area(self) -> Int[np.ndarray, "classes"]:
        """Number of pixels predicted as each class."""
        return self.counts[0] + self.counts[1]

    @property
    def dice(self) -> Float[np.ndarray, "classes"]:
        """Of each class; NaN where no pixel counts."""
        return self._overlap(2 * self.counts[0], self.true_area + self.predicted_area)

    @property
    def iou(self) -> Float[np.ndarray, "classes"]:
        """Of each class; NaN where no pixel counts."""
        return self._overlap(self.counts[0], self.counts[:3].sum(0))

    def _overlap(self, shared: np.ndarray, total: np.ndarray) -> np.ndarray:
        if not self.size:
            return np.full(len(total), np.nan)
        return np.divide(shared, total, out=np.ones(len(total)), where=total > 0)


def metric_names(classes: Sequence[str], distances: bool = True) -> list[str]:
    """All metrics, in order: the summaries, then ``<metric>/<class>`` class by class where there are several.

    Args:
        classes: names of the foreground classes.
        distances: with :data:`DISTANCES`.
    """
    table = [metric for metric in METRICS if distances or metric.name not in DISTANCES]
    return list(with_classes(table, classes if len(classes) > 1 else ()))


def statistics_of(
    images: Sequence[ImageStatistics], classes: Sequence[str]
) -> tuple[list[Statistic], dict[str, list[str]]]:
    """All metrics of :func:`metric_names` as functions of weighted sums over images, and which are means of which.

    Distances are there where any image has them.
    """
    suffixes = [f"/{name}" for name in classes] if len(classes) > 1 else [""]
    statistics = []
    measured = any(image.distances is not None for image in images)
    for number, suffix in enumerate(suffixes):
        of_class = [_overlaps(images, number), _decisions(images, number), _ranking(images, number)]
        if measured:
            of_class.append(_distances(images, number))
        statistics += [_with_suffix(statistic, suffix) for statistic in of_class]
    if len(classes) == 1:
        return statistics, {}
    names = [name for name in metric_names(classes, measured) if "/" not in name]
    return statistics, {name: [name + suffix for suffix in suffixes] for name in names}


def distance_unit(images: Sequence[ImageStatistics]) -> str | None:
    """``mm``, ``pixels``, or None where images differ in that, or none was measured."""
    has_spacing = {image.spacing is not None for image in images if image.distances is not None}
    return {True: "mm", False: "pixels"}[has_spacing.pop()] if len(has_spacing) == 1 else None


def _overlaps(images: Sequence[ImageStatistics], number: int) -> Statistic:
    dice = np.array([image.dice[number] for image in images])
    iou = np.array([image.iou[number] for image in images])
    present = np.array([image.true_area[number] > 0 for image in images], dtype=bool)
    return _means_over_images(
        {
            "dice": dice,
            "iou": iou,
            "dice_positives": np.where(present, dice, np.nan),
            "empty": np.where(np.isnan(dice), np.nan, ~present),
        },
        {
            **dict.fromkeys(("dice", "iou", "empty"), "no image with pixels that count"),
            "dice_positives": "the class is in no image",
        },
    )


def _distances(images: Sequence[ImageStatistics], number: int) -> Statistic:
    unit = distance_unit(images)
    nothing = np.full(2, np.nan)
    usable = [
        image.distances[:, number] if unit and image.distances is not None else nothing for image in images
    ]
    values = np.array(usable).reshape(-1, 2).T
    reason = (
        "no image with the class in both truth and prediction"
        if unit
        else "some images have a spacing in mm and others have none"
    )
    return _means_over_images(dict(zip(DISTANCES, values, strict=True)), dict.fromkeys(DISTANCES, reason))


def _means_over_images(values: dict[str, Float[np.ndarray, "images"]], reasons: dict[str, str]) -> Statistic:
    """The mean of each value over the images that have it (not NaN)."""
    table = np.stack([values[name].astype(np.float64) for name in values])
    is_known = ~np.isnan(table)
    terms = sparse.csr_array(np.concatenate([np.where(is_known, table, 0), is_known]))

    def finish(sums: Sums) -> Values:
        means = sums[: len(values)] / sums[len(values) :]
        return dict(zip(values, means, strict=True))

    needs: dict[str, np.ndarray] = {}
    for name, known in zip(values, is_known, strict=True):
        needs |= needs_some([name], known)
    return Statistic(terms, finish, reasons, needs)


def _decisions(images: Sequence[ImageStatistics], number: int) -> Statistic:
    counts = np.array([image.counts[:, number] for image in images], dtype=np.float64).reshape(-1, 4)

    def finish(sums: Sums) -> Values:
        hits, false_alarms, misses, rejections = sums
        return {
            "sensitivity": hits / (hits + misses),
            "specificity": rejections / (rejections + false_alarms),
            "accuracy": (hits + rejections) / sums.sum(0),
        }

    reasons = {
        "sensitivity": "the class is in no image",
        "specificity": "no pixel is without the class",
        "accuracy": "no image with pixels that count",
    }
    hits, false_alarms, misses, rejections = counts.T
    needs = needs_some(["sensitivity"], hits + misses > 0) | needs_some(
        ["specificity"], rejections + false_alarms > 0
    )
    return Statistic(sparse.csr_array(counts.T), finish, reasons, needs)


def _ranking(images: Sequence[ImageStatistics], number: int) -> Statistic:
    rows, columns, pixels = [], [], []
    for column, image in enumerate(images):
        of_class = image.bins // (2 * BINS) == number
        rows.append(image.bins[of_class] % (2 * BINS))
        pixels.append(image.pixels[of_class])
        columns.append(np.full(int(of_class.sum()), column))
    where = (np.concatenate(rows), np.concatenate(columns)) if images else (np.zeros(0), np.zeros(0))
    amounts = np.concatenate(pixels).astype(np.float64) if images else np.zeros(0)
    terms = sparse.csr_array((amounts, where), shape=(2 * BINS, len(images)))

    def finish(sums: Sums) -> Values:
        return dict(ranking_of(sums[:BINS], sums[BINS:]))

    reasons = {"auroc": "needs pixels with and without the class", "auprc": "the class is in no image"}
    counts = np.array([image.counts[:, number] for image in images], dtype=np.float64).reshape(-1, 4)
    needs = needs_some(["auroc", "auprc"], counts[:, 0] + counts[:, 2] > 0)
    return Statistic(terms, finish, reasons, needs)


def _with_suffix(statistic: Statistic, suffix: str) -> Statistic:
    if not suffix:
        return statistic
    with np.errstate(divide="ignore", invalid="ignore"):
        names = statistic.finish(np.zeros((statistic.terms.shape[0], 1)))
    return statistic.renamed({name: name + suffix for name in names})


def left_out(images: Sequence[ImageStatistics], number: int) -> int:
    """Measured images that have no distance of a class, because truth or prediction is empty."""
    return sum(
        image.distances is not None and math.isnan(float(image.distances[0, number])) for image in images
    )
