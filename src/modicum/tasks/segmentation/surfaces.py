"""Distances between the surfaces of two regions.

The surface of a region is made of its pixels that have a neighbour outside, up, down, left or right; beyond the edge
of the image is outside. Distances are between centres of pixels.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Region = Bool[np.ndarray, "height width"]


class SurfaceDistances(NamedTuple):
    """Distances between two regions' surfaces, in the unit of the spacing; NaN if a region is empty.

    Attributes:
        hausdorff95: the 95th percentile of all distances from either surface to the other, interpolated linearly.
        average: their mean, the average symmetric surface distance.
    """

    hausdorff95: float
    average: float


def surface_distances(
    predicted: Region, truth: Region, spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistances:
    """Average symmetric surface distance and 95 % Hausdorff distance of two regions.

    Both pool the distances of the two directions, so that a longer surface counts more: Heimann et al., IEEE TMI
    28(8) 2009. Others average the two directions' means, or take the larger of their percentiles.

    Args:
        predicted: one region.
        truth: the other; the result is the same if they are swapped.
        spacing: between rows and between columns, for instance in mm.
    """
    if not predicted.any() or not truth.any():
        return SurfaceDistances(math.nan, math.nan)
    box = _box_around(predicted | truth)
    predicted_surface, true_surface = _surface(predicted[box]), _surface(truth[box])
    distances = np.concatenate(
        [
            _distances(predicted_surface, true_surface, spacing),
            _distances(true_surface, predicted_surface, spacing),
        ]
    )
    return SurfaceDistances(float(np.percentile(distances, 95)), float(distances.mean()))


def _distances(of: Region, to: Region, spacing: tuple[float, float]) -> Float[np.ndarray, "pixels"]:
    """Distance from each pixel of one surface to the nearest of the other."""
    return np.asarray(ndimage.distance_transform_edt(~to, sampling=spacing))[of]


def _surface(region: Region) -> Region:
    return region & ~ndimage.binary_erosion(region)


def _box_around(region: Region) -> tuple[slice, slice]:
    """The rows and columns that hold the region: all distances lie within, and most images are much larger."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
