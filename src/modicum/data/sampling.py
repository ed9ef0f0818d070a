"""The images of an epoch, and their order.

The order is a pure function of labels, mode, seed and epoch: there is no state between epochs, so any
step of any epoch can be repeated after a kill. Epochs count from 0.
"""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from modicum.errors import InputError, did_you_mean

SamplingMode = Literal["natural", "square_root", "balanced", "progressive", "round_robin", "one_per_study"]
SAMPLING_MODES: tuple[str, ...] = get_args(SamplingMode)


def decayed_weights(
    weights: Float[np.ndarray, "n"], epoch: int, decay: float = 0.9
) -> Float[np.ndarray, "n"]:
    """Weights that start at ``weights`` and tend to 1: f weights + (1 - f), f = decay ** epoch.

    Args:
        weights: at epoch 0, for instance those of :func:`sample_weights`.
        epoch: from 0.
        decay: between 0 and 1; the paper's default is 0.9.
    """
    share = decay**epoch
    return share * weights + (1 - share)


def sample_weights(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n findings"],
) -> Float[np.ndarray, "n"]:
    """Sampling weights of images that balance all kinds, relative to the most common kind.

    Args:
        labels: class numbers from 0, where each class has the same share; or, for several findings an image,
            1, 0 or NaN (unknown). An image with findings is weighted by its rarest one; images without any
            are one more kind.

    Raises:
        InputError: a class number below 0.
    """
    if labels.ndim == 1:
        if len(labels) and labels.min() < 0:
            raise InputError(f"class number {labels.min()} is below 0", "pass only images with a known class")
        counts = np.bincount(labels)
        return counts.max(initial=0) / counts[labels].astype(np.float64)
    present: Bool[np.ndarray, "n findings"] = labels == 1
    nothing = ~present.any(1)
    counts = present.sum(0)
    # The rarest of an image's findings; images without any count as a separate kind.
    rarest = np.where(present, counts, len(labels) + 1).min(1, initial=len(labels) + 1)
    kind_counts = np.where(nothing, nothing.sum(), rarest)
    return kind_counts.max(initial=0) / kind_counts.astype(np.float64)


def epoch_order(
    labels: Shaped[np.ndarray, "n *findings"],
    mode: str = "natural",
    *,
    seed: int = 0,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    decay: float = 0.9,
) -> Int[np.ndarray, "draws"]:
    """Indices of the images in the order of this process and epoch.

    Args:
        labels: class numbers [n], or findings [n, findings] (see :func:`sample_weights`).
        mode: ``natural`` uses every image once, shuffled. ``balanced`` draws n images with replacement, so
            that each class has the same share (rare images are repeated, many common ones are not drawn).
            ``square_root`` draws so that a class has a share by the square root of its number of images.
            ``progressive`` starts balanced and tends to natural shares over epochs. ``round_robin`` draws
            with replacement one image of each class in turn, as often as the largest class has images.
            ``one_per_study`` takes labels as numbers of studies, and draws one image of each, shuffled.
        seed: seed of the run, not below 0.
        epoch: from 0.
        rank: rank of this process; the processes' orders are disjoint parts of one order, all
            of the same length (a remainder of draws is left out).
        world_size: number of processes.
        decay: decay of ``progressive`` (see :func:`decayed_weights`).

    Raises:
        InputError: unknown mode, negative seed or epoch, invalid rank, or fewer images than processes.
    """
    _check(len(labels), mode, seed, epoch, rank, world_size)
    generator = np.random.default_rng([seed, epoch])
    if mode == "round_robin":
        return _one_of_each(labels, generator)[rank::world_size][: _rounds(labels) // world_size].ravel()
    if mode == "one_per_study":
        order = _one_per_study(labels, generator)
        return order[rank::world_size][: len(order) // world_size]
    if mode == "natural":
        order = generator.permutation(len(labels))
    else:
        weights = sample_weights(labels)
        if mode == "progressive":
            weights = decayed_weights(weights, epoch, decay)
        elif mode == "square_root":
            weights = np.sqrt(weights)
        order = _draw(weights, len(labels), generator)
    return order[rank::world_size][: len(labels) // world_size]


def label_shares(counts: Int[np.ndarray, "classes"], mode: str) -> Float[np.ndarray, "classes"]:
    """The expected share of each class among the images that a mode draws; 0 for a class without images.

    Args:
        counts: images of each class.
        mode: of :func:`epoch_order`.

    Raises:
        InputError: unknown mode, or ``progressive``, whose shares change with the epochs.

    >>> label_shares(np.array([90, 10, 0]), "balanced").tolist()
    [0.5, 0.5, 0.0]
    """
    powers = {"natural": 1.0, "square_root": 0.5, "balanced": 0.0, "round_robin": 0.0}
    if mode == "progressive":
        raise InputError(
            "sampling 'progressive' feeds other shares of the classes in every epoch, and a class prior is of one",
            "use natural, square_root or balanced",
        )
    if mode not in powers:
        raise InputError(f"unknown sampling '{mode}'", did_you_mean(mode, powers))
    drawn = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** powers[mode], 0.0)
    return drawn / max(drawn.sum(), 1e-300)


def epoch_draws(labels: Shaped[np.ndarray, "n *findings"], mode: str, world_size: int = 1) -> int:
    """Number of images per process and epoch: the length of :func:`epoch_order`."""
    if mode == "round_robin":
        return len(np.unique(labels)) * (_rounds(labels) // world_size)
    if mode == "one_per_study":
        return len(np.unique(labels)) // world_size
    return len(labels) // world_size


def _rounds(labels: Int[np.ndarray, "n"]) -> int:
    return int(np.unique(labels, return_counts=True)[1].max())


def _one_of_each(
    labels: Int[np.ndarray, "n"], generator: np.random.Generator
) -> Int[np.ndarray, "rounds classes"]:
    rounds = _rounds(labels)
    members = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    return np.stack([generator.choice(rows, rounds) for rows in members], axis=1)


def _one_per_study(
    studies: Int[np.ndarray, "n"], generator: np.random.Generator
) -> Int[np.ndarray, "studies"]:
    """An image of each study; each of its images is as likely."""
    shuffled = generator.permutation(len(studies))
    _, first = np.unique(studies[shuffled], return_index=True)
    return generator.permutation(shuffled[first])


def batches(
    order: Int[np.ndarray, "draws"], batch_size: int, drop_last: bool = False, start: int = 0
) -> Iterator[Int[np.ndarray, "batch"]]:
    """Cuts an order into batches, beginning with batch ``start`` (from 0).

    Args:
        order: from :func:`epoch_order`.
        batch_size: images per batch.
        drop_last: drop an incomplete last batch.
        start: number of batches to skip, as after resuming in the middle of an epoch.
    """
    for step in range(start, number_of_batches(len(order), batch_size, drop_last)):
        yield order[step * batch_size : (step + 1) * batch_size]


def number_of_batches(draws: int, batch_size: int, drop_last: bool = False) -> int:
    """Number of batches of an order of ``draws`` images."""
    if batch_size < 1:
        raise InputError(f"the batch size {batch_size} is below 1", "pass for instance --batch-size 16")
    return draws // batch_size if drop_last else -(-draws // batch_size)


def _draw(
    weights: Float[np.ndarray, "n"], draws: int, generator: np.random.Generator
) -> Int[np.ndarray, "draws"]:
    """Independent draws with replacement, in proportion to the weights."""
    reached = np.cumsum(weights)
    chosen = np.searchsorted(reached, generator.random(draws) * reached[-1], side="right")
    # Rounding could move the last draw past the end.
    return np.minimum(chosen, len(weights) - 1)


def _check(images: int, mode: str, seed: int, epoch: int, rank: int, world_size: int) -> None:
    if mode not in SAMPLING_MODES:
        raise InputError(f"unknown sampling '{mode}'", did_you_mean(mode, SAMPLING_MODES))
    if seed < 0 or epoch < 0:
        raise InputError(f"seed {seed} and epoch {epoch} must not be below 0", "use 0 or more")
    if not 0 <= rank < world_size:
        raise InputError(f"rank {rank} is not in 0..{world_size - 1}", "pass the rank of this process")
    if images < max(1, world_size):
        raise InputError(
            f"{images} training images cannot be shared by {world_size} processes",
            "add images or use fewer processes",
        )
