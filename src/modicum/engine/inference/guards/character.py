"""The character of one image in a few dozen numbers: tones, colours, size and spacing; no picture can be made of them.

Measured on the image as the network sees it (cropped, resized, in whole levels), so that training and prediction measure
the same; size and spacing are those of its file.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, Shaped, UInt8

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
GRID = 4
"""Side of the grid of mean grey levels."""
NEAR_END = 2
"""Levels of 255 from black or white that still count as such."""
_SIDE = 64
_TINY = 1e-3
TONE_NAMES = (
    *(f"q{round(100 * share):02d}" for share in QUANTILES),
    "black",
    "white",
    "sharpness",
    *(f"grid{row}{column}" for row in range(GRID) for column in range(GRID)),
)
COLOUR_NAMES = ("red_green", "yellow_blue", "red_green_spread", "yellow_blue_spread")


@dataclass(frozen=True, eq=False)
class ImageCharacter:
    """What an image looks like, without the image.

    Attributes:
        tones: the grey levels' quantiles, square roots of the shares of black and white pixels, the logarithm of the mean
            step between neighbouring pixels at 64 x 64 (contrast and sharpness), and a 4 x 4 grid of mean levels; see
            :data:`TONE_NAMES`. Levels lie in ``[0, 1]``.
        colours: means and spreads of red - green and of (red + green) / 2 - blue (the axes of colourfulness: Hasler and
            Suesstrunk, Proc. SPIE 5007, 2003); all 0 for grey.
        size: height and width of the file, in pixels.
        spacing: millimetres between rows and between columns; None where the file does not say.
    """

    tones: Float64[np.ndarray, "tones"]
    colours: Float64[np.ndarray, "colours"]
    size: tuple[int, int]
    spacing: tuple[float, float] | None

    @property
    def spread(self) -> float:
        """From the 1st to the 99th percentile of the grey levels."""
        return float(self.tones[len(QUANTILES) - 1] - self.tones[0])

    def inverted(self) -> "ImageCharacter":
        """That of the negative: nothing has to be measured again."""
        count = len(QUANTILES)
        tones = self.tones.copy()
        tones[:count] = 1 - self.tones[:count][::-1]
        tones[count : count + 2] = self.tones[count : count + 2][::-1]
        tones[count + 3 :] = 1 - self.tones[count + 3 :]
        colours = np.concatenate([-self.colours[:2], self.colours[2:]])
        return ImageCharacter(tones, colours, self.size, self.spacing)


def character_of(
    record: Shaped[np.ndarray, "height width channels"],
    size: tuple[int, int],
    spacing: tuple[float, float] | None = None,
) -> ImageCharacter:
    """Measures an image as the network sees it: well below a millisecond.

    Args:
        record: of 8 or 16 bits; one channel, or red, green and blue.
        size: height and width of its file.
        spacing: of its file, in millimetres.
    """
    pixels = _of_8_bits(record)
    channels = pixels.shape[2]
    grey = np.ascontiguousarray(pixels[..., 0]) if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    counts = np.bincount(grey.ravel(), minlength=256) / grey.size
    below = np.cumsum(counts)
    levels = np.minimum(np.searchsorted(below, np.array(QUANTILES) - 1e-12), 255) / 255
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    steps = (np.abs(np.diff(small, axis=0)).mean() + np.abs(np.diff(small, axis=1)).mean()) / 2
    ends = np.sqrt([counts[: NEAR_END + 1].sum(), counts[-NEAR_END - 1 :].sum()])
    grid = small.reshape(GRID, _SIDE // GRID, GRID, _SIDE // GRID).mean((1, 3)).ravel()
    tones = np.concatenate([levels, ends, [np.log10(steps + _TINY)], grid])
    return ImageCharacter(tones, _colours(pixels), (int(size[0]), int(size[1])), spacing)


def _of_8_bits(record: Shaped[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width some"]:
    """The record in 8 bits; of channels that are neither grey nor three colours the first."""
    pixels = record if record.dtype == np.uint8 else (record >> 8).astype(np.uint8)
    return np.ascontiguousarray(pixels if pixels.shape[2] in (1, 3) else pixels[..., :1])


def _colours(pixels: UInt8[np.ndarray, "height width some"]) -> Float64[np.ndarray, "colours"]:
    if pixels.shape[2] == 1:
        return np.zeros(len(COLOUR_NAMES))
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    axes = red - green, (red + green) / 2 - blue
    return np.array([axes[0].mean(), axes[1].mean(), axes[0].std(), axes[1].std()])
