"""Maps stored values to [0, 1]: which values become 0 and 1, and the mapping between.

The default rule, the same for all formats unless the file (a DICOM window) or the caller sets a window:

- up to 8 bits: the whole range of the type, so that a dark photograph stays dark;
- 16-bit colour: the whole range too, so that colours keep their proportions;
- grey of more than 8 bits: the data's minimum and maximum. Medical data of 10 to 16 bits are stored in
  16, often with an offset, and the whole range would show a 12-bit CT slice nearly black. Nothing is
  clipped;
- floating point: unchanged if all values are within [0, 1], otherwise minimum to maximum;
- NaN becomes 0, minus infinity 0, plus infinity 1; they do not count for minimum and maximum.

A caller may choose another rule, for grey images of more than 8 bits (of any depth in DICOM and
NIfTI):

- ``range``: minimum to maximum as above, even if a DICOM file has a window;
- ``percentile``: the 0.5th to the 99.5th percentile of values that are not 0, NaN or infinite. Zero is the
  background and becomes exactly 0. If all other values are equal, the window is from 0 to that value, and if
  there are none, from 0 to 1. It is meant for MR; in Hounsfield units it would treat water as background.

Both are computed over the whole volume in NIfTI, the frame in DICOM (``modicum.data.volumes`` computes them for a
whole series), and the single image in other formats.
"""

import numpy as np
from jaxtyping import Float32, Shaped

from modicum.data.intensity_window import BACKGROUND
from modicum.data.readers.request import Request, Unreadable

Values = Shaped[np.ndarray, "height width *samples"]
Ends = tuple[float, float]
PERCENTILES = (0.5, 99.5)
# Percentiles of more voxels than this are computed from evenly spaced ones.
MOST_VOXELS = 2**24
TURNED = (5, 6, 7, 8)
"""The EXIF orientations that exchange rows and columns."""


def span(values: Shaped[np.ndarray, "*sides"]) -> tuple[float, float]:
    """Minimum and maximum of the finite values.

    Raises:
        Unreadable: there are none.
    """
    if values.size == 0:
        raise Unreadable("has no pixels")
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            raise Unreadable("holds no number, only NaN or infinity")
        low, high = float(finite.min()), float(finite.max())
    return low, high


def display_range(low: float, high: float, is_float: bool) -> tuple[float, float]:
    """The values mapped to 0 and 1 by the default rule, for data from ``low`` to ``high``.

    A constant image becomes 0 everywhere, and can still be inverted.
    """
    if is_float and low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + max(1.0, 2 * float(np.spacing(abs(low)))))


def foreground(values: Shaped[np.ndarray, "*sides"], step: int = 1) -> Shaped[np.ndarray, "some"]:
    """Values that are not background (0), NaN or infinite, of every ``step``-th value."""
    few = values.ravel(order="K")[::step]
    return few[np.isfinite(few) & (few != BACKGROUND)]


def percentile_ends(seen: Shaped[np.ndarray, "some"]) -> Ends:
    """The values mapped to 0 and 1 by the percentile rule, for an image or volume with this :func:`foreground`."""
    if seen.size == 0:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(seen.astype(np.float64), PERCENTILES))
    return (low, high) if high > low else (min(low, BACKGROUND), max(high, BACKGROUND))


def spaced(voxels: int) -> int:
    """The step between voxels that are used to compute percentiles, for a volume of a number of voxels."""
    return max(1, -(-voxels // MOST_VOXELS))


def to_unit(values: Values, low: float, high: float) -> Float32[np.ndarray, "channels height width"]:
    """Maps ``low`` to 0 and ``high`` to 1 (``low`` may be the larger), clips, and moves channels first.

    The result is the only array of its size that is allocated, except a float64 one for values that float32
    cannot represent exactly.
    """
    planes = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    unit = np.empty(planes.shape, np.float32)
    if values.dtype == np.uint8:
        table = to_unit(np.arange(256, dtype=np.uint16)[None], low, high).ravel()
        for plane, out in zip(planes, unit, strict=True):
            np.take(table, plane, out=out, mode="clip")  # a table is three times quicker than arithmetic
        return unit
    exact = values.dtype.itemsize <= 2 or values.dtype == np.float32
    if exact and 1e-30 < abs(high - low) < 1e30 and max(abs(low), abs(high)) < 1e30:
        np.subtract(planes, np.float32(low), out=unit, casting="unsafe")
        unit /= np.float32(high - low)
    else:
        unit[...] = np.clip((planes.astype(np.float64) - low) / (high - low), 0, 1)
    if values.dtype.kind == "f":
        np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(unit, 0, 1, out=unit)


def grey_or_colour(
    values: Shaped[np.ndarray, "height width *samples"], bits: int, request: Request
) -> tuple[Float32[np.ndarray, "channels height width"], Ends]:
    """Applies the rules above to one decoded image; also returns the values mapped to 0 and 1.

    Args:
        values: integers or floats.
        bits: bits per sample.
        request: with the window or the rule, for grey images of more than 8 bits.
    """
    is_float = values.dtype.kind == "f"
    is_grey = values.ndim == 2 or values.shape[-1] == 1
    if values.dtype.kind == "u" and (bits <= 8 or (not is_grey and bits == 16)):
        ends = (0.0, float(2**bits - 1))
        return to_unit(values, *ends), ends
    low, high = span(values)
    ends = display_range(low, high, is_float)
    if is_grey and request.window_ends is not None:
        ends = request.window_ends
    elif is_grey and request.rule == "percentile":
        ends = percentile_ends(foreground(values, spaced(values.size)))
    pixels = to_unit(values, *ends)
    if is_grey:
        clear_background(pixels, values, request.background)
    return pixels, ends


def clear_background(
    pixels: Float32[np.ndarray, "1 height width"],
    values: Shaped[np.ndarray, "height width *sample"],
    background: float | int | None,
) -> None:
    """Sets pixels to exactly 0 where the value is the background's."""
    if background is not None:
        pixels[0][values.reshape(pixels.shape[1:]) == background] = 0


def upright(values: Values, orientation: int) -> Shaped[np.ndarray, "rows columns *samples"]:
    """Turns a picture as its EXIF orientation (1 to 8, JEITA CP-3451 4.6.4) asks; a view, no copy."""
    if orientation in TURNED:
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
