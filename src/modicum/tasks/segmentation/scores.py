"""Collects the predictions of a segmentation over one split, in memory that does not grow with the images' size."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from modicum.tasks.base import Batch, Example, Scores
from modicum.tasks.bootstrap import Estimate, bootstrap, point_values
from modicum.tasks.scores import DenseScores
from modicum.tasks.segmentation.metrics import (
    DISTANCES,
    ImageStatistics,
    distance_unit,
    left_out,
    metric_names,
    statistics_of,
)
from modicum.tasks.segmentation.pixels import BINS, PixelCounts, decided, pixel_counts, ranking_of
from modicum.tasks.segmentation.surfaces import surface_distances
from modicum.wording import count_of


class SegmentationScores(DenseScores):
    """See :class:`~modicum.tasks.base.DenseScores`. Made by :meth:`Segmentation.scores`.

    Of each image counts and a histogram of probabilities are kept: 8 bytes a filled bin, thus at most 64 KB an
    image and class.

    Args:
        classes: names of the foreground classes.
        activate: from logits to probabilities of all channels.
        exclusive: channels exclude each other, and the first is the background.
        threshold: probability from which on a class that excludes none is predicted.
    """

    def __init__(
        self,
        classes: Sequence[str],
        activate: Callable[[Tensor], Tensor],
        *,
        exclusive: bool = False,
        threshold: float = 0.5,
    ) -> None:
        self.classes = tuple(classes)
        self.exclusive = exclusive
        self.threshold = threshold
        self._activate = activate
        self._images: dict[int, ImageStatistics] = {}

    def update(self, outputs: Tensor, batch: Batch) -> None:
        """``batch["mask"]``: targets ``[b, channels, h, w]`` of 0 and 1; ``batch["fov"]``, where there is one: non-zero
        where pixels count, ``[b, 1, h, w]``.
        """
        fov = batch.get("fov")
        counts = self._counts(
            self._activate(outputs.detach()), batch["mask"] > 0.5, None if fov is None else fov != 0
        )
        for index, row in enumerate(batch["row"].tolist()):
            self._images.setdefault(row, _kept(counts, index))

    def add(
        self,
        row: int,
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray],
        spacing: tuple[float, float] | None,
    ) -> None:
        """``truth["mask"]``: bool ``[channels, height, width]``; ``truth["fov"]``, where there is one: bool ``[height,
        width]``. Measures distances too.
        """
        probabilities = _tensor(activated).unsqueeze(0)
        mask = _tensor(truth["mask"]).unsqueeze(0)
        inside = _tensor(truth["fov"])[None, None] if "fov" in truth else None
        kept = _kept(self._counts(probabilities, mask, inside), 0)
        within = True if inside is None else inside[0]
        predicted = (decided(probabilities[0], self.exclusive, self.threshold) & within).numpy()
        true = (mask[0] & within).numpy()
        first = 1 if self.exclusive else 0
        distances = [
            surface_distances(*pair, spacing or (1.0, 1.0))
            for pair in zip(predicted[first:], true[first:], strict=True)
        ]
        kept = replace(kept, distances=np.array(distances, dtype=np.float64).T, spacing=spacing)
        self._images.setdefault(row, kept)

    def _counts(self, probabilities: Tensor, truth: Tensor, inside: Tensor | None) -> PixelCounts:
        predicted = decided(probabilities, self.exclusive, self.threshold)
        first = 1 if self.exclusive else 0
        return pixel_counts(probabilities[:, first:], truth[:, first:], predicted[:, first:], inside)

    def merge(self, others: Sequence[Scores]) -> None:
        for other in others:
            assert isinstance(other, SegmentationScores)
            self._images = other._images | self._images

    def _collected(self) -> list[ImageStatistics]:
        return [self._images[row] for row in sorted(self._images)]

    def rows(self) -> np.ndarray:
        return np.array(sorted(self._images), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> "SegmentationScores":
        some = copy(self)
        some._images = {row: self._images[row] for row in rows.tolist() if row in self._images}
        return some

    def metrics(self) -> dict[str, float]:
        images = self._collected()
        statistics, means = statistics_of(images, self.classes)
        values, _ = point_values(statistics, len(images), means)
        return {name: values[name] for name in metric_names(self.classes) if name in values}

    def estimates(self, groups: Sequence[str] | None, resamples: int, seed: int) -> dict[str, Estimate]:
        images = self._collected()
        statistics, means = statistics_of(images, self.classes)
        estimates = bootstrap(
            statistics, len(images), means=means, groups=groups, resamples=resamples, seed=seed
        )
        notes = self._notes(images)
        return {
            name: replace(
                estimates[name], reason="; ".join(filter(None, (notes.get(name), estimates[name].reason)))
            )
            for name in metric_names(self.classes)
            if name in estimates
        }

    def _notes(self, images: Sequence[ImageStatistics]) -> dict[str, str]:
        """The unit of distances, and how many images have none."""
        unit = distance_unit(images)
        if unit is None:
            return {}
        notes = {}
        for number, name in enumerate(self.classes):
            without = left_out(images, number)
            missing = f"; without {count_of(without, 'image')} where truth or prediction is empty"
            for metric in DISTANCES:
                key = f"{metric}/{name}" if len(self.classes) > 1 else metric
                notes[key] = f"in {unit}{missing if without else ''}"
        return dict.fromkeys(DISTANCES, f"in {unit}") | notes

    def table(self) -> pd.DataFrame:
        """One row per image: ``row``, that of the manifest, then for each class Dice, AUROC, areas in pixels (and in mm²
        where the spacing is known) and distances where they were measured. With several classes, columns are named
        ``<metric>/<class>``.
        """
        rows = []
        for row, image in sorted(self._images.items()):
            values: dict[str, float | int | str] = {"row": row}
            for number, name in enumerate(self.classes):
                suffix = f"/{name}" if len(self.classes) > 1 else ""
                values |= {key + suffix: value for key, value in _row_of_class(image, number).items()}
            if image.distances is not None:
                values["distance_unit"] = "pixels" if image.spacing is None else "mm"
            rows.append(values)
        return pd.DataFrame(rows)

    def examples(self, count: int) -> list[Example]:
        """The images with the lowest Dice (the mean over classes), typical ones, and some with the highest.

        At most ``count`` of the first, and no more than half of all images; half as many nearest to the median; a
        quarter as many, at least one, of the last.
        """
        dice = {row: float(np.nanmean(image.dice)) for row, image in self._images.items() if image.size}
        ranked = sorted(dice, key=lambda row: (dice[row], row))
        worst = ranked[: min(count, -(-len(ranked) // 2))]
        best = ranked[len(worst) :][: -1 - max(1, count // 4) : -1]
        between = ranked[len(worst) : len(ranked) - len(best)]
        median = float(np.median(list(dice.values()))) if dice else 0.0
        nearest = sorted(between, key=lambda row: abs(dice[row] - median))[: count // 2]
        typical = [row for row in ranked if row in nearest]
        return [
            Example(row, kind, 0, *self._areas(self._images[row]), dice[row])
            for kind, chosen in (("mistake", worst), ("typical", typical), ("correct", best))
            for row in chosen
        ]

    def _areas(self, image: ImageStatistics) -> tuple[str, str]:
        sides = []
        for area in (image.true_area, image.predicted_area):
            parts = [
                f"{name} {count_of(int(of), 'pixel')}" for name, of in zip(self.classes, area, strict=True)
            ]
            sides.append(", ".join(parts))
        return sides[0], sides[1]


def _kept(counts: PixelCounts, index: int) -> ImageStatistics:
    histogram = counts.histogram[index].ravel()
    filled = np.flatnonzero(histogram)
    four = np.stack([part[index] for part in counts[:4]])
    # An image has fewer than 2^31 pixels.
    return ImageStatistics(four, filled.astype(np.int32), histogram[filled].astype(np.int32))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _row_of_class(image: ImageStatistics, number: int) -> dict[str, float | int]:
    row: dict[str, float | int] = {
        "dice": float(image.dice[number]),
        "iou": float(image.iou[number]),
        "true_area": int(image.true_area[number]),
        "predicted_area": int(image.predicted_area[number]),
    }
    if image.spacing is not None:
        pixel = image.spacing[0] * image.spacing[1]
        row |= {f"{side}_mm2": float(row[side] * pixel) for side in ("true_area", "predicted_area")}
    of_class = image.bins // (2 * BINS) == number
    histogram = np.zeros(2 * BINS)
    histogram[image.bins[of_class] % (2 * BINS)] = image.pixels[of_class]
    absent, present = histogram.reshape(2, BINS, 1)
    row |= {name: float(value[0]) for name, value in ranking_of(absent, present).items()}
    if image.distances is not None:
        row |= {name: float(value) for name, value in zip(DISTANCES, image.distances[:, number], strict=True)}
    return row
