"""A share of the training images, as if only these had been labelled.

The patients of the training part stand in one order, and a share is its beginning: of the same seed, 1 % lies inside
10 %. The order is stratified everywhere. Each patient counts for the rarest of its labels (classes, or findings of
multi-label data); the patients of a label are spread evenly over the order, by their images; and before all of them
stands one patient of each label, so that no share is without it.
"""

import numpy as np

from modicum.data.manifest import Manifest
from modicum.data.splits import Patients, patients_in_order
from modicum.errors import InputError
from modicum.wording import count_of

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
    # The labels stand from rare to common; who has none belongs to a group of its own after them.
    group = np.where(present.any(1), present.argmax(1), len(patients.labels)) if present.size else 0 * sizes
    place = np.empty(len(sizes))
    for label in np.unique(group):
        members = np.flatnonzero(group == label)
        own = sizes[members]
        place[members] = (own.cumsum() - own / 2) / own.sum()
    first: list[int] = []
    for label in range(len(patients.labels)):
        holders = np.flatnonzero(present[:, label])
        if len(holders) and not present[first, label].any():
            first.append(int(holders[np.argmin(place[holders])]))
    spread = np.lexsort((np.arange(len(sizes)), group, place)).tolist()
    taken = set(first)
    return [*first, *(patient for patient in spread if patient not in taken)], max(1, len(first))


def _nearest(sizes: np.ndarray, images: float) -> int:
    """How many patients from the start have nearest to this number of images together."""
    return 1 + int(np.argmin(np.abs(sizes.cumsum() - images)))
