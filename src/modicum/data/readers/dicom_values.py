"""Grey values of a DICOM frame: modality transformation, padding, window, and the values mapped to 0 and 1."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped
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


def section(header: Dataset, frame: int, keyword: str) -> Dataset:
    """The data set with a frame's values in an enhanced object (C.7.6.16); the data set itself for a classic one."""
    for groups, item in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        try:
            values = header[groups][item][keyword][0]
        except Exception:
            continue
        return values
    return header


def numbers(part: Dataset, keyword: str) -> list[float]:
    """The numbers of an element; empty if it is absent, empty, not numeric or not finite."""
    try:
        value = part.get(keyword)
        values = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        finite = [float(item) for item in values]
    except Exception:
        # pydicom converts on access, and raises various exceptions for invalid values.
        return []
    return finite if all(np.isfinite(finite)) else []


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
        if "VOILUTSequence" in voi:
            values, slope, intercept = _voi_table(values * slope + intercept, voi), 1.0, 0.0
            ends = display_range(*span(values), False)
        else:
            ends, bend = _window(voi)
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
    """Values, slope and intercept of the modality transformation ``slope * value + intercept`` (C.11.1)."""
    if "ModalityLUTSequence" in header:
        return apply_modality_lut(stored, header), 1.0, 0.0
    transformation = section(header, frame, "PixelValueTransformationSequence")
    slope = next(iter(numbers(transformation, "RescaleSlope")), 1.0) or 1.0
    return stored, slope, next(iter(numbers(transformation, "RescaleIntercept")), 0.0)


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
    bits = int(header.BitsStored) if "BitsStored" in header else 16
    if bits <= 8 and values.dtype.kind in "iu" and "ModalityLUTSequence" not in header:
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
    """Applies the first table of a VOI LUT sequence (C.11.2.1.1), which maps whole numbers."""
    return apply_voi(np.rint(values).astype(np.int32), voi)


def _window(voi: Dataset) -> tuple[Ends | None, Callable[[Stored], Stored] | None]:
    """A file's first window: its ends, and the curve between them if not linear (C.11.2.1.2-3)."""
    centres, widths = numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth")
    if not centres or not widths:
        return None, None
    centre, width = centres[0], widths[0]
    function = str(voi.get("VOILUTFunction", "LINEAR") or "LINEAR").strip().upper()
    if function == "LINEAR" and width > 1:
        return (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2), None
    if function in ("LINEAR_EXACT", "SIGMOID") and width > 0:
        ends = centre - width / 2, centre + width / 2
        if function == "LINEAR_EXACT":
            return ends, None
        return ends, lambda values: (1 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.float32)
    # A width forbidden by the standard counts as no window.
    return None, None
