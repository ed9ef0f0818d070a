"""From stored values to [0, 1]: which values become 0 and 1, and the mapping between.

The rule, the same for all formats where the file itself (a DICOM window) or the caller says nothing:

- up to 8 bits: the whole range of the type, so that a dark photograph stays dark;
- colour of 16 bits: the whole range too, so that colours keep their proportions;
- grey of more than 8 bits: the data's own least and largest value. Medical data of 10 to 16 bits are kept in
  16, often with an offset, and the whole range would show a 12-bit CT slice nearly black. Nothing is cut
  off;
- floating point: as it is where all lies within [0, 1], otherwise least to largest value;
- NaN becomes 0, minus infinity 0, plus infinity 1; they do not count for least and largest.
"""

import numpy as np
from jaxtyping import Float32, Shaped

from modicum.data.readers.request import Unreadable

Values = Shaped[np.ndarray, "height width *samples"]


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
    values: Shaped[np.ndarray, "height width *samples"], bits: int, window: tuple[float, float] | None
) -> tuple[Float32[np.ndarray, "channels height width"], tuple[float, float]]:
    """Applies the rule above to one decoded image; also gives the values that became 0 and 1.

    Args:
        values: integers or floats.
        bits: bits a sample.
        window: the values to show as 0 and 1, for grey images of more than 8 bits.
    """
    is_float = values.dtype.kind == "f"
    is_grey = values.ndim == 2 or values.shape[-1] == 1
    if values.dtype.kind == "u" and (bits <= 8 or (not is_grey and bits == 16)):
        ends = (0.0, float(2**bits - 1))
    else:
        low, high = span(values)
        ends = window if window is not None and is_grey else display_range(low, high, is_float)
    return to_unit(values, *ends), ends


def upright(values: Values, orientation: int) -> Shaped[np.ndarray, "rows columns *samples"]:
    """Turns a picture as its EXIF orientation (1 to 8, JEITA CP-3451 4.6.4) asks; a view, no copy."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
