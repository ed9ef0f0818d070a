"""Writes raster images: PNG with 8 or 16 bits, float32 TIFF, and label maps as PNG."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Integer, Shaped

from modicum.atomic_files import atomic_file
from modicum.data.writers.checks import check_numbers, check_unit
from modicum.errors import InputError


def write_png(path: Path, pixels: Float[np.ndarray, "channels height width"], bits: int = 8) -> None:
    """Writes an image in [0, 1], grey (one channel) or colour (three), rounded to the file's levels.

    To read a 16-bit file back unchanged, use ``window=(32767.5, 65535)``, as the reader scales 16-bit grey
    from its smallest to its largest value.

    Args:
        path: the file; replaced if it exists.
        pixels: in [0, 1].
        bits: 8 or 16 a sample.

    Raises:
        InputError: other bits or channels, or pixels outside [0, 1].
    """
    if bits not in (8, 16):
        raise InputError(f"a PNG cannot have {bits} bits", "use 8 or 16")
    check_unit(pixels, path)
    top = 2**bits - 1
    levels = np.rint(pixels.astype(np.float64) * top).astype(np.uint8 if bits == 8 else np.uint16)
    _encode(path, levels, ".png")


def write_tiff(path: Path, values: Float32[np.ndarray, "channels height width"]) -> None:
    """Writes values in any units as float32, grey (one channel) or colour (three), without rounding.

    Raises:
        InputError: another number of channels, or values that are not numbers.
    """
    check_numbers(values, path)
    _encode(path, values, ".tiff")


def write_labels(path: Path, labels: Integer[np.ndarray, "height width"]) -> None:
    """Writes a label map as a grey 8-bit PNG whose levels are the labels, or 16-bit if one is over 255.

    Raises:
        InputError: a label is below 0 or above 65535.
    """
    if labels.size and (labels.min() < 0 or labels.max() > 65535):
        raise InputError(
            f"'{path.name}' was not written: its labels run from {labels.min()} to {labels.max()}",
            "use labels from 0 to 65535",
        )
    deep = labels.size > 0 and labels.max() > 255
    _encode(path, labels[None].astype(np.uint16 if deep else np.uint8), ".png")


def _encode(path: Path, planes: Shaped[np.ndarray, "channels height width"], form: str) -> None:
    import cv2

    if planes.shape[0] not in (1, 3) or planes.size == 0:
        raise InputError(
            f"'{path.name}' was not written: an image of {' x '.join(map(str, planes.shape))}",
            "use [1, height, width] (grey) or [3, height, width] (colour)",
        )
    # OpenCV's channel order is blue, green, red.
    picture = planes[0] if planes.shape[0] == 1 else planes[::-1].transpose(1, 2, 0)
    done, data = cv2.imencode(form, np.ascontiguousarray(picture))
    if not done:
        raise InputError(f"'{path.name}' could not be encoded", f"write it in another format than {form[1:]}")
    with atomic_file(path, durable=False) as file:
        file.write(data.tobytes())
