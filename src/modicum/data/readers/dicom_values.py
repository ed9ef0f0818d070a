"""Grey values of a DICOM frame: modality transformation, padding, window, and the values mapped to 0 and 1."""

import math
import re
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi

from modicum.data.readers.intensity import (
    Ends,
    clear_background,
    display_range,
    foreground,
    percentile_ends,
    spaced,
    span,
    to_unit,
)
from modicum.data.readers.request import Request, Unreadable

Stored = Shaped[np.ndarray, "height width"]
_TEXTS = ("CS", "DS", "IS")  # padded with blanks; in others, zero bytes are the number 0
_RESCALE = ("RescaleSlope", "RescaleIntercept")


def is_empty(part: Dataset, keyword: str) -> bool:
    """Whether an element is absent, or there without any value (a sequence of zero items, blanks)."""
    element = part.get_item(keyword)  # as it stands in the file: pydicom converts on access, and may raise
    value = None if element is None else element.value
    if isinstance(value, bytes) and dictionary_VR(keyword) in _TEXTS:
        return not value.strip(b" \0")
    if isinstance(value, str):
        return not value.strip(" \0")
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def section(header: Dataset, frame: int, keyword: str) -> Dataset:
    """Where an enhanced object keeps a frame's values (C.7.6.16); the data set itself for a classic one.

    Raises:
        Unreadable: other frames have such a section of their own, and this one has none.
    """
    per_frame, shared = (
        _items(header, f"{which}FunctionalGroupsSequence") for which in ("PerFrame", "Shared")
    )
    for groups, at in ((per_frame, frame), (shared, 0)):
        inner = _items(groups[at], keyword) if at < len(groups) else []
        if inner:
            return inner[0]
    if any(_items(groups, keyword) for groups in per_frame):
        raise Unreadable(f"its {keyword} has no item for frame {frame}, though it has for others")
    return header


def _items(part: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent or empty."""
    if is_empty(part, keyword):
        return []
    try:
        return list(part[keyword].value)
    except Exception:
        raise Unreadable(f"its element {keyword} is no readable sequence") from None


def numbers(part: Dataset, keyword: str, count: int | None = None) -> list[float]:
    """The numbers of an element; none where it is absent or empty.

    Args:
        part: holds the element.
        keyword: its name.
        count: how many values it must have at least, where it has any.

    Raises:
        Unreadable: it is there, but not as numbers, or with fewer than ``count``.
    """
    if is_empty(part, keyword):
        return []
    try:
        value = part.get(keyword)
        values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else [*value]
        while values and values[-1] in ("", None):  # a backslash too many
            values.pop()
        if any(isinstance(item, bytes) for item in values):
            raise ValueError
        read = [float(item) for item in values]
    except Exception:
        # pydicom converts on access, and raises various things for values that break their own rules.
        read = [math.nan]
    if not all(math.isfinite(item) for item in read):
        raise Unreadable(f"its element {keyword}{_as_written(part, keyword)} cannot be read as numbers")
    if count is not None and len(read) < count:
        given = "1 value" if len(read) == 1 else f"{len(read)} values"
        raise Unreadable(f"its element {keyword} has {given} where {count} are needed")
    return read


def whole_number(part: Dataset, keyword: str) -> int | None:
    """The whole number that an element holds; None where it is absent or empty.

    Raises:
        Unreadable: it is there, and holds something else.
    """
    first = next(iter(numbers(part, keyword)), None)
    if first is not None and not first.is_integer():
        raise Unreadable(f"its element {keyword} is no whole number")
    return None if first is None else int(first)


def _as_written(part: Dataset, keyword: str) -> str:
    """The value in quotes where it is only figures and signs, so that nothing about a patient can be in it."""
    try:
        value = part.get(keyword)
        value = value if isinstance(value, str) else "\\".join(str(item) for item in value)
    except Exception:
        element = part.get_item(keyword)
        raw = None if element is None else element.value
        value = raw.decode("ascii", "replace").strip(" \0") if isinstance(raw, bytes) else ""
    return f" '{value}'" if re.fullmatch(r"[-+0-9.,eE\\ ]{1,16}", value) else ""


def grey_pixels(
    stored: Stored, header: Dataset, frame: int, request: Request
) -> tuple[Float32[np.ndarray, "1 height width"], Ends]:
    """A monochrome frame in [0, 1], and the values mapped to 0 and 1, after the modality transformation.

    MONOCHROME1 is inverted here, so that the second of the two is mapped to 0. With a VOI table the two
    are the table's outputs, and with a sigmoid the window's ends: neither can be inverted linearly. A requested
    rule overrides the file's window.

    Raises:
        Unreadable: percentiles of a CT.
    """
    padding = _padding(stored, header)
    values, slope, intercept = _modality(stored, header, frame)
    ends, bend = request.window_ends, None
    if request.rule == "percentile":
        ends = _percentiles(values, padding, slope, intercept, header)
    if ends is None and request.rule is None:
        voi = section(header, frame, "FrameVOILUTSequence")
        if all(is_empty(voi, name) for name in ("VOILUTSequence", "WindowCenter", "WindowWidth")):
            voi = header
        # A sequence of zero items is no table, and leaves the word to a window beside it (C.11.2.1).
        if not is_empty(voi, "VOILUTSequence"):
            values, slope, intercept = _voi_table(values * slope + intercept, voi), 1.0, 0.0
            ends = display_range(*span(values), False)
        else:
            ends, bend = _window(voi)
            if ends is None and voi is not header:
                ends, bend = _window(header)
    if ends is None:
        ends = _own_range(values, padding, slope, intercept, header)
    # Rescaling is applied to the ends and not to the pixels: the same result without another array.
    pixels = to_unit(values, (ends[0] - intercept) / slope, (ends[1] - intercept) / slope)
    if bend is not None:
        pixels = bend(values * slope + intercept)[None]
    if request.background is not None:
        clear_background(pixels, values * slope + intercept, request.background)
    if str(header.PhotometricInterpretation).strip() == "MONOCHROME1":
        np.subtract(1, pixels, out=pixels)
    if padding is not None:
        pixels[0][padding] = 0
    return pixels, ends


def own_units(stored: Stored, header: Dataset, frame: int) -> Float64[np.ndarray, "height width"]:
    """A monochrome frame after the modality transformation; NaN for padding."""
    values, slope, intercept = _modality(stored, header, frame)
    units = values * slope + intercept
    units = units.astype(np.float64, copy=False)
    padding = _padding(stored, header)
    if padding is not None:
        units[padding] = np.nan
    return units


def refuse_ct(header: Dataset) -> None:
    """Raises for a CT, as percentiles exclude zero as background.

    Raises:
        Unreadable: it is a CT, where zero is water.
    """
    if str(header.get("Modality", "")).strip() == "CT":
        raise Unreadable(
            "is a CT, where zero is water and not background: percentiles do not apply; pass a window "
            "such as (40, 400)"
        )


def _modality(stored: Stored, header: Dataset, frame: int) -> tuple[Stored, float, float]:
    """Values of which ``slope * value + intercept`` is the modality transformation (C.11.1)."""
    if not is_empty(header, "ModalityLUTSequence"):
        try:
            return apply_modality_lut(stored, header), 1.0, 0.0
        except Exception:
            raise Unreadable("its element ModalityLUTSequence cannot be read as a table") from None
    transformation = section(header, frame, "PixelValueTransformationSequence")
    if all(is_empty(transformation, name) for name in _RESCALE):
        transformation = header
    for name in _RESCALE:
        if len(set(numbers(transformation, name))) > 1:
            raise Unreadable(f"its element {name} has several values, of which only one can hold")
    slope, intercept = (next(iter(numbers(transformation, name)), None) for name in _RESCALE)
    for name, value, other in zip(_RESCALE, (slope, intercept), (intercept, slope), strict=True):
        if value is None and other is not None and name in transformation:
            raise Unreadable(f"its element {name} is empty beside the other half of the same rescaling")
    if slope == 0:
        raise Unreadable("its element RescaleSlope is 0, which makes one value of all")
    return stored, 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _percentiles(
    values: Stored,
    padding: Bool[np.ndarray, "height width"] | None,
    slope: float,
    intercept: float,
    header: Dataset,
) -> Ends:
    refuse_ct(header)
    seen = values if padding is None else values[~padding]
    return percentile_ends(foreground(seen * slope + intercept, spaced(values.size)))


def _own_range(
    values: Stored,
    padding: Bool[np.ndarray, "height width"] | None,
    slope: float,
    intercept: float,
    header: Dataset,
) -> Ends:
    bits = whole_number(header, "BitsStored") or 16
    if bits <= 8 and values.dtype.kind in "iu" and is_empty(header, "ModalityLUTSequence"):
        low = -(2.0 ** (bits - 1)) if values.dtype.kind == "i" else 0.0
        ends = low, low + 2.0**bits - 1
    else:
        seen = values if padding is None or padding.all() else values[~padding]
        ends = display_range(*span(seen), values.dtype.kind == "f")
    low, high = sorted(slope * end + intercept for end in ends)
    return low, high


def _padding(stored: Stored, header: Dataset) -> Bool[np.ndarray, "height width"] | None:
    """Mask of padding (C.7.5.1.1.2): the stored padding value, or values up to its range's limit."""
    first = numbers(header, "PixelPaddingValue")
    if not first or stored.dtype.kind not in "iu":
        return None
    last = numbers(header, "PixelPaddingRangeLimit") or first
    ends = [int(first[0]), int(last[0])]
    if stored.dtype.kind == "i":
        # Often written as unsigned although the pixels are signed.
        top = np.iinfo(stored.dtype).max
        ends = [end - 2 * (top + 1) if end > top else end for end in ends]
    padding = (stored >= min(ends)) & (stored <= max(ends))
    return padding if padding.any() else None


def _voi_table(values: Stored, voi: Dataset) -> Stored:
    """Applies the first table of a VOI LUT sequence (C.11.2.1.1), which takes whole numbers."""
    try:
        return apply_voi(np.rint(values).astype(np.int32), voi)
    except Exception:
        raise Unreadable("its element VOILUTSequence cannot be read as a table") from None


def _window(voi: Dataset) -> tuple[Ends | None, Callable[[Stored], Stored] | None]:
    """A file's first window that has a width: its ends, and the curve between them if not linear (C.11.2.1.2-3).

    Widths of 0 are written by software that knows no window, and are none. A linear window of less than 1, which the
    standard has for LINEAR_EXACT alone, is read as that: it is of values such as a PET's SUV.

    Raises:
        Unreadable: a width below 0 and no other window.
    """
    centres, widths = numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth")
    windows = list(zip(centres, widths, strict=False))
    centre, width = next(((c, w) for c, w in windows if w > 0), (0.0, 0.0))
    if width == 0:
        below = next((w for _, w in windows if w < 0), None)
        if below is not None:
            raise Unreadable(
                f"its element WindowWidth is {below:g}, and a window is wider than 0 (--set window=[40,400] sets another)"
            )
        return None, None
    function = str(voi.get("VOILUTFunction", "LINEAR") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise Unreadable("its element VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID")
    if function == "LINEAR" and width > 1:
        return (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2), None
    ends = centre - width / 2, centre + width / 2
    if function == "SIGMOID":
        return ends, lambda values: (1 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.float32)
    if function == "LINEAR" and width == 1:
        return ends, lambda values: (values > centre - 0.5).astype(np.float32)
    return ends, None
