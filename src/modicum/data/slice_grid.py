"""The affine of slices from the positions of all of them, each of which is then compared with it.

Slices need not lie on top of each other: with a tilted gantry every slice is shifted in its own plane, so that the
grid is sheared. What is no grid (slices that wander, drift or fan out) has no affine, and is refused.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from modicum.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ALONG = 0.2
"""A slice may be off along the normal by this share of the distance between slices."""
IN_PLANE = 0.25
"""A slice may be off in its own plane by this share of the smaller pixel side."""


def grid_affine(
    positions: Float64[np.ndarray, "slices 3"],
    directions: Float64[np.ndarray, "2 3"],
    spacing: tuple[float, float],
    names: Sequence[str],
) -> Float64[np.ndarray, "4 4"]:
    """Maps (slice, row, column) of ordered slices to millimetres to the right, front and head (RAS).

    The step from slice to slice is that of the straight line through all positions (least squares). A single slice
    counts as 1 mm thick.

    Args:
        positions: of each slice's first pixel (ImagePositionPatient), in millimetres (LPS), in order along the normal.
        directions: unit vectors along the rows and along the columns (ImageOrientationPatient).
        spacing: millimetres between rows and between columns.
        names: of the slices, for errors.

    Raises:
        InputError: a slice lies further from its place in the grid than :data:`ALONG` or :data:`IN_PLANE` allow.
    """
    normal = np.cross(*directions)
    first, step = positions[0], normal
    if len(positions) > 1:
        counted = np.arange(len(positions)) - (len(positions) - 1) / 2
        step = counted @ positions / (counted @ counted)
        first = positions.mean(axis=0) + counted[0] * step
        _check_each(
            positions - (positions.mean(axis=0) + np.outer(counted, step)), step, normal, spacing, names
        )
    along_rows, along_columns = directions
    affine = np.eye(4)
    # A step to the next row is along the columns, and vice versa (C.7.6.2.1.1).
    affine[:3] = np.stack([step, along_columns * spacing[0], along_rows * spacing[1], first], axis=1)
    return LPS_TO_RAS @ affine


def _check_each(
    off: Float64[np.ndarray, "slices 3"],
    step: Float64[np.ndarray, "3"],
    normal: Float64[np.ndarray, "3"],
    spacing: tuple[float, float],
    names: Sequence[str],
) -> None:
    along = off @ normal
    across = np.linalg.norm(off - np.outer(along, normal), axis=1)
    for distances, allowed, where in (
        (np.abs(along), ALONG * abs(float(step @ normal)), "along their normal"),
        (across, IN_PLANE * min(spacing), "in its own plane"),
    ):
        worst = int(np.argmax(distances))
        if distances[worst] > allowed:
            raise InputError(
                f"'{names[worst]}' (slice {worst} of {len(names)}) lies {distances[worst]:.3g} mm {where} from its place "
                f"in a regular grid through all slices ({allowed:.2g} mm are allowed)",
                "leave the odd ones out, resample the series to a grid first, or pass the slices as single images",
            )
