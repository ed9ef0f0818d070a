"""How alike two small grey pictures of the same kind are, whatever all pictures of that kind share.

All fundus photographs are bright discs, all chest radiographs two dark lungs: plain correlation of two strangers'
small pictures reaches 0.99. What tells one person's picture from another's is left after three steps:

1. *Local contrast*: the local mean is taken off and the local deviation divided out, so that a faint vessel counts as
   much as the edge of a lung, and brightness, contrast and gamma count for nothing.
2. *Mask*: large dark surroundings and their edge, the same in every photograph of one camera, are left out.
3. *Registration*: a few Gauss-Newton steps over shift and stretch of each axis, up to about 5 % of the side, undo a
   slight crop. Mirroring and turning are not undone: a left eye is no copy of a right one.

The result is the correlation of what remains, 1 for a copy. Thresholds, and the pictures they were measured on, are in
:mod:`modicum.data.checks.near_duplicates`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from scipy.ndimage import binary_opening, gaussian_filter, maximum_filter

FLOOR = 2.0  # grey levels; less local deviation than this is noise, and is not blown up
DARK = 0.06  # of the picture's own range above its least value: surroundings
LARGEST_MOVE = 0.05  # of the side
FEWEST_INSIDE = 0.15  # of the picture; one with less is compared as a whole
FEWEST_SHARED = 0.1  # of the picture; what is compared over less says nothing
STEPS = 5

Pictures = UInt8[np.ndarray, "n side side"]
Warp = Float[np.ndarray, "n 4"]


class Alignment(NamedTuple):
    """Likeness of pairs after registration.

    Attributes:
        similarity: correlation of the local contrasts, -1 to 1; 0 where too little is left to compare.
        warp: rows' shift, columns' shift, rows' stretch, columns' stretch, in pixels at the picture's edge.
    """

    similarity: Float[np.ndarray, "n"]
    warp: Warp


class Detail(NamedTuple):
    """What pictures are compared by.

    Attributes:
        contrast: :func:`local_contrast`.
        inside: where they are compared (:func:`inside`).
    """

    contrast: Float32[np.ndarray, "n side side"]
    inside: Bool[np.ndarray, "n side side"]

    def at(self, indices: Int64[np.ndarray, "m"]) -> "Detail":
        """That of some pictures, each as often as it is named."""
        return self._replace(contrast=self.contrast[indices], inside=self.inside[indices])


def detail_of(pictures: Pictures) -> Detail:
    """Computed once for each picture, however many others it is compared with."""
    return Detail(local_contrast(pictures), inside(pictures))


def local_contrast(pictures: Pictures) -> Float32[np.ndarray, "n side side"]:
    """Each pixel's difference from its neighbourhood's mean, in units of the neighbourhood's deviation."""
    sigma = 2.0 if pictures.shape[-1] <= 32 else 3.0
    values = pictures.astype(np.float32)
    detail = values - _blurred(values, sigma)
    deviation = np.sqrt(_blurred(detail * detail, 1.5 * sigma))
    return detail / (deviation + np.float32(FLOOR))


def inside(pictures: Pictures) -> Bool[np.ndarray, "n side side"]:
    """True away from large dark surroundings and their edges; everywhere in a picture that is little else.

    "Large" is where a 3 x 3 square fits.
    """
    low = pictures.min((1, 2), keepdims=True).astype(np.float32)
    high = pictures.max((1, 2), keepdims=True)
    dark = pictures <= low + DARK * (high - low)
    padded = np.pad(dark, ((0, 0), (2, 2), (2, 2)), mode="edge")
    large = binary_opening(padded, np.ones((1, 3, 3), bool))[:, 2:-2, 2:-2]
    kept = ~maximum_filter(large, (1, 3, 3))
    kept[kept.mean((1, 2)) < FEWEST_INSIDE] = True
    return kept


def align(first: Pictures, second: Pictures, start: Warp | None = None, steps: int = STEPS) -> Alignment:
    """:func:`align_detail` of pairs of pictures of one side, 0 to 255."""
    return align_detail(detail_of(first), detail_of(second), start, steps)


def align_detail(first: Detail, second: Detail, start: Warp | None = None, steps: int = STEPS) -> Alignment:
    """Registers each picture of ``second`` on its partner in ``first`` and says how alike they then are.

    Args:
        first, second: pairs of pictures of one side.
        start: where to start from, for instance from a coarser picture; nothing moved where it is not given.
        steps: of Gauss-Newton.
    """
    (fixed, seen), (moving, seen_moving) = first, (second.contrast, second.inside.astype(np.float32))
    count, side = fixed.shape[:2]
    warp = np.zeros((count, 4)) if start is None else start.astype(np.float64)
    best = Alignment(np.full(count, -1.0), warp.copy())
    for _ in range(steps + 1):
        rows, columns = (
            _interpolation(warp[:, 0], warp[:, 2], side),
            _interpolation(warp[:, 1], warp[:, 3], side),
        )
        moved = rows @ moving @ columns.transpose(0, 2, 1)
        weight = (seen & (rows @ seen_moving @ columns.transpose(0, 2, 1) > 0.99)).astype(np.float32)
        similarity = _correlation(fixed, moved, weight)
        better = similarity > best.similarity
        best.similarity[better], best.warp[better] = similarity[better], warp[better]
        limit = LARGEST_MOVE * side
        warp = np.clip(warp + _step(fixed, moved, weight), -limit, limit)
    return best


def align_closely(first: Pictures, second: Pictures) -> Alignment:
    """The same from coarse (32 pixels) to fine, for pictures whose side is 32 times a power of two."""
    finest = first.shape[-1]
    side, warp = min(32, finest), None
    while True:
        result = align(_reduced(first, side), _reduced(second, side), warp)
        if side == finest:
            return result
        side, warp = 2 * side, 2 * result.warp


def _blurred(values: Float32[np.ndarray, "n side side"], sigma: float) -> Float32[np.ndarray, "n side side"]:
    return gaussian_filter(values, (0, sigma, sigma), mode="nearest")


def _reduced(pictures: Pictures, side: int) -> UInt8[np.ndarray, "n {side} {side}"]:
    factor = pictures.shape[-1] // side
    blocks = pictures.reshape(-1, side, factor, side, factor)
    return np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)


def _interpolation(
    shift: Float[np.ndarray, "n"], stretch: Float[np.ndarray, "n"], side: int
) -> Float32[np.ndarray, "n side side"]:
    """Linear interpolation along one axis as a matrix; a row's weights fall short of 1 outside the picture."""
    pixel = np.arange(side)
    from_centre = (2 * pixel - (side - 1)) / (side - 1)
    wanted = pixel + shift[:, None] + stretch[:, None] * from_centre
    return np.maximum(0, 1 - np.abs(wanted[:, :, None] - pixel)).astype(np.float32)


def _correlation(
    first: Float32[np.ndarray, "n side side"],
    second: Float32[np.ndarray, "n side side"],
    weight: Float32[np.ndarray, "n side side"],
) -> Float[np.ndarray, "n"]:
    pixels = weight.sum((1, 2))
    enough = np.maximum(pixels, 1)
    a = weight * (first - ((weight * first).sum((1, 2)) / enough)[:, None, None])
    b = weight * (second - ((weight * second).sum((1, 2)) / enough)[:, None, None])
    size = np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    result = (a * b).sum((1, 2)) / np.maximum(size, 1e-6)
    return np.where(pixels >= FEWEST_SHARED * weight[0].size, result, 0.0).astype(np.float64)


def _step(
    fixed: Float32[np.ndarray, "n side side"],
    moved: Float32[np.ndarray, "n side side"],
    weight: Float32[np.ndarray, "n side side"],
) -> Warp:
    """One Gauss-Newton step towards the least weighted squared difference."""
    n, side, _ = fixed.shape
    from_centre = np.linspace(-1, 1, side, dtype=np.float32)
    down, right = np.gradient(moved, axis=1), np.gradient(moved, axis=2)
    slopes = np.stack([down, right, down * from_centre[:, None], right * from_centre], axis=1).reshape(
        n, 4, -1
    )
    weighted = slopes * weight.reshape(n, 1, -1)
    normal = (weighted @ slopes.transpose(0, 2, 1)).astype(np.float64) + 0.1 * np.eye(4)
    towards = (weighted @ (fixed - moved).reshape(n, -1, 1)).astype(np.float64)
    return np.linalg.solve(normal, towards)[..., 0]
