"""Keeps a fraction of the training images, as if only these were labelled.

Training patients are ordered, and a fraction is the beginning of that order: with the same seed, 1 % is a subset of
10 %. Every beginning is stratified: the next patient, of several candidates, is the one with which the labels (classes,
or findings of multi-label data) are nearest to their overall proportions. The first patients are one of
each label, so that every fraction has all labels.
"""

import numpy as np

from modicum.data.manifest import Manifest
from modicum.data.splits import Patients, patients_in_order
from modicum.errors import InputError
from modicum.wording import count_of

WAITING = 64
"""Number of candidates for the next patient."""
LEFT_OUT = np.nan
"""The split of an image that is left out: used neither for training nor for testing."""


def keep_label_fraction(manifest: Manifest, fraction: float, seed: int = 0) -> Manifest:
    """Leaves out training patients until only a fraction of the training images remains.

    The number of images is as near to the fraction as whole patients allow, with at least one patient of each label
    in training. Images left out stay in the table, without a split. Validation and test are unchanged.

    Args:
        manifest: with a column ``split``.
        fraction: fraction of the training images, above 0; 1 changes nothing.
        seed: random seed of the patients' order.

    Raises:
        InputError: the fraction is not in (0, 1], or there are no training images.
    """
    if not 0 < fraction <= 1:
        raise InputError(
            f"label fraction {fraction:g} is not above 0 and at most 1",
            "use for instance label_fraction=0.01",
        )
    if fraction == 1:
        return manifest
    rows = np.flatnonzero(
        (manifest.table["split"] == "train").to_numpy(dtype=bool) if "split" in manifest.table else []
    )
    if not len(rows):
        raise InputError(
            f"{manifest.source}: there are no training images to take a fraction of",
            "write train in column 'split' of some rows, or leave the column out",
        )
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
        f"({many:,} of {count_of(len(order), 'patient')}, seed {seed}) are in training; the others are left out"
    )
    return manifest.with_columns([note], split=splits)


def _order(patients: Patients) -> tuple[list[int], int]:
    """Patients in the order in which fractions include them, and the number of patients in every fraction."""
    sizes = np.array([len(rows) for rows in patients.rows], dtype=np.float64)
    present = patients.counts > 0
    # Each patient is assigned to its rarest label (labels go from rare to common), those without any to one more; the
    # patients of a label are evenly spaced, so that there are candidates of every label.
    assigned = (
        np.where(present.any(1), present.argmax(1), len(patients.labels)) if present.size else 0 * sizes
    )
    quantile = np.empty(len(sizes))
    for label in np.unique(assigned):
        patients_of_label = np.flatnonzero(assigned == label)
        quantile[patients_of_label] = (
            sizes[patients_of_label].cumsum() - sizes[patients_of_label] / 2
        ) / sizes[patients_of_label].sum()
    first: list[int] = []
    for label in range(len(patients.labels)):
        holders = np.flatnonzero(present[:, label])
        if len(holders) and not present[first, label].any():
            first.append(int(holders[np.argmin(quantile[holders])]))
    spread = np.lexsort((np.arange(len(sizes)), assigned, quantile))
    queue = spread[~np.isin(spread, first)]
    # Patients and images are balanced like labels: otherwise patients with few images would come first.
    counts = np.column_stack([patients.counts, np.ones_like(sizes), sizes])
    return [*first, *_balanced(queue, counts, first)], max(1, len(first))


def _balanced(queue: np.ndarray, counts: np.ndarray, taken: list[int]) -> list[int]:
    """Orders the patients of a queue so that every label stays near its proportion.

    The next is the one that minimises the sum of squared differences between the labels' counts and those expected
    for that many images, each divided by the label's total (as in Pearson's chi-squared).

    Args:
        queue: indices of patients; the first :data:`WAITING` that remain are the candidates.
        counts: [patients, labels], number of images of each patient with a label; of all its images in the last column.
        taken: patients already chosen.
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
    """The number of first patients whose total number of images is nearest to ``images``."""
    return 1 + int(np.argmin(np.abs(sizes.cumsum() - images)))
