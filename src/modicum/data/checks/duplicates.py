"""Images that are in a data set more than once, and what is shared between splits that must not be: leaks."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from modicum.data.checks.near_duplicates import NearPair, near_duplicates
from modicum.data.checks.remembered_pairs import remembered
from modicum.data.grey_levels import grey_levels
from modicum.data.image import ImageRef
from modicum.data.image_facts import THUMBNAIL, ImageFacts, picture_of
from modicum.data.manifest import LABELS_PREFIX, REFERENCE, SPLITS, Manifest
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError
from modicum.wording import count_of

Kind = Literal["patient", "identical file", "near-duplicate"]
Policy = Literal["error", "drop", "allow"]
Facts = Sequence[ImageFacts | None]
_SHOWN = 5


@dataclass(frozen=True)
class Leak:
    """Something that is in two splits.

    Attributes:
        kind: what the two images share: the patient, the file (its content, or parts of one volume), or nearly all
            they show.
        first, second: the images, as the manifest names them; one pair for each patient and pair of splits.
        splits: of the first and of the second, in the order train, val, test.
        patient: the id as the manifest gives it, where the patient is what is shared.
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
    """A row of the manifest that has a split."""

    number: int
    image: str
    split: int
    body: str


def duplicate_groups(manifest: Manifest, facts: Facts) -> list[list[int]]:
    """Rows whose files (or parts of files) have the same content, in groups of two and more."""
    groups: dict[str, list[int]] = {}
    for row, fact in enumerate(facts_by_row(manifest, facts)):
        if fact is not None:
            groups.setdefault(fact.sha256, []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


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
    found = contradictions(manifest, duplicate_groups(manifest, facts))
    if not found:
        return []
    images = manifest.table["image"]
    first = " = ".join(images.iloc[row] for row in found[0][:3])
    return [
        f"caution: {count_of(len(found), 'picture')} in the data under labels that contradict each other ({first}): "
        "correct the labels or take them out"
    ]


def near_pairs(
    manifest: Manifest, facts: Facts, across_splits: bool = False, stores: Path | None = None
) -> list[NearPair]:
    """Near-duplicate rows of different patients, without those whose files are identical.

    Pictures of one patient may well look alike, slices of one volume above all, and stay together anyway.

    Args:
        manifest: the images; where two thumbnails leave a doubt, the files are read once more.
        facts: of its images, found by their ``ref``.
        across_splits: only pairs that are in different splits, which takes less time.
        stores: folder where what was found is remembered.
    """
    known = facts_by_row(manifest, facts)
    bodies = _numbered(manifest.patients())
    contents = _numbered([str(row) if fact is None else fact.sha256 for row, fact in enumerate(known)])
    splits = _split_numbers(manifest)
    thumbnails = np.zeros((len(known), THUMBNAIL, THUMBNAIL), np.uint8)
    for row, fact in enumerate(known):
        if fact is not None:
            thumbnails[row] = np.frombuffer(fact.thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
    refs = manifest.refs()

    def wanted(first: Int64[np.ndarray, "m"], second: Int64[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
        apart = (bodies[first] != bodies[second]) & (contents[first] != contents[second])
        if across_splits:
            apart &= (splits[first] != splits[second]) & (splits[first] >= 0) & (splits[second] >= 0)
        return apart

    rows = (
        (str(ref), _content(fact), str(body), str(split) if across_splits else "")
        for ref, fact, body, split in zip(refs, known, bodies.tolist(), splits.tolist(), strict=True)
    )
    return remembered(
        stores, rows, lambda: near_duplicates(thumbnails, lambda row: closer_picture(refs[row]), wanted)
    )


def _content(fact: ImageFacts | None) -> str:
    """Of the file, and of the picture that was made of it: a window changes the one and not the other."""
    return "" if fact is None else f"{fact.sha256} {hashlib.sha256(fact.thumbnail).hexdigest()[:16]}"


def closer_picture(ref: ImageRef) -> UInt8[np.ndarray, "side side"] | None:
    """An image as 128 x 128 grey levels (64 or 32, where it is smaller); None where it cannot be read."""
    try:
        image = read_image(ref, at_least=(128, 128))
    except BrokenImageError:
        return None
    smaller = min(image.source.height, image.source.width)
    return picture_of(grey_levels(image.pixels), 128 if smaller >= 128 else 64 if smaller >= 64 else 32)


def leaks(
    manifest: Manifest, facts: Facts, near: Sequence[NearPair] | None = None, stores: Path | None = None
) -> list[Leak]:
    """What is in more than one split: patients first, then identical files, then near-duplicates.

    Rows without a split count for none. Pairs of one patient are named once, as the patient's.

    Args:
        manifest: with a column ``split``; without one there is no leak.
        facts: of its images, found by their ``ref``.
        near: what :func:`near_pairs` found, where that is known already.
        stores: folder where what was found is remembered.
    """
    splits = _split_numbers(manifest)
    if len(set(splits[splits >= 0].tolist())) < 2:
        return []
    if near is None:
        near = near_pairs(manifest, facts, across_splits=True, stores=stores)
    images, bodies = list(manifest.table["image"]), manifest.patients()
    rows = [_Row(n, images[n], int(splits[n]), bodies[n]) for n in range(len(manifest)) if splits[n] >= 0]
    return [*_patient_leaks(rows), *_file_leaks(manifest, facts, rows), *_near_leaks(near, rows)]


def leak_message(found: Sequence[Leak], most: int = _SHOWN) -> str:
    """One line: how many, and the first ones by name."""
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return f"{count_of(len(found), 'leak')} between splits: {'; '.join(map(str, found[:most]))}{more}"


def resolve_leaks(
    manifest: Manifest, facts: Facts, policy: Policy = "error", stores: Path | None = None
) -> tuple[Manifest, list[str]]:
    """Does with leaks what the user wants.

    Args:
        manifest: with or without a column ``split``.
        facts: of its images, found by their ``ref``.
        policy: ``error``; ``drop``, which takes the training image (of val and test, the one in val) out of the data
            so that the test images stay as they were; ``allow``.
        stores: folder where the near-duplicates that were found are remembered.

    Returns:
        The manifest that is left, and what was done, in words for the user; empty where there was no leak.

    Raises:
        InputError: there are leaks, and ``policy`` is ``error``.
    """
    found = leaks(manifest, facts, stores=stores)
    if not found:
        return manifest, []
    if policy == "error":
        raise InputError(
            f"{manifest.source or 'manifest'}: {leak_message(found)}",
            "correct the split, pass --leaks drop to take the training side out, or --leaks allow",
        )
    if policy == "allow":
        return manifest, [f"allowed, and scores are likely too good: {leak_message(found)}"]
    drop = _lower_side(manifest, found)
    names = [
        split for split in SPLITS if (drop & (manifest.table["split"] == split).to_numpy(dtype=bool)).any()
    ]
    note = f"{count_of(int(drop.sum()), 'image')} taken out of {' and '.join(names)}: {leak_message(found)}"
    return manifest.subset(~drop), [note]


def _lower_side(manifest: Manifest, found: Sequence[Leak]) -> Bool[np.ndarray, "n"]:
    """Rows to take out so that no leak is left; of each, what comes later in train, val, test stays."""
    splits, bodies = _split_numbers(manifest), manifest.patients()
    last: dict[str, int] = {}
    for body, split in zip(bodies, splits.tolist(), strict=True):
        last[body] = max(last.get(body, -1), split)
    images = {(leak.first, SPLITS.index(leak.splits[0])) for leak in found if leak.kind != "patient"}
    return np.array(
        [
            split >= 0 and (split < last[body] or (image, split) in images)
            for image, body, split in zip(manifest.table["image"], bodies, splits.tolist(), strict=True)
        ]
    )


def _patient_leaks(rows: Sequence[_Row]) -> Iterator[Leak]:
    """One for each patient, or file with several parts, and each pair of splits that it is in."""
    first_of: dict[str, dict[int, _Row]] = {}
    for row in rows:
        first_of.setdefault(row.body, {}).setdefault(row.split, row)
    for body, by_split in first_of.items():
        known = body.startswith("patient:")
        patient = body.removeprefix("patient:") if known else None
        for lower, higher in combinations(sorted(by_split), 2):
            yield _leak("patient" if known else "identical file", by_split[lower], by_split[higher], patient)


def _file_leaks(manifest: Manifest, facts: Facts, rows: Sequence[_Row]) -> Iterator[Leak]:
    """Each image that has a copy, under another patient, in a later split: with the first such copy."""
    by_number = {row.number: row for row in rows}
    for group in duplicate_groups(manifest, facts):
        members = [by_number[number] for number in group if number in by_number]
        for row in members:
            others = [other for other in members if other.split > row.split and other.body != row.body]
            for split in sorted({other.split for other in others}):
                yield _leak("identical file", row, next(other for other in others if other.split == split))


def _near_leaks(near: Sequence[NearPair], rows: Sequence[_Row]) -> Iterator[Leak]:
    by_number = {row.number: row for row in rows}
    for pair in near:
        one, other = by_number.get(pair.first), by_number.get(pair.second)
        if one is not None and other is not None and one.split != other.split:
            lower, higher = sorted((one, other), key=lambda row: row.split)
            yield _leak("near-duplicate", lower, higher)


def _leak(kind: Kind, lower: _Row, higher: _Row, patient: str | None = None) -> Leak:
    return Leak(kind, lower.image, higher.image, (SPLITS[lower.split], SPLITS[higher.split]), patient)


def facts_by_row(manifest: Manifest, facts: Facts) -> list[ImageFacts | None]:
    """The facts of each row of a manifest, found by their ``ref``; None where there are none."""
    by_ref = {fact.ref: fact for fact in facts if fact is not None}
    return [by_ref.get(str(ref)) for ref in manifest.refs()]


def _split_numbers(manifest: Manifest) -> Int64[np.ndarray, "n"]:
    """Position in train, val, test; -1 for a row without a split."""
    if "split" not in manifest.table:
        return np.full(len(manifest), -1, np.int64)
    number = {split: position for position, split in enumerate(SPLITS)}
    number[REFERENCE] = number["train"]  # a method learns from its annotated examples
    return np.array([number.get(split, -1) for split in manifest.table["split"]], np.int64)


def _numbered(names: Sequence[str]) -> Int64[np.ndarray, "n"]:
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], np.int64)
