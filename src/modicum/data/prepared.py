"""Prepares an image for a network: reads, crops, resizes and quantises it; for a mask, keeps its label values.

The image store keeps the result, and prediction computes it with the same function, so that a network always
sees the same pixels for the same file.
"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from modicum.data.fundus_crop import SMALLEST_SHARE, crop_fundus
from modicum.data.grey_levels import grey_levels, quantised
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import INTENSITY_RULES
from modicum.data.readers import read_image
from modicum.data.resize import FILTERS, FITS, Filter, Fit, fitted
from modicum.errors import BrokenImageError, InputError, did_you_mean

# Increase when reading or resizing gives other pixels than before: older stores are then not used.
PIXELS_VERSION = 1
# A JPEG may be decoded at a reduced scale, but not below this multiple of the target size: at 2 the result differs
# by 0.2 grey levels (mean) from a full decode, at 1 by 0.5, and by 10 at fine vessels.
OVERSAMPLING = 2


@dataclass(frozen=True)
class StoreSettings:
    """How an image is prepared.

    Args:
        height: rows of the result.
        width: columns of the result.
        channels: 1 converts colour to grey; 3 repeats grey.
        resize: ``stretch``, ``pad`` or ``crop``; see :func:`modicum.data.resize.fitted`.
        filter: ``area``, ``bilinear`` or ``lanczos``; see :func:`modicum.data.resize.resized`. Label maps use
            the nearest pixel.
        crop: ``fundus`` crops to the field of view first; see :mod:`modicum.data.fundus_crop`.
        window: centre and width in the file's own units (Hounsfield units, ...) for grey images of more than
            8 bits; None for the file's own window or the image's range.
        levels: 256 (uint8), or 65536 (uint16) if an output is measured in the file's units.
        intensity: the values of an image of more than 8 bits mapped to 0 and 1: ``file`` (the window, or the file's own),
            ``range`` or ``percentile`` (of the whole volume); see :mod:`modicum.data.intensity_window`.
        kind: ``image``, or ``label_map``: whole numbers from 0 to 255, as in masks, which are never scaled.

    Raises:
        InputError: an invalid value; names the valid ones.
    """

    height: int
    width: int
    channels: int = 3
    resize: str = "stretch"
    filter: str = "area"
    crop: str = "none"
    window: tuple[float, float] | None = None
    levels: int = 256
    kind: str = "image"
    intensity: str = "file"

    def __post_init__(self) -> None:
        words = {
            "resize": FITS,
            "filter": FILTERS,
            "crop": ("none", "fundus"),
            "kind": ("image", "label_map"),
            "intensity": ("file", *INTENSITY_RULES),
        }
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is unknown", did_you_mean(getattr(self, name), allowed)
                )
        if self.channels not in (1, 3):
            raise InputError(f"channels={self.channels} is unknown", "use 1 (grey) or 3 (colour)")
        if self.levels not in (256, 65536):
            raise InputError(f"levels={self.levels} is unknown", "use 256 or 65536")
        if self.kind == "label_map" and (self.channels, self.levels, self.crop) != (1, 256, "none"):
            raise InputError(
                "a label map has one channel, 256 levels and no crop", "leave out these settings"
            )
        if min(self.height, self.width) < 1:
            raise InputError(
                f"an image size of {self.height} x {self.width} is too small", "use at least 1 x 1"
            )
        if self.window is not None and not self.window[1] > 0:
            raise InputError(
                f"a window of width {self.window[1]} is empty", "use a width over 0, for instance (40, 400)"
            )

    def as_dict(self) -> dict[str, Any]:
        """All settings that determine the pixels, as JSON values."""
        settings = asdict(self) | {"pixels_version": PIXELS_VERSION, "oversampling": OVERSAMPLING}
        # New settings are left out at their defaults, so that stores of earlier versions are still found.
        settings["content"] = {"label_map": "codes"}.get(settings.pop("kind"), "image")
        for name, usual in {"levels": 256, "content": "image", "intensity": "file"}.items():
            if settings[name] == usual:
                del settings[name]
        return settings

    @property
    def intensity_rule(self) -> str | None:
        """The rule for ``read_image``."""
        return None if self.intensity == "file" else self.intensity

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Data type of the result."""
        return np.uint8 if self.levels == 256 else np.uint16

    @property
    def at_least(self) -> tuple[int, int]:
        """The smallest height and width to decode at."""
        if self.kind == "label_map":  # at full size: a decoder that reduces would mix them
            return 1 << 30, 1 << 30
        height, width = self.height, self.width
        if self.crop == "fundus":  # the box is at least this share of the image's height on both sides
            height = width = ceil(max(height, width) / SMALLEST_SHARE)
        return OVERSAMPLING * height, OVERSAMPLING * width


def prepared(
    pixels: Float32[np.ndarray, "channels height width"], settings: StoreSettings
) -> Shaped[np.ndarray, "{settings.height} {settings.width} stored_channels"]:
    """Crops, resizes and quantises one image, channel last, in ``settings.dtype``.

    The result has one channel if that is sufficient: ``settings.channels`` is 1, or the three channels are
    equal (radiographs saved as RGB); three otherwise.
    """
    if settings.channels == 1 and pixels.shape[0] == 3:
        pixels = grey_levels(pixels)[None]
    if settings.crop == "fundus":
        pixels = np.ascontiguousarray(crop_fundus(pixels))
    fit, kind = cast(Fit, settings.resize), cast(Filter, settings.filter)
    small = quantised(fitted(pixels, settings.height, settings.width, fit, kind), settings.levels)
    if len(small) == 3 and (small[0] == small[1]).all() and (small[0] == small[2]).all():
        small = small[:1]
    return np.ascontiguousarray(small.transpose(1, 2, 0))


def codes_of(image: MedicalImage) -> UInt8[np.ndarray, "height width"]:
    """The label values in a mask's file.

    Raises:
        BrokenImageError: it is in colour, or has numbers that are not whole or not from 0 to 255.
    """
    values = image.values()
    whole = np.rint(values[0])
    if len(values) == 3 and ((values[0] != values[1]).any() or (values[0] != values[2]).any()):
        raise BrokenImageError(str(image.source.path), "is in colour; a mask has one label value per pixel")
    if whole.min() < 0 or whole.max() > 255 or np.abs(whole - values[0]).max() > 1e-3:
        raise BrokenImageError(
            str(image.source.path), "has values that are not labels; a mask has whole numbers from 0 to 255"
        )
    return whole.astype(np.uint8)


def _prepared_codes(image: MedicalImage, settings: StoreSettings) -> UInt8[np.ndarray, "height width 1"]:
    planes = codes_of(image)[None].astype(np.float32)
    fitted_codes = fitted(planes, settings.height, settings.width, cast(Fit, settings.resize), "nearest")
    return fitted_codes.astype(np.uint8).transpose(1, 2, 0)


def read_prepared(
    ref: ImageRef, settings: StoreSettings
) -> tuple[MedicalImage, Shaped[np.ndarray, "height width stored_channels"]]:
    """Reads an image and prepares it; see :func:`prepared`, and :func:`codes_of` for label maps.

    Also returns the image as decoded, possibly at a reduced scale (its ``source`` has the file's size).

    Raises:
        BrokenImageError: the file cannot be read.
    """
    image = read_image(
        ref,
        window=settings.window,
        at_least=settings.at_least,
        intensity=settings.intensity_rule,
        empty=settings.intensity != "file",
    )
    if settings.kind == "label_map":
        return image, _prepared_codes(image, settings)
    return image, prepared(image.pixels, settings)


def expand(
    record: Shaped[np.ndarray, "height width stored_channels"],
    out: Shaped[np.ndarray, "height width channels"],
) -> None:
    """Copies a prepared image into a batch, repeating grey if the batch has three channels."""
    if record.shape == out.shape:
        out[...] = record
    else:
        import cv2

        cv2.cvtColor(record, cv2.COLOR_GRAY2RGB, dst=out)  # 50 times as fast as broadcasting
