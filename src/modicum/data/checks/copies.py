"""Pictures that are in a data set more than once: groups of identical files, and pairs that are nearly identical."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from modicum.data.checks.near_duplicates import (
    RESEMBLES,
    NearPair,
    NearSearch,
    perceptual_hash,
    search_near_duplicates,
)
from modicum.data.checks.remembered_pairs import remembered
from modicum.data.grey_levels import grey_levels
from modicum.data.image import ImageRef
from modicum.data.image_facts import THUMBNAIL, ImageFacts, picture_of
from modicum.data.manifest import REFERENCE, SPLITS, Manifest
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError

Facts = Sequence[ImageFacts | None]
MOST_COMPARED = 4_000_000_000
"""Pairs of hashes that are compared to know training images again; about a minute and a half."""
_AT_ONCE = 4096
"""Images whose thumbnails or hashes are worked on together."""


def duplicate_groups(manifest: Manifest, facts: Facts) -> list[list[int]]:
    """Groups of two or more rows whose files (or parts of files) have the same content."""
    groups: dict[str, list[int]] = {}
    for row, fact in enumerate(facts_by_row(manifest, facts)):
        if fact is not None:
            groups.setdefault(fact.sha256, []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def near_pairs(
    manifest: Manifest, facts: Facts, across_splits: bool = False, stores: Path | None = None
) -> list[NearPair]:
    """The pairs of :func:`search_copies`."""
    return search_copies(manifest, facts, across_splits, stores).pairs


def search_copies(
    manifest: Manifest, facts: Facts, across_splits: bool = False, stores: Path | None = None
) -> NearSearch:
    """Finds near-duplicate rows of different patients, without identical files.

    Images of one patient may look alike, especially slices of one volume, and stay together anyway.

    Args:
        manifest: the images; if two thumbnails are not conclusive, the files are read again.
        facts: facts of its images, looked up by ``ref``.
        across_splits: only pairs in different splits, which is faster.
        stores: folder to cache the result.
    """
    row_facts = facts_by_row(manifest, facts)
    bodies = _numbered(manifest.patients())
    contents = _numbered([str(row) if fact is None else fact.sha256 for row, fact in enumerate(row_facts)])
    splits = split_numbers(manifest)
    thumbnails = _thumbnails(row_facts)
    refs = manifest.refs()

    def wanted(first: Int64[np.ndarray, "m"], second: Int64[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
        apart = (bodies[first] != bodies[second]) & (contents[first] != contents[second])
        if across_splits:
            apart &= (splits[first] != splits[second]) & (splits[first] >= 0) & (splits[second] >= 0)
        return apart

    rows = (
        (str(ref), _content(fact), str(body), str(split) if across_splits else "")
        for ref, fact, body, split in zip(refs, row_facts, bodies.tolist(), splits.tolist(), strict=True)
    )
    return remembered(
        stores,
        rows,
        lambda: search_near_duplicates(thumbnails, lambda row: closer_picture(refs[row]), wanted),
    )


class NamedPair(NamedTuple):
    """Two images of the same photograph, as in the manifest's column ``image``, and their similarity."""

    first: str
    second: str
    similarity: float


def named_pairs(manifest: Manifest, pairs: Sequence[NearPair]) -> list[NamedPair]:
    """Pairs by the images' names, which stay when rows are left out."""
    images = list(manifest.table["image"])
    return [NamedPair(images[pair.first], images[pair.second], pair.similarity) for pair in pairs]


def rows_of_pairs(manifest: Manifest, pairs: Sequence[NamedPair]) -> list[NearPair]:
    """The pairs by the rows of a manifest, without those of which an image is not in it."""
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(manifest.table["image"]):
        rows.setdefault(image, []).append(row)
    between = {
        (min(a, b), max(a, b)): pair.similarity
        for pair in pairs
        for a in rows.get(pair.first, ())
        for b in rows.get(pair.second, ())
    }
    patients = manifest.patients()
    return [NearPair(a, b, alike) for (a, b), alike in between.items() if patients[a] != patients[b]]


def copies_to_keep_together(
    manifest: Manifest, facts: Facts, near: Sequence[NamedPair]
) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of rows with identical files, and of rows that are nearly identical; blank pictures are in no group."""
    row_facts = facts_by_row(manifest, facts)
    blank = {row for row, fact in enumerate(row_facts) if fact is None or fact.std == 0}
    identical = [
        kept
        for rows in duplicate_groups(manifest, facts)
        if len(kept := [r for r in rows if r not in blank]) > 1
    ]
    return identical, [[pair.first, pair.second] for pair in rows_of_pairs(manifest, near)]


def _thumbnails(facts: Facts) -> UInt8[np.ndarray, "n 32 32"]:
    """Thumbnails; blank where there are no facts."""
    thumbnails = np.zeros((len(facts), THUMBNAIL, THUMBNAIL), np.uint8)
    for row, fact in enumerate(facts):
        if fact is not None:
            thumbnails[row] = np.frombuffer(fact.thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
    return thumbnails


def near_hashes(facts: Facts) -> list[str]:
    """Perceptual hashes of images in hexadecimal, by which a run knows its training images again; no picture can be made
    of them.
    """
    # A part at a time: thumbnails of all of them would take as much memory again as the facts.
    parts = (facts[start : start + _AT_ONCE] for start in range(0, len(facts), _AT_ONCE))
    return [row.tobytes().hex() for part in parts for row in perceptual_hash(_thumbnails(part))]


def resembling(
    hashes: Sequence[str], known_hashes: Sequence[str], bits: int = RESEMBLES
) -> Int64[np.ndarray, "n"] | None:
    """For each hash the index of the known one that it is nearest to, -1 where none is within a number of bits.

    Args:
        hashes: of :func:`near_hashes`.
        known_hashes: the same.
        bits: number of bits that may differ.

    Returns:
        The indices; None where there are too many pairs to compare (:data:`MOST_COMPARED`).
    """
    if len(hashes) * len(known_hashes) > MOST_COMPARED:
        return None
    first, second = _from_hex(hashes), _from_hex(known_hashes)
    nearest = np.full(len(hashes), -1, np.int64)
    usable = np.asarray(second.any(1))
    if not usable.any():
        return nearest
    least = np.where(first.any(1), bits + 1, 0)  # a blank image is near none
    for start in range(0, len(first), 64):
        rows = slice(start, start + 64)
        for columns in range(0, len(second), _AT_ONCE):
            known = slice(columns, columns + _AT_ONCE)
            apart = np.bitwise_count(first[rows, None] ^ second[None, known]).sum(2, dtype=np.uint16)
            apart[:, ~usable[known]] = 256
            best = apart.argmin(1)
            found = apart[np.arange(len(best)), best]
            closer = found < least[rows]
            least[rows][closer], nearest[rows][closer] = found[closer], best[closer] + columns
    return nearest


def _from_hex(hashes: Sequence[str]) -> UInt64[np.ndarray, "n 4"]:
    """Hashes as numbers; one that is not 64 hexadecimal digits is that of a blank image."""
    sound = [text if re.fullmatch("[0-9a-f]{64}", text) else "0" * 64 for text in hashes]
    return np.frombuffer(bytes.fromhex("".join(sound)), np.uint64).reshape(-1, 4)


def _content(fact: ImageFacts | None) -> str:
    """Hashes of the file and of its thumbnail: a window changes only the latter."""
    return "" if fact is None else f"{fact.sha256} {hashlib.sha256(fact.thumbnail).hexdigest()[:16]}"


def closer_picture(ref: ImageRef) -> UInt8[np.ndarray, "side side"] | None:
    """An image as 128 x 128 grey levels (64 or 32 if it is smaller); None if it cannot be read."""
    try:
        image = read_image(ref, at_least=(128, 128))
    except BrokenImageError:
        return None
    smaller = min(image.source.height, image.source.width)
    return picture_of(grey_levels(image.pixels), 128 if smaller >= 128 else 64 if smaller >= 64 else 32)


def facts_by_row(manifest: Manifest, facts: Facts) -> list[ImageFacts | None]:
    """The facts of each row of a manifest, looked up by ``ref``; None if missing."""
    by_ref = {fact.ref: fact for fact in facts if fact is not None}
    return [by_ref.get(str(ref)) for ref in manifest.refs()]


def split_numbers(manifest: Manifest) -> Int64[np.ndarray, "n"]:
    """Index in train, val, test; -1 for a row without a split."""
    if "split" not in manifest.table:
        return np.full(len(manifest), -1, np.int64)
    number = {split: position for position, split in enumerate(SPLITS)}
    number[REFERENCE] = number["train"]  # a method learns from its annotated examples
    return np.array([number.get(split, -1) for split in manifest.table["split"]], np.int64)


def _numbered(names: Sequence[str]) -> Int64[np.ndarray, "n"]:
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], np.int64)
