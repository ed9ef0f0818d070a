"""Similarity of two small grey images of the same kind, excluding what all images of that kind share.

All fundus photographs are bright discs, all chest radiographs two dark lungs: plain correlation of small images of
different patients reaches 0.99. Individual features remain after three steps:

1. *Local contrast*: the local mean is subtracted and the local deviation divided out, so that a faint vessel counts as
   much as the edge of a lung, and brightness, contrast and gamma have no effect.
2. *Mask*: large dark surroundings and their edge, the same in every photograph of one camera, are excluded.
3. *Registration*: a few Gauss-Newton steps over shift and stretch of each axis, up to about 5 % of the side, undo a
   slight crop. Mirroring and rotation are not undone: a left eye is not a copy of a right one.

The result is the correlation of the remainder, 1 for a copy. Thresholds, and the images they were measured on, are in
:mod:`modicum.data.checks.near_duplicates`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from scipy.ndimage import binary_opening, gaussian_filter, maximum_filter

FLOOR = 2.0  # grey levels; smaller local deviations are noise, and are not amplified
DARK = 0.06  # share of the image's range above its minimum: surroundings
LARGEST_MOVE = 0.05  # of the side
FEWEST_INSIDE = 0.15  # share of the image; with less, the whole image is compared
FEWEST_SHARED = 0.1  # share of the image; a comparison over less is meaningless
STEPS = 5

Pictures = UInt8[np.ndarray, "n side side"]
Warp = Float[np.ndarray, "n 4"]


class Alignment(NamedTuple):
    """Similarity of pairs after registration.

    Attributes:
        similarity: correlation of the local contrasts, -1 to 1; 0 if too little remains to compare.
        warp: rows' shift, columns' shift, rows' stretch, columns' stretch, in pixels at the image's edge.
    """

    similarity: Float[np.ndarray, "n"]
    warp: Warp


class Detail(NamedTuple):
    """The features by which images are compared.

    Attributes:
        contrast: :func:`local_contrast`.
        inside: mask of compared pixels (:func:`inside`).
    """

    contrast: Float32[np.ndarray, "n side side"]
    inside: Bool[np.ndarray, "n side side"]

    def at(self, indices: Int64[np.ndarray, "m"]) -> "Detail":
        """The features of images by index, with repetitions."""
        return self._replace(contrast=self.contrast[indices], inside=self.inside[indices])


def detail_of(pictures: Pictures) -> Detail:
    """Computes the features, once for each image."""
    return Detail(local_contrast(pictures), inside(pictures))


def local_contrast(pictures: Pictures) -> Float32[np.ndarray, "n side side"]:
    """Each pixel's difference from its neighbourhood's mean, in units of the neighbourhood's deviation."""
    sigma = 2.0 if pictures.shape[-1] <= 32 else 3.0
    values = pictures.astype(np.float32)
    detail = values - _blurred(values, sigma)
    deviation = np.sqrt(_blurred(detail * detail, 1.5 * sigma))
    return detail / (deviation + np.float32(FLOOR))


def inside(pictures: Pictures) -> Bool[np.ndarray, "n side side"]:
    """True outside large dark surroundings and their edges; everywhere in an image that is mostly dark.

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
    """:func:`align_detail` for pairs of images of one size, 0 to 255."""
    return align_detail(detail_of(first), detail_of(second), start, steps)


def align_detail(first: Detail, second: Detail, start: Warp | None = None, steps: int = STEPS) -> Alignment:
    """Registers each image of ``second`` on its partner in ``first``, and computes their similarity.

    Args:
        first, second: pairs of images of one size.
        start: initial warp, for instance from a coarser image; identity by default.
        steps: number of Gauss-Newton steps.
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
    """:func:`align` from coarse (32 pixels) to fine, for images whose side is 32 times a power of two."""
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
    """Linear interpolation along one axis as a matrix; a row's weights sum to less than 1 outside the image."""
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
    """One Gauss-Newton step to minimise the weighted squared difference."""
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
