"""What is kept of an image for a network: read, cropped, resized, in whole levels; of a mask, its codes; of saliency, its
share of the most that its file could say.

The image store keeps the result, and prediction computes it with the same function, so that a network always
sees the same pixels for the same file.
"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from modicum.data.fundus_crop import SMALLEST_SHARE, Box, fundus_box
from modicum.data.grey_levels import grey_levels, quantised
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import INTENSITY_RULES
from modicum.data.mask_codes import codes_of
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
        filter: ``area``, ``bilinear``, ``bicubic`` or ``lanczos``; see :func:`modicum.data.resize.resized`. Label maps
            use the nearest pixel.
        crop: ``fundus`` crops to the field of view first; see :mod:`modicum.data.fundus_crop`.
        window: centre and width in the file's own units (Hounsfield units, ...) for grey images of more than
            8 bits; None for the file's own window or the image's range.
        levels: 256 (uint8), or 65536 (uint16) if an output is measured in the file's units.
        intensity: the values of an image of more than 8 bits mapped to 0 and 1: ``file`` (the window, or the file's own),
            ``range`` or ``percentile`` (of the whole volume); see :mod:`modicum.data.intensity_window`.
        kind: ``image``; ``label_map``, whole numbers up to 255 that stand for something, as masks have, and are never
            scaled; or ``saliency``, one channel that means the same in all files (see :func:`saliency_of`).

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
            "kind": ("image", "label_map", "saliency"),
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
            raise InputError("codes have one channel, 256 levels and no crop", "leave these settings out")
        if self.kind == "saliency" and (self.channels, self.crop, self.window) != (1, "none", None):
            raise InputError("saliency has one channel, no window and no crop", "leave these settings out")
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
        # Named, and left out where they are as ever, so that stores of earlier versions are found again.
        kind = settings.pop("kind")
        settings["content"] = {"label_map": "codes"}.get(kind, kind)
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
    return _prepared(pixels, settings)[0]


def _prepared(
    pixels: Float32[np.ndarray, "channels height width"], settings: StoreSettings
) -> tuple[Shaped[np.ndarray, "{settings.height} {settings.width} stored_channels"], Box | None]:
    """What :func:`prepared` makes, and the part that it cut out of the image; None for all of it."""
    cropped = None
    if settings.channels == 1 and pixels.shape[0] == 3:
        pixels = grey_levels(pixels)[None]
    if settings.crop == "fundus":
        cropped = fundus_box(pixels)
        left, top, right, bottom = cropped
        pixels = np.ascontiguousarray(pixels[:, top:bottom, left:right])
    fit, kind = cast(Fit, settings.resize), cast(Filter, settings.filter)
    small = quantised(fitted(pixels, settings.height, settings.width, fit, kind), settings.levels)
    if len(small) == 3 and (small[0] == small[1]).all() and (small[0] == small[2]).all():
        small = small[:1]
    return np.ascontiguousarray(small.transpose(1, 2, 0)), cropped


def saliency_of(image: MedicalImage) -> Float32[np.ndarray, "height width"]:
    """How much each pixel matters, in [0, 1].

    Of whole numbers it is the share of the most that their 8 or 16 bits can hold, whatever the largest in the file is,
    so that files can be compared; other numbers are taken as they are.

    Raises:
        BrokenImageError: it is in colour, or holds other numbers than these.
    """
    values, source = image.values(), image.source
    if len(values) == 3 and ((values[0] != values[1]).any() or (values[0] != values[2]).any()):
        raise BrokenImageError(str(source.path), "is in colour; saliency is one number a pixel")
    saliency, low, high = values[0], *image.value_range
    # The reader went to [0, 1] and back in float32.
    rounding = 2.0**-22 * max(1.0, abs(high - low))
    is_real = source.mode.startswith(("F", "float")) or bool(
        (abs(saliency - np.rint(saliency)) > rounding).any()
    )
    saliency = saliency if is_real else np.rint(saliency)
    most = 1 if is_real else 2 ** min(source.bits, 16) - 1
    if saliency.min() < 0 or saliency.max() > most or (not is_real and source.mode.startswith("int")):
        raise BrokenImageError(
            str(source.path),
            "holds values that are no saliency; give 8 or 16 bits without a sign, or floating point from 0 to 1",
        )
    if saliency.max() == 1 < most:
        raise BrokenImageError(
            str(source.path), f"holds only 0 and 1; as saliency write {most} where a pixel matters most"
        )
    return saliency / np.float32(most)


def _prepared_saliency(image: MedicalImage, settings: StoreSettings) -> Shaped[np.ndarray, "height width 1"]:
    fit, kind = cast(Fit, settings.resize), cast(Filter, settings.filter)
    small = fitted(saliency_of(image)[None], settings.height, settings.width, fit, kind)
    return quantised(small, settings.levels).transpose(1, 2, 0)


def _prepared_codes(image: MedicalImage, settings: StoreSettings) -> UInt8[np.ndarray, "height width 1"]:
    planes = codes_of(image)[None].astype(np.float32)
    fitted_codes = fitted(planes, settings.height, settings.width, cast(Fit, settings.resize), "nearest")
    return fitted_codes.astype(np.uint8).transpose(1, 2, 0)


def read_prepared(
    ref: ImageRef, settings: StoreSettings
) -> tuple[MedicalImage, Shaped[np.ndarray, "height width stored_channels"]]:
    """Reads an image and prepares it; see :func:`prepared`, and :func:`codes_of` and :func:`saliency_of` for the others.

    Also returns the image as decoded, possibly at a reduced scale (its ``source`` has the file's size).

    Raises:
        BrokenImageError: the file cannot be read.
    """
    image, pixels, _ = read_cropped(ref, settings)
    return image, pixels


def read_cropped(
    ref: ImageRef, settings: StoreSettings
) -> tuple[MedicalImage, Shaped[np.ndarray, "height width stored_channels"], Box | None]:
    """What :func:`read_prepared` returns, and the part of the decoded image that was cut out; None for all of it."""
    image = read_image(
        ref,
        window=settings.window,
        at_least=settings.at_least,
        # Of saliency the values themselves are wanted, whatever window a DICOM file brings.
        intensity="range" if settings.kind == "saliency" else settings.intensity_rule,
        empty=settings.intensity != "file" or settings.kind == "saliency",
    )
    if settings.kind == "label_map":
        return image, _prepared_codes(image, settings), None
    if settings.kind == "saliency":
        return image, _prepared_saliency(image, settings), None
    return image, *_prepared(image.pixels, settings)


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
