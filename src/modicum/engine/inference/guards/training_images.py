"""What a run's training images looked like: fitted once, kept with the run, and compared with every image predicted.

An image is compared in a handful of ways, each of which has a name that ends up in the table of predictions. All
thresholds but those of size and spacing come from images that nothing was fitted to, so that a stated share of images
like them (:data:`RATE`) raises a false alarm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from modicum.engine.inference.guards.character import ImageCharacter
from modicum.engine.inference.guards.likeness import (
    AXES,
    Gaussian,
    fitted,
    folds_of,
    out_of_fold,
    threshold_at,
)

RATE = 0.01
"""Share of images like the validation images that are called unlike the training's, over all tests together."""
EMPTY, INVERTED, INTENSITY, COLOURS, SIZE, SPACING, FEATURES = REASONS = (
    "empty",
    "inverted",
    "other intensity window",
    "other colours",
    "other size",
    "other spacing",
    "unlike in features",
)
FEWEST_HELD_OUT = 30
"""Validation images below which training images, in folds, help to find the thresholds of tones and colours."""
FEWEST_FEATURES = 8
"""Validation images below which features have no threshold."""
SIDES, ASPECT, SPACINGS = 1.5, 1.2, 1.25
"""Factors beyond the training images' smallest and largest that still count as theirs: sides, width / height, spacing."""
BLANK = 4 / 255
"""Spread of grey levels at and below which an image is empty."""
FLOORS = {"tones": 0.01, "colours": 0.01}
"""Standard deviations that differences in levels always have, about 2.5 of 255: another encoder makes as much."""
_LEAST = 1.0
_NEGATIVE_FITS = 1.5
"""The negative's distance, in thresholds, up to which it counts as an image of the training's kind."""
_SHARED = 4
"""Tests that share the rate: tones, colours, negatives, features."""


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """What the training images looked like.

    Attributes:
        tones, colours: distributions of :class:`~modicum.engine.inference.guards.character.ImageCharacter`'s.
        features: of the run's own backbone; None where it has none, or too few images.
        thresholds: distances from which on an image is unlike, by ``tones``, ``colours``, ``negative`` and ``features``.
        sides: smallest and largest side in pixels; ``aspects`` of width / height; ``spacings`` in millimetres, None
            where no training image has one.
        least_spread: of the grey levels of any training image.
        facts: what a person wants to know: numbers of images, quantiles; for ``training_images.json`` and reports.
    """

    tones: Gaussian
    colours: Gaussian
    features: Gaussian | None
    thresholds: Mapping[str, float]
    sides: tuple[float, float]
    aspects: tuple[float, float]
    spacings: tuple[float, float] | None
    least_spread: float
    facts: Mapping[str, Any]

    def reasons(
        self,
        images: Sequence[ImageCharacter],
        features: Float[np.ndarray, "n d"] | None = None,
    ) -> list[tuple[str, ...]]:
        """Why each image is unlike the training images; nothing for one that is like them.

        Args:
            images: what they look like.
            features: what the run's backbone says of them; None where it was not asked.
        """
        if not images:
            return []
        distances = self.distances(images)
        far = np.zeros(len(images), dtype=bool)
        if features is not None and self.features is not None:
            far = self.features.distances(features) > self.thresholds["features"]
        return [self._of_one(image, distances, row, bool(far[row])) for row, image in enumerate(images)]

    def distances(self, images: Sequence[ImageCharacter]) -> dict[str, np.ndarray]:
        """Distances of images and of their negatives, by the name of the test."""
        return distances_of(self.tones, self.colours, images)

    def _of_one(
        self, image: ImageCharacter, distances: Mapping[str, np.ndarray], row: int, far: bool
    ) -> tuple[str, ...]:
        here = {name: float(values[row]) for name, values in distances.items()}
        limits, found = self.thresholds, []
        if image.spread <= BLANK < self.least_spread:
            return (EMPTY, *self._of_file(image))
        fits = here["negative tones"] <= _NEGATIVE_FITS * limits["tones"]
        inverted = fits and here["negative"] > max(0.0, limits["negative"])
        colours = here["negative colours" if inverted else "colours"]
        found += [INVERTED] if inverted else []
        found += [INTENSITY] if not inverted and here["tones"] > limits["tones"] else []
        found += [COLOURS] if colours > limits["colours"] else []
        found += self._of_file(image)
        return (*found, *([FEATURES] if far else []))

    def _of_file(self, image: ImageCharacter) -> list[str]:
        height, width = image.size
        sides_fit = _within(height, self.sides, SIDES) and _within(width, self.sides, SIDES)
        found = [] if sides_fit and _within(width / max(1, height), self.aspects, ASPECT) else [SIZE]
        if image.spacing is not None and self.spacings is not None:
            found += [] if all(_within(one, self.spacings, SPACINGS) for one in image.spacing) else [SPACING]
        return found


def _within(value: float, ends: tuple[float, float], factor: float) -> bool:
    return ends[0] / factor <= value <= ends[1] * factor


def distances_of(
    tones: Gaussian, colours: Gaussian, images: Sequence[ImageCharacter]
) -> dict[str, np.ndarray]:
    """``tones`` and ``colours``, those of negatives, and ``negative``: by how much the negative's tones fit better."""
    negatives = [image.inverted() for image in images]
    found = {
        "tones": tones.distances(np.stack([image.tones for image in images])),
        "colours": colours.distances(np.stack([image.colours for image in images])),
        "negative tones": tones.distances(np.stack([image.tones for image in negatives])),
        "negative colours": colours.distances(np.stack([image.colours for image in negatives])),
    }
    return found | {"negative": found["tones"] - found["negative tones"]}


def known_from(
    train: Sequence[ImageCharacter],
    val: Sequence[ImageCharacter],
    groups: Sequence[object],
    features: tuple[np.ndarray, np.ndarray] | None = None,
    rate: float = RATE,
) -> TrainingImages:
    """Fits what training images look like, and finds the thresholds on validation images.

    Where there are fewer than :data:`FEWEST_HELD_OUT` validation images, training images help: each is compared with
    those of other patients, in five folds. Features cannot be helped so, as the network has learned from them.

    Args:
        train: training images.
        val: validation images; may be none.
        groups: the patient of each training image, or whatever keeps it apart from the others.
        features: of the backbone, of the training and of the validation images.
        rate: share of images like the validation images that may be called unlike.
    """
    share = rate / _SHARED
    gaussians: dict[str, Gaussian] = {}
    held: dict[str, np.ndarray] = {}
    for name, floor in FLOORS.items():
        vectors = np.stack([getattr(image, name) for image in train])
        gaussians[name] = fitted(vectors, floor)
        held[name] = (
            gaussians[name].distances(np.stack([getattr(one, name) for one in val])) if val else np.zeros(0)
        )
        if len(val) < FEWEST_HELD_OUT and len(train) > 1:
            of_folds = out_of_fold(vectors, folds_of(groups), floor)
            held[name] = np.concatenate([of_folds, held[name]])
    near = [*val, *train] if len(val) < FEWEST_HELD_OUT else val
    held["negative"] = distances_of(gaussians["tones"], gaussians["colours"], near)["negative"]
    limits = {name: max(_LEAST, threshold_at(held[name], share)) for name in FLOORS}
    limits["negative"] = threshold_at(held["negative"], share, positive=False)
    of_features = None
    if features is not None and len(features[1]) >= FEWEST_FEATURES and len(features[0]) > 1:
        of_features = fitted(features[0], 1e-6, min(AXES, max(1, len(features[0]) // 5)))
        limits["features"] = threshold_at(of_features.distances(features[1]), share)
    spacings = [one for image in train if image.spacing is not None for one in image.spacing]
    counts = {"training": len(train), "validation": len(val), "thresholds": len(held["tones"])}
    aspects = [image.size[1] / max(1, image.size[0]) for image in train]
    return TrainingImages(
        gaussians["tones"],
        gaussians["colours"],
        of_features,
        limits,
        _ends([side for image in train for side in image.size]),
        _ends(aspects),
        _ends(spacings) if spacings else None,
        min(image.spread for image in train),
        {"images": counts, "rate": rate, **_described(train)},
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return float(min(values)), float(max(values))


def _described(images: Sequence[ImageCharacter]) -> dict[str, Any]:
    """Quantiles over the images of what a person can picture."""
    tones = np.stack([image.tones for image in images])
    colours = np.stack([image.colours for image in images])
    spacings = [image.spacing[0] for image in images if image.spacing is not None]
    columns: dict[str, Sequence[float] | np.ndarray] = {
        "height": [image.size[0] for image in images],
        "width": [image.size[1] for image in images],
        "dark_end": tones[:, 0],
        "median_grey": tones[:, 3],
        "bright_end": tones[:, 6],
        "black_share": tones[:, 7] ** 2,
        "white_share": tones[:, 8] ** 2,
        "sharpness": 10 ** tones[:, 9],
        "spacing_mm": spacings,
    }
    quantiles = {
        name: dict(
            zip(
                ("low", "median", "high"),
                np.quantile(np.asarray(values), (0.05, 0.5, 0.95)).tolist(),
                strict=True,
            )
        )
        for name, values in columns.items()
        if len(values)
    }
    in_colour = float((np.abs(colours).max(1) > _COLOURED).mean())
    return {"quantiles": quantiles, "in_colour": in_colour, "with_spacing": len(spacings) / len(images)}


_COLOURED = 0.02
"""Largest mean or spread of a colour axis above which an image is in colour, for the description."""
