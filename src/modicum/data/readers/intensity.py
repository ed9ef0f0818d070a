"""From stored values to [0, 1]: which values become 0 and 1, and the mapping between.

The rule, the same for all formats where the file itself (a DICOM window) or the caller says nothing:

- up to 8 bits: the whole range of the type, so that a dark photograph stays dark;
- colour of 16 bits: the whole range too, so that colours keep their proportions;
- grey of more than 8 bits: the data's own least and largest value. Medical data of 10 to 16 bits are kept in
  16, often with an offset, and the whole range would show a 12-bit CT slice nearly black. Nothing is cut
  off;
- floating point: as it is where all lies within [0, 1], otherwise least to largest value;
- NaN becomes 0, minus infinity 0, plus infinity 1; they do not count for least and largest.

A caller may ask for another rule instead, for grey images of more than 8 bits (of any depth in DICOM and
NIfTI):

- ``range``: least to largest value as above, also where a DICOM file brings a window;
- ``percentile``: the 0.5th to the 99.5th percentile of what is neither 0 nor NaN nor infinite. Zero is the
  background and becomes exactly 0. Where all the rest is alike, the window is from 0 to that value, and where
  there is no rest, from 0 to 1. It is made for MR; of Hounsfield units it would take water for background.

Both are of the whole volume in NIfTI, of the frame in DICOM (``modicum.data.volumes`` finds them for a whole
series), and of the single image elsewhere.
"""

import numpy as np
from jaxtyping import Float32, Shaped

from modicum.data.intensity_window import BACKGROUND
from modicum.data.readers.request import Request, Unreadable

Values = Shaped[np.ndarray, "height width *samples"]
Ends = tuple[float, float]
PERCENTILES = (0.5, 99.5)
# Percentiles of more voxels than this are taken from evenly spaced ones.
MOST_VOXELS = 2**24
TURNED = (5, 6, 7, 8)
"""The EXIF orientations that exchange rows and columns."""


def span(values: Shaped[np.ndarray, "*sides"]) -> tuple[float, float]:
    """Least and largest finite value.

    Raises:
        Unreadable: there is none.
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
    """What becomes 0 and 1 for data from ``low`` to ``high`` of which no more is known.

    A constant image becomes 0 everywhere, and can still be inverted.
    """
    if is_float and low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + max(1.0, 2 * float(np.spacing(abs(low)))))


def foreground(values: Shaped[np.ndarray, "*sides"], step: int = 1) -> Shaped[np.ndarray, "some"]:
    """What is neither the background (0) nor NaN nor infinite, of every ``step``-th value."""
    few = values.ravel(order="K")[::step]
    return few[np.isfinite(few) & (few != BACKGROUND)]


def percentile_ends(seen: Shaped[np.ndarray, "some"]) -> Ends:
    """What becomes 0 and 1 by the percentile rule for an image or volume with this :func:`foreground`."""
    if seen.size == 0:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(seen.astype(np.float64), PERCENTILES))
    return (low, high) if high > low else (min(low, BACKGROUND), max(high, BACKGROUND))


def spaced(voxels: int) -> int:
    """Of how many voxels one is looked at, in a volume of so many, to find percentiles."""
    return max(1, -(-voxels // MOST_VOXELS))


def to_unit(values: Values, low: float, high: float) -> Float32[np.ndarray, "channels height width"]:
    """Maps ``low`` to 0 and ``high`` to 1 (``low`` may be the larger), cuts off beyond, and puts channels
    first.

    The result is the only array of its size that is made, apart from a float64 one for values that float32
    cannot hold exactly.
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
    """Applies the rules above to one decoded image; also gives the values that became 0 and 1.

    Args:
        values: integers or floats.
        bits: bits a sample.
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
    """Makes the pixels exactly 0 where the value is the background's."""
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
