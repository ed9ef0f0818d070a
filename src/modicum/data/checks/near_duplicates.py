"""Finding pictures that are the same photograph, re-encoded, resized, brightened or slightly cropped.

Three sieves, each slower and finer than the one before:

1. A perceptual hash of 255 bits: the signs of the low-frequency cosine coefficients (DCT-II) of the local contrast of
   the 32 x 32 thumbnail. Pairs within :data:`HASH_DISTANCE` bits go on. (The usual 64 bits of brightness tell one
   fundus photograph from the next as little as one copy from another.)
2. Likeness of the two thumbnails after registration (:mod:`modicum.data.checks.likeness`), at least :data:`PROMISING`.
3. Likeness at 128 x 128 pixels, from the files (64 for small images), at least :data:`SAME`. Where the files are not
   at hand or no larger than the thumbnail, the thumbnails alone decide, by a stricter bound.

Measured on 1,283 real images (chest radiographs, fundus photographs of three collections, skin, OCTA and MR) and copies
of each: JPEG at quality 50, half and double size, 10 % brighter, gamma 0.85: all found; 2 % cropped on all sides: all
found; on two sides: all but 3; cropped, halved, JPEG at quality 50 and brightened at once: 1,272 found. No two
strangers were taken for one: their likeness in sieve 3 was 0.44 at most, that of one patient on two days 0.69, that of
one slice in two MR contrasts 0.73, and that of the known copies 0.89 and more. Mirrored images are no copies.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt64
from scipy.fft import dctn

from modicum.data.checks.likeness import STEPS, align_closely, align_detail, detail_of, local_contrast
from modicum.progress import track

THUMBNAIL = 32
HASH_DISTANCE = 72
PROMISING = {1: 0.62, STEPS: 0.68}  # likeness of thumbnails after so many steps of registration
SAME = {32: 0.97, 64: 0.90, 128: 0.75}
# Beyond these numbers the search becomes stricter instead of slower.
MOST_CANDIDATES = 200_000
MOST_PROMISING = 50_000
MOST_CLOSER_LOOKS = 2_000
MOST_DETAILS = 50_000  # images whose detail is kept while pairs of them are compared: 250 MB

Thumbnails = UInt8[np.ndarray, "n 32 32"]
Indices = Int64[np.ndarray, "m"]
Closer = Callable[[int], UInt8[np.ndarray, "side side"] | None]
Wanted = Callable[[Indices, Indices], Bool[np.ndarray, "m"]]


@dataclass(frozen=True)
class NearPair:
    """Two pictures that show the same photograph.

    Attributes:
        first, second: positions of the two, ``first < second``.
        similarity: of local contrast after registration, 0 to 1.
    """

    first: int
    second: int
    similarity: float


def near_duplicates(
    thumbnails: Thumbnails, closer: Closer | None = None, wanted: Wanted | None = None
) -> list[NearPair]:
    """All pairs of near-identical pictures, the most alike first. Exact copies are among them.

    Args:
        thumbnails: area-averaged grey pictures. Blank ones are like nothing.
        closer: gives picture ``i`` as grey, 128 x 128 (64 x 64, 32 x 32 where it is no larger), or None where it
            cannot be read. Without it the thumbnails decide, and cropped copies are missed.
        wanted: of candidate pairs, which to go on with (for instance those in different splits).
    """
    first, second, _ = hamming_pairs(perceptual_hash(thumbnails), HASH_DISTANCE, wanted, MOST_CANDIDATES)
    for steps, bound in PROMISING.items():
        likeness = _likeness(thumbnails, first, second, steps)
        order = np.argsort(-likeness, kind="stable")
        order = order[likeness[order] >= bound][:MOST_PROMISING]
        first, second, likeness = first[order], second[order], likeness[order]
    look = _Look(closer) if closer is not None else None
    found = []
    pairs = zip(first.tolist(), second.tolist(), likeness.tolist(), strict=True)
    shown = track(pairs, "Comparing images", len(first)) if look is not None and len(first) > 100 else pairs
    for rank, (a, b, similarity) in enumerate(shown):
        side = THUMBNAIL
        if look is not None and rank < MOST_CLOSER_LOOKS:
            side, similarity = look(a, b, similarity)
        if similarity >= SAME[side]:
            found.append(NearPair(a, b, min(1.0, similarity)))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def perceptual_hash(thumbnails: Thumbnails) -> UInt64[np.ndarray, "n 4"]:
    """255 bits of each picture and one that is always 0; blank pictures have only zeros."""
    rows, columns = np.indices((THUMBNAIL, THUMBNAIL)).reshape(2, -1)
    frequency = np.lexsort((rows, rows + columns))[1:256]  # by diagonals, without the mean
    bits = np.zeros((len(thumbnails), 256), dtype=bool)
    for block in _blocks(len(thumbnails), 1024):
        waves = dctn(local_contrast(thumbnails[block]), axes=(1, 2), norm="ortho")
        # Not simply above zero: what rounding leaves of a blank picture is no pattern.
        bits[block, :255] = waves.reshape(len(waves), -1)[:, frequency] > 1e-3
    return np.packbits(bits, axis=1).view(np.uint64)


def hamming_pairs(
    hashes: UInt64[np.ndarray, "n words"],
    distance: int,
    wanted: Wanted | None = None,
    most: int | None = None,
) -> Int64[np.ndarray, "3 m"]:
    """All pairs ``i < j`` of hashes that differ in at most ``distance`` bits: rows ``i``, ``j`` and how many bits.

    Args:
        hashes: up to 255 bits that can differ; a hash of zeros is near to nothing.
        distance: of pairs to find.
        wanted: leaves out pairs early.
        most: as soon as more pairs than this are found, the bound is lowered for all until they fit.
    """
    words = np.ascontiguousarray(hashes.T)
    usable = np.asarray(hashes.any(axis=1))
    found = [np.zeros((3, 0), np.int64)]
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
                found.append(pairs)
                total += pairs.shape[1]
        while most is not None and total > most and distance > 0:
            distance -= 1
            found = [pairs[:, pairs[2] <= distance] for pairs in found]
            total = sum(pairs.shape[1] for pairs in found)
    return np.concatenate(found, axis=1)


def _likeness(
    thumbnails: Thumbnails, first: Indices, second: Indices, steps: int
) -> Float64[np.ndarray, "m"]:
    blocks = _blocks(len(first), 1024)
    shown = track(blocks, "Comparing thumbnails") if len(blocks) > 10 else blocks
    images = np.unique(np.concatenate([first, second]))
    # Most of the time would go into the detail of each pair's images; 5 KB an image, which many pairs share.
    known = detail_of(thumbnails[images]) if len(images) <= MOST_DETAILS else None
    parts = [np.zeros(0)]
    for block in shown:
        pair = first[block], second[block]
        one, other = (
            detail_of(thumbnails[rows]) if known is None else known.at(np.searchsorted(images, rows))
            for rows in pair
        )
        parts.append(align_detail(one, other, steps=steps).similarity)
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
        """The scale, and the similarity there; what the thumbnails gave where there is nothing finer."""
        one, other = self._picture(first), self._picture(second)
        if one is None or other is None:
            return THUMBNAIL, similarity
        side = min(len(one), len(other))
        if side <= THUMBNAIL:
            return THUMBNAIL, similarity
        pair = [
            picture.reshape(side, len(picture) // side, side, -1).mean((1, 3)) for picture in (one, other)
        ]
        grey = [np.rint(picture).astype(np.uint8)[None] for picture in pair]
        return side, float(align_closely(grey[0], grey[1]).similarity[0])

    def _picture(self, index: int) -> UInt8[np.ndarray, "side side"] | None:
        if index not in self._recent:
            self._recent[index] = self._closer(index)
            if len(self._recent) > 2_000:  # 32 MB
                self._recent.popitem(last=False)
        return self._recent[index]
