"""Finds images that are the same photograph, re-encoded, resized, brightened or slightly cropped.

Three filters, each slower and finer than the previous one:

1. A perceptual hash of 255 bits: the signs of the low-frequency cosine coefficients (DCT-II) of the local contrast of
   the 32 x 32 thumbnail. Pairs within :data:`HASH_DISTANCE` bits are kept. (The usual 64 bits of brightness do not
   separate different fundus photographs from copies.)
2. Similarity of the two thumbnails after registration (:mod:`modicum.data.checks.likeness`), at least
   :data:`PROMISING`.
3. Similarity at 128 x 128 pixels, from the files (64 for small images), at least :data:`SAME`. If the files are not
   available or not larger than the thumbnail, the thumbnails decide, with a stricter threshold.

Pairs whose hashes differ in at most :data:`RESEMBLES` bits and whose thumbnails have a similarity of :data:`ALIKE` are
the same photograph even if filter 3 says otherwise: JPEG leaves little of the detail of a picture of 64 pixels.

Measured on 1,283 real images (chest radiographs, fundus photographs of three collections, skin, OCTA and MR) and copies
of each: JPEG at quality 50, half and double size, 10 % brighter, gamma 0.85: all found; 2 % cropped on all sides: all
found; on two sides: all but 3; cropped, halved, JPEG at quality 50 and brightened at once: 1,272 found. There were no
false positives: the similarity in filter 3 was 0.44 at most for different patients, 0.69 for one patient on two days,
0.73 for one slice in two MR contrasts, and 0.89 and more for the known copies. Mirrored images are not copies.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt64
from scipy.fft import dctn

from modicum.data.checks.likeness import STEPS, align_closely, align_detail, detail_of, local_contrast
from modicum.progress import track

THUMBNAIL = 32
HASH_DISTANCE = 72
PROMISING = {1: 0.62, STEPS: 0.68}  # similarity of thumbnails after this number of registration steps
SAME = {32: 0.97, 64: 0.90, 128: 0.75}
RESEMBLES = 24
"""Bits of the hash alone by which a picture is known again where the other's pixels are not at hand.

Measured on 1,143 real images: within it are all copies after JPEG at quality 50 to 95, at half and at double size, and
99.6 % of those 10 % brighter, but 5 % of those cropped by 2 %; of 64-pixel pictures 85 % after JPEG at quality 50 and
99 % at 75. Of 652,653 pairs of different pictures, none of different patients was, apart from masks.
"""
ALIKE = 0.85
"""Similarity of thumbnails from which a pair within :data:`RESEMBLES` bits is the same photograph.

Of 4,467 real images (retinas, radiographs, skin, OCTA, MR) all 19 pairs of different patients within 24 bits have 0.997
and more; nobody has said of them whether they are one photograph. The next pair has 28 bits and 0.80. Copies of 64-pixel
pictures within 24 bits have 0.896 and more after JPEG at quality 50.
"""
# Beyond these numbers the search becomes stricter instead of slower.
MOST_CANDIDATES = 200_000
MOST_PROMISING = 50_000
MOST_CLOSER_LOOKS = 2_000
MOST_DETAILS = 50_000  # images whose features are kept while pairs are compared: 250 MB

Thumbnails = UInt8[np.ndarray, "n 32 32"]
Indices = Int64[np.ndarray, "m"]
Closer = Callable[[int], UInt8[np.ndarray, "side side"] | None]
Wanted = Callable[[Indices, Indices], Bool[np.ndarray, "m"]]


@dataclass(frozen=True)
class NearPair:
    """Two images of the same photograph.

    Attributes:
        first, second: indices of the two, ``first < second``.
        similarity: correlation of local contrast after registration, 0 to 1.
    """

    first: int
    second: int
    similarity: float


class NearSearch(NamedTuple):
    """Result of a search.

    Attributes:
        pairs: all that were found, the most similar first.
        limits: what the search left out because there were too many candidates, a sentence each; empty if nothing.
    """

    pairs: list[NearPair]
    limits: list[str]


def near_duplicates(
    thumbnails: Thumbnails, closer: Closer | None = None, wanted: Wanted | None = None
) -> list[NearPair]:
    """The pairs of :func:`search_near_duplicates`."""
    return search_near_duplicates(thumbnails, closer, wanted).pairs


def search_near_duplicates(
    thumbnails: Thumbnails, closer: Closer | None = None, wanted: Wanted | None = None
) -> NearSearch:
    """Finds all pairs of near-identical images, the most similar first, including exact copies.

    Args:
        thumbnails: area-averaged grey images. Blank ones match nothing.
        closer: returns image ``i`` as grey, 128 x 128 (64 x 64, 32 x 32 if it is not larger), or None if it
            cannot be read. Without it the thumbnails decide, and cropped copies are missed.
        wanted: selects candidate pairs (for instance those in different splits).
    """
    candidates, bound = closest_pairs(perceptual_hash(thumbnails), HASH_DISTANCE, wanted, MOST_CANDIDATES)
    first, second, bits = candidates
    limits = [] if bound == HASH_DISTANCE else [_hash_limit(bound)]
    for steps, least in PROMISING.items():
        likeness = _likeness(thumbnails, first, second, steps)
        order = np.argsort(-likeness, kind="stable")
        order = order[likeness[order] >= least]
        if len(order) > MOST_PROMISING:
            limits.append(_promising_limit(len(order)))
        order = order[:MOST_PROMISING]
        first, second, bits, likeness = first[order], second[order], bits[order], likeness[order]
    if closer is not None and len(first) > MOST_CLOSER_LOOKS:
        limits.append(_closer_limit(len(first)))
    return NearSearch(_same(first, second, bits, likeness, closer), limits)


def _hash_limit(bound: int) -> str:
    return (
        f"the search for near-duplicates compared hashes within {bound} bits of 255 instead of {HASH_DISTANCE}, because "
        f"more than {MOST_CANDIDATES:,} pairs are within that: copies that were cropped or strongly compressed may be "
        "missed"
    )


def _promising_limit(count: int) -> str:
    return (
        f"of {count:,} pairs of images that look alike the {MOST_PROMISING:,} most similar were compared further: "
        "near-duplicates may be missed"
    )


def _closer_limit(count: int) -> str:
    return (
        f"of {count:,} pairs that may be near-duplicates {MOST_CLOSER_LOOKS:,} were compared at 128 pixels, the others "
        "as thumbnails, more strictly: cropped copies may be missed"
    )


def _same(
    first: Indices, second: Indices, bits: Indices, likeness: Float64[np.ndarray, "m"], closer: Closer | None
) -> list[NearPair]:
    """The pairs that are the same photograph, by a closer look where the files are at hand, or by their hashes."""
    look = _Look(closer) if closer is not None else None
    near_pairs = []
    pairs = zip(first.tolist(), second.tolist(), bits.tolist(), likeness.tolist(), strict=True)
    candidates = (
        track(pairs, "Comparing images", len(first)) if look is not None and len(first) > 100 else pairs
    )
    for rank, (a, b, apart, as_thumbnails) in enumerate(candidates):
        side, similarity = THUMBNAIL, as_thumbnails
        if look is not None and rank < MOST_CLOSER_LOOKS:
            side, similarity = look(a, b, as_thumbnails)
        if similarity < SAME[side] and apart <= RESEMBLES and as_thumbnails >= ALIKE:
            near_pairs.append(NearPair(a, b, min(1.0, as_thumbnails)))
        elif similarity >= SAME[side]:
            near_pairs.append(NearPair(a, b, min(1.0, similarity)))
    return sorted(near_pairs, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def perceptual_hash(thumbnails: Thumbnails) -> UInt64[np.ndarray, "n 4"]:
    """A hash of 255 bits for each image, and one bit that is always 0; blank images have only zeros."""
    rows, columns = np.indices((THUMBNAIL, THUMBNAIL)).reshape(2, -1)
    frequency = np.lexsort((rows, rows + columns))[1:256]  # by diagonals, without the mean
    bits = np.zeros((len(thumbnails), 256), dtype=bool)
    for block in _blocks(len(thumbnails), 1024):
        waves = dctn(local_contrast(thumbnails[block]), axes=(1, 2), norm="ortho")
        # Not simply above zero: rounding errors of a blank image are not a pattern.
        bits[block, :255] = waves.reshape(len(waves), -1)[:, frequency] > 1e-3
    return np.packbits(bits, axis=1).view(np.uint64)


def hamming_pairs(
    hashes: UInt64[np.ndarray, "n words"],
    distance: int,
    wanted: Wanted | None = None,
    most: int | None = None,
) -> Int64[np.ndarray, "3 m"]:
    """The pairs of :func:`closest_pairs`."""
    return closest_pairs(hashes, distance, wanted, most)[0]


def closest_pairs(
    hashes: UInt64[np.ndarray, "n words"],
    distance: int,
    wanted: Wanted | None = None,
    most: int | None = None,
) -> tuple[Int64[np.ndarray, "3 m"], int]:
    """All pairs ``i < j`` of hashes that differ in at most ``distance`` bits: rows ``i``, ``j`` and number of bits.

    Args:
        hashes: up to 255 bits that can differ; a hash of zeros matches nothing.
        distance: maximum distance.
        wanted: selects pairs early.
        most: maximum number of pairs; with more, the distance is lowered for all until they fit.

    Returns:
        The pairs, and the distance that they are within.
    """
    words = np.ascontiguousarray(hashes.T)
    usable = np.asarray(hashes.any(axis=1))
    blocks_of_pairs = [np.zeros((3, 0), np.int64)]
    total = 0
    for rows in _blocks(len(hashes), 64):
        for columns in _blocks(len(hashes), 4096, rows.start):
            apart = _distances(words[:, rows], words[:, columns])
            i, j = np.nonzero(apart <= distance)
            pairs = np.stack([i + rows.start, j + columns.start, apart[i, j]])
            pairs = pairs[:, (pairs[0] < pairs[1]) & usable[pairs[0]] & usable[pairs[1]]]
            if wanted is not None and pairs.size:
                pairs = pairs[:, wanted(pairs[0], pairs[1])]
            if pairs.size:
                blocks_of_pairs.append(pairs)
                total += pairs.shape[1]
        while most is not None and total > most and distance > 0:
            distance -= 1
            blocks_of_pairs = [pairs[:, pairs[2] <= distance] for pairs in blocks_of_pairs]
            total = sum(pairs.shape[1] for pairs in blocks_of_pairs)
    return np.concatenate(blocks_of_pairs, axis=1), distance


def _likeness(
    thumbnails: Thumbnails, first: Indices, second: Indices, steps: int
) -> Float64[np.ndarray, "m"]:
    blocks = _blocks(len(first), 1024)
    tracked = track(blocks, "Comparing thumbnails") if len(blocks) > 10 else blocks
    images = np.unique(np.concatenate([first, second]))
    # Most of the time would be spent on the features of each pair's images; 5 KB per image, shared by many pairs.
    details = detail_of(thumbnails[images]) if len(images) <= MOST_DETAILS else None
    parts = [np.zeros(0)]
    for block in tracked:
        pair = first[block], second[block]
        first_detail, second_detail = (
            detail_of(thumbnails[rows]) if details is None else details.at(np.searchsorted(images, rows))
            for rows in pair
        )
        parts.append(align_detail(first_detail, second_detail, steps=steps).similarity)
    return np.concatenate(parts)


def _distances(
    rows: UInt64[np.ndarray, "words n"], columns: UInt64[np.ndarray, "words m"]
) -> UInt8[np.ndarray, "n m"]:
    total = np.zeros((rows.shape[1], columns.shape[1]), np.uint8)
    for row_word, column_word in zip(rows, columns, strict=True):
        total += np.bitwise_count(row_word[:, None] ^ column_word)
    return total


def _blocks(length: int, size: int, start: int = 0) -> list[slice]:
    return [slice(at, min(at + size, length)) for at in range(start, length, size)]


class _Look:
    """Compares two images at the finest scale that both have."""

    def __init__(self, closer: Closer) -> None:
        self._closer = closer
        self._recent: OrderedDict[int, UInt8[np.ndarray, "side side"] | None] = OrderedDict()

    def __call__(self, first: int, second: int, similarity: float) -> tuple[int, float]:
        """The scale, and the similarity at it; that of the thumbnails if there is nothing finer."""
        first_picture, second_picture = self._picture(first), self._picture(second)
        if first_picture is None or second_picture is None:
            return THUMBNAIL, similarity
        side = min(len(first_picture), len(second_picture))
        if side <= THUMBNAIL:
            return THUMBNAIL, similarity
        pair = [
            picture.reshape(side, len(picture) // side, side, -1).mean((1, 3))
            for picture in (first_picture, second_picture)
        ]
        grey = [np.rint(picture).astype(np.uint8)[None] for picture in pair]
        return side, float(align_closely(grey[0], grey[1]).similarity[0])

    def _picture(self, index: int) -> UInt8[np.ndarray, "side side"] | None:
        if index not in self._recent:
            self._recent[index] = self._closer(index)
            if len(self._recent) > 2_000:  # 32 MB
                self._recent.popitem(last=False)
        return self._recent[index]
