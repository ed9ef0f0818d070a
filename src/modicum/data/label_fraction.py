"""A share of the training images, as if only these had been labelled.

The patients of the training part stand in one order, and a share is its beginning: of the same seed, 1 % lies inside
10 %. The order is stratified everywhere: the next patient is the one, of some that wait, after whom the labels (classes,
or findings of multi-label data) are nearest to their proportions in the whole. Before all others stands one patient of
each label, so that no share is without it.
"""

import numpy as np

from modicum.data.manifest import Manifest
from modicum.data.splits import Patients, patients_in_order
from modicum.errors import InputError
from modicum.wording import count_of

WAITING = 64
"""Patients among whom the next one is chosen."""
LEFT_OUT = np.nan
"""The split of an image that is left out: it is neither learned from nor tested on."""


def keep_label_fraction(manifest: Manifest, fraction: float, seed: int = 0) -> Manifest:
    """Leaves training patients out until only a share of the training images is learned from.

    The number of images comes as near to the share as whole patients allow, and never below one patient of each label
    that training has. What is left out stays in the table, without a split. Validation and test are not touched.

    Args:
        manifest: with a column ``split``.
        fraction: of the training images, above 0; 1 changes nothing.
        seed: another one keeps other patients.

    Raises:
        InputError: the fraction is not in (0, 1], or there are no training images.
    """
    if not 0 < fraction <= 1:
        raise InputError(
            f"label fraction {fraction:g} is not a share of the training images",
            "give a number above 0 and up to 1, such as 0.01",
        )
    if fraction == 1:
        return manifest
    rows = np.flatnonzero(
        (manifest.table["split"] == "train").to_numpy(dtype=bool) if "split" in manifest.table else []
    )
    if not len(rows):
        raise InputError(f"{manifest.source}: there are no training images to take a share of", "give some")
    patients = patients_in_order(manifest.subset(rows), seed)
    order, always = _order(patients)
    sizes = np.array([len(patients.rows[patient]) for patient in order])
    many = max(_nearest(sizes, fraction * len(rows)), always)
    kept = rows[[row for patient in order[:many] for row in patients.rows[patient]]]
    splits = manifest.table["split"].to_numpy(dtype=object, copy=True)
    splits[rows] = LEFT_OUT
    splits[kept] = "train"
    note = (
        f"label fraction {fraction:g}: {len(kept):,} of {count_of(len(rows), 'training image')} "
        f"({many:,} of {count_of(len(order), 'patient')}, seed {seed}) are learned from; the others are left out"
    )
    return manifest.with_columns([note], split=splits)


def _order(patients: Patients) -> tuple[list[int], int]:
    """Patients in the order in which shares take them, and how many of them every share has."""
    sizes = np.array([len(rows) for rows in patients.rows], dtype=np.float64)
    present = patients.counts > 0
    # Each patient stands for its rarest label (labels go from rare to common), those without any for one more; the
    # patients of a label come at even distances, so that of every label some are waiting.
    stands_for = (
        np.where(present.any(1), present.argmax(1), len(patients.labels)) if present.size else 0 * sizes
    )
    place = np.empty(len(sizes))
    for label in np.unique(stands_for):
        own = np.flatnonzero(stands_for == label)
        place[own] = (sizes[own].cumsum() - sizes[own] / 2) / sizes[own].sum()
    first: list[int] = []
    for label in range(len(patients.labels)):
        holders = np.flatnonzero(present[:, label])
        if len(holders) and not present[first, label].any():
            first.append(int(holders[np.argmin(place[holders])]))
    spread = np.lexsort((np.arange(len(sizes)), stands_for, place))
    queue = spread[~np.isin(spread, first)]
    # Patients are counted with the labels: else those with few images, which disturb little, would come first.
    counts = np.column_stack([patients.counts, np.ones_like(sizes), sizes])
    return [*first, *_balanced(queue, counts, first)], max(1, len(first))


def _balanced(queue: np.ndarray, counts: np.ndarray, taken: list[int]) -> list[int]:
    """Patients of a queue in an order that keeps every label near its proportion.

    The next is the one after whom the squared distances of the labels' counts from those expected of so many images,
    each over the label's total (as in Pearson's chi-squared), are least in sum.

    Args:
        queue: indices of patients; the first :data:`WAITING` that are left are chosen from.
        counts: [patients, labels], images of each patient with a label; all its images in the last column.
        taken: patients that stand before.
    """
    counts = counts[:, counts.any(0)]
    totals, have = counts.sum(0), counts[taken].sum(0)
    waiting, coming = queue[:WAITING].copy(), iter(queue[WAITING:])
    order: list[int] = []
    while len(waiting):
        after = have + counts[waiting]
        expected = after[:, -1:] / totals[-1] * totals
        best = int(np.argmin(((after - expected) ** 2 / totals).sum(1)))
        order.append(int(waiting[best]))
        have = after[best]
        if (new := next(coming, None)) is None:
            waiting = np.delete(waiting, best)
        else:
            waiting[best] = new
    return order


def _nearest(sizes: np.ndarray, images: float) -> int:
    """How many patients from the start have nearest to this number of images together."""
    return 1 + int(np.argmin(np.abs(sizes.cumsum() - images)))
