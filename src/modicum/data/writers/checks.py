"""Checks of values for all writers."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from modicum.errors import InputError


def check_numbers(values: Shaped[np.ndarray, "*shape"], path: Path) -> None:
    """Raises for NaN and infinity.

    Raises:
        InputError: there are any; names the file that was to be written.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        raise InputError(
            f"'{path.name}' was not written: {bad:,} of {values.size:,} predicted values are NaN or infinite",
            "check the run's losses (training may have diverged), or predict in float32",
        )


def check_unit(pixels: Shaped[np.ndarray, "*shape"], path: Path) -> None:
    """Raises for values outside [0, 1].

    Raises:
        InputError: a value is outside, or not a number.
    """
    check_numbers(pixels, path)
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise InputError(
            f"'{path.name}' was not written: its pixels run from {low:.4g} to {high:.4g}",
            "clip them to [0, 1], or write values in other units as TIFF",
        )
