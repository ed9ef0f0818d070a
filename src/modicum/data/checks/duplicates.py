"""Finds contradictions between copies, and leaks: patients or images in several splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from modicum.data.checks.copies import Facts, duplicate_groups, near_pairs, split_numbers
from modicum.data.checks.near_duplicates import NearPair
from modicum.data.manifest import LABELS_PREFIX, SPLITS, Manifest
from modicum.errors import InputError
from modicum.wording import count_of

Kind = Literal["patient", "identical file", "near-duplicate"]
Policy = Literal["error", "drop", "allow"]
_EXAMPLES = 5


@dataclass(frozen=True)
class Leak:
    """A patient or image that is in two splits.

    Attributes:
        kind: what the two images share: the patient, the file (its content, or parts of one volume), or nearly all
            of their appearance.
        first, second: the images, as in the manifest; one pair for each patient and pair of splits.
        splits: splits of the first and of the second, in the order train, val, test.
        patient: the id as in the manifest, if the patient is shared.
    """

    kind: Kind
    first: str
    second: str
    splits: tuple[str, str]
    patient: str | None = None

    def __str__(self) -> str:
        between = f"({self.splits[0]}, {self.splits[1]})"
        if self.patient is not None:
            return f"patient '{self.patient}' {between}: {self.first}, {self.second}"
        if self.first == self.second:
            return f"the same image twice {between}: {self.first}"
        same = "identical files" if self.kind == "identical file" else "near-duplicates"
        return f"{same} {between}: {self.first}, {self.second}"


class _Row(NamedTuple):
    """A row of the manifest with a split."""

    number: int
    image: str
    split: int
    body: str


def contradictions(manifest: Manifest, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Of groups of rows that show one picture, those whose labels (or known findings) are not the same."""
    table = manifest.table
    columns = [f"{LABELS_PREFIX}{name}" for name in manifest.findings] or [
        n for n in ("label",) if n in table
    ]
    cells = [table[name].to_numpy() for name in columns]
    return [
        list(rows)
        for rows in groups
        if any(len({value for value in of[list(rows)].tolist() if value == value}) > 1 for of in cells)
    ]


def contradiction_notes(manifest: Manifest, facts: Facts) -> list[str]:
    """A note of pictures that are in the data under more than one label, for those who train on them."""
    contradicting = contradictions(manifest, duplicate_groups(manifest, facts))
    if not contradicting:
        return []
    images = manifest.table["image"]
    first = " = ".join(images.iloc[row] for row in contradicting[0][:3])
    return [
        f"caution: {count_of(len(contradicting), 'picture')} in the data under labels that contradict each other "
        f"({first}): correct the labels or take them out"
    ]


def leaks(
    manifest: Manifest, facts: Facts, near: Sequence[NearPair] | None = None, stores: Path | None = None
) -> list[Leak]:
    """Finds leaks between splits: patients first, then identical files, then near-duplicates.

    Rows without a split are ignored. Pairs of one patient are listed once, as the patient's.

    Args:
        manifest: with a column ``split``; without one there are no leaks.
        facts: facts of its images, looked up by ``ref``.
        near: result of :func:`near_pairs`, if already computed.
        stores: folder to cache the result.
    """
    splits = split_numbers(manifest)
    if len(set(splits[splits >= 0].tolist())) < 2:
        return []
    if near is None:
        near = near_pairs(manifest, facts, across_splits=True, stores=stores)
    images, bodies = list(manifest.table["image"]), manifest.patients()
    rows = [_Row(n, images[n], int(splits[n]), bodies[n]) for n in range(len(manifest)) if splits[n] >= 0]
    return [*_patient_leaks(rows), *_file_leaks(manifest, facts, rows), *_near_leaks(near, rows)]


def leak_message(leaks_found: Sequence[Leak], most: int = _EXAMPLES) -> str:
    """A one-line message with the number of leaks and the first ones."""
    more = f"; and {len(leaks_found) - most} more" if len(leaks_found) > most else ""
    return f"{count_of(len(leaks_found), 'leak')} between splits: {'; '.join(map(str, leaks_found[:most]))}{more}"


def resolve_leaks(
    manifest: Manifest,
    facts: Facts,
    policy: Policy = "error",
    stores: Path | None = None,
    near: Sequence[NearPair] | None = None,
) -> tuple[Manifest, list[str]]:
    """Resolves leaks according to a policy.

    Args:
        manifest: with or without a column ``split``.
        facts: facts of its images, looked up by ``ref``.
        policy: ``error``; ``drop``, which removes the training image (of val and test, the one in val) from the data
            so that the test images are unchanged; ``allow``.
        stores: folder to cache the near-duplicates.
        near: result of :func:`near_pairs`, if already computed.

    Returns:
        The resulting manifest, and notes for the user; empty without leaks.

    Raises:
        InputError: there are leaks, and ``policy`` is ``error``.
    """
    leaks_found = leaks(manifest, facts, near, stores)
    if not leaks_found:
        return manifest, []
    if policy == "error":
        raise InputError(
            f"{manifest.source or 'manifest'}: {leak_message(leaks_found)}",
            "correct the split, pass --leaks drop to drop the training images, or --leaks allow",
        )
    if policy == "allow":
        return manifest, [f"allowed, and scores are likely optimistic: {leak_message(leaks_found)}"]
    drop = _lower_side(manifest, leaks_found)
    names = [
        split for split in SPLITS if (drop & (manifest.table["split"] == split).to_numpy(dtype=bool)).any()
    ]
    note = f"{count_of(int(drop.sum()), 'image')} dropped from {' and '.join(names)}: {leak_message(leaks_found)}"
    return manifest.subset(~drop), [note]


def _lower_side(manifest: Manifest, leaks_found: Sequence[Leak]) -> Bool[np.ndarray, "n"]:
    """Mask of rows to drop so that no leak remains; of each leak, the later one in train, val, test is kept."""
    splits, bodies = split_numbers(manifest), manifest.patients()
    last: dict[str, int] = {}
    for body, split in zip(bodies, splits.tolist(), strict=True):
        last[body] = max(last.get(body, -1), split)
    images = {(leak.first, SPLITS.index(leak.splits[0])) for leak in leaks_found if leak.kind != "patient"}
    return np.array(
        [
            split >= 0 and (split < last[body] or (image, split) in images)
            for image, body, split in zip(manifest.table["image"], bodies, splits.tolist(), strict=True)
        ]
    )


def _patient_leaks(rows: Sequence[_Row]) -> Iterator[Leak]:
    """One leak for each patient, or file with several parts, and each pair of its splits."""
    first_of: dict[str, dict[int, _Row]] = {}
    for row in rows:
        first_of.setdefault(row.body, {}).setdefault(row.split, row)
    for body, by_split in first_of.items():
        has_id = body.startswith("patient:")
        patient = body.removeprefix("patient:") if has_id else None
        for lower, higher in combinations(sorted(by_split), 2):
            yield _leak("patient" if has_id else "identical file", by_split[lower], by_split[higher], patient)


def _file_leaks(manifest: Manifest, facts: Facts, rows: Sequence[_Row]) -> Iterator[Leak]:
    """One leak for each image with a copy of another patient in a later split: with the first such copy."""
    by_number = {row.number: row for row in rows}
    for group in duplicate_groups(manifest, facts):
        members = [by_number[number] for number in group if number in by_number]
        for row in members:
            copies = [
                copy_row for copy_row in members if copy_row.split > row.split and copy_row.body != row.body
            ]
            for split in sorted({copy_row.split for copy_row in copies}):
                yield _leak(
                    "identical file", row, next(copy_row for copy_row in copies if copy_row.split == split)
                )


def _near_leaks(near: Sequence[NearPair], rows: Sequence[_Row]) -> Iterator[Leak]:
    by_number = {row.number: row for row in rows}
    for pair in near:
        first_row, second_row = by_number.get(pair.first), by_number.get(pair.second)
        if first_row is not None and second_row is not None and first_row.split != second_row.split:
            lower, higher = sorted((first_row, second_row), key=lambda row: row.split)
            yield _leak("near-duplicate", lower, higher)


def _leak(kind: Kind, lower: _Row, higher: _Row, patient: str | None = None) -> Leak:
    return Leak(kind, lower.image, higher.image, (SPLITS[lower.split], SPLITS[higher.split]), patient)
