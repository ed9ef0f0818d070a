"""Named random streams, smooth random fields and canvases that do not depend on the image size."""

import zlib

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from modicum.errors import InputError

CANVAS = 1024
"""Shapes are drawn at this size (or twice the image size, if that is more) and averaged down to the image."""
_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates: exact to 1/16 of a canvas pixel."""


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A random generator for a named purpose, independent of all others with the same seed.

    What is drawn for one purpose (the vessels, say) then stays the same when another one (the lesions) draws
    more or fewer numbers.
    """
    if seed < 0:
        raise InputError(
            f"phantom seed {seed} is negative", "pass a seed of 0 or more, for instance --seed 0"
        )
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def as_seed(seed_or_generator: int | np.integer | np.random.Generator) -> int:
    """The seed itself, or one drawn from a generator (so that each call gives another phantom)."""
    if isinstance(seed_or_generator, np.random.Generator):
        return int(seed_or_generator.integers(2**62))
    return int(seed_or_generator)


def check_size(size: int) -> int:
    """Returns ``size``; raises InputError unless it is 16 to 4096 pixels."""
    if not 16 <= size <= 4096:
        raise InputError(f"phantom size {size} is not in 16..4096 pixels", "pass for instance --size 256")
    return size


def axis(size: int) -> Float[np.ndarray, "size"]:
    """Pixel centres along one side of the image, from -1 (one edge) to 1 (the other)."""
    return ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)


def resize(
    field: Float[np.ndarray, "height width"] | Float[np.ndarray, "height width channels"], size: int
) -> Float[np.ndarray, "size size"] | Float[np.ndarray, "size size channels"]:
    """Resizes a field: area averaging to shrink, cubic interpolation to enlarge."""
    if field.shape[0] == size:
        return field
    how = cv2.INTER_AREA if field.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(field, (size, size), interpolation=how)


def noise(
    rng: np.random.Generator, cells: int, size: int, octaves: int = 1, gain: float = 0.5
) -> Float[np.ndarray, "size size"]:
    """Smooth random field of about zero mean and unit standard deviation, the same at every size.

    Args:
        cells: number of independent values along a side in the first octave; each octave doubles it.
        gain: amplitude of an octave over that of the one before.
    """
    total = np.zeros((size, size), np.float32)
    power = 0.0
    for octave in range(octaves):
        values = rng.standard_normal((cells << octave, cells << octave), dtype=np.float32)
        total += resize(values, size) * np.float32(gain**octave)
        power += gain ** (2 * octave)
    # Interpolation between independent values reduces their variance (to about 0.7 of the standard deviation).
    return total / np.float32(0.7 * np.sqrt(power))


class Canvas:
    """A grey image of shapes in field units, drawn large and averaged down.

    Args:
        size: side of the final image.
        radius: pixels of the final image for one unit, as a fraction of half its side.
        mirror: -1 flips the first coordinate (right eye), 1 leaves it.
    """

    def __init__(self, size: int, radius: float = 1.0, mirror: int = 1) -> None:
        self.size = size
        self.side = max(CANVAS, 2 * size)
        self.values: UInt8[np.ndarray, "side side"] = np.zeros((self.side, self.side), np.uint8)
        self.empty = True
        half = self.side / 2
        self._scale = np.array([mirror * radius * half, radius * half])
        self._middle = half

    def pixels(self, points: Float[np.ndarray, "*batch 2"]) -> np.ndarray:
        """Canvas coordinates of points, as OpenCV's fixed-point integers."""
        # OpenCV counts from pixel centres: the point 0 is half a pixel before the first one.
        return np.round((points * self._scale + self._middle - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def polygon(self, points: Float[np.ndarray, "corners 2"], value: float = 1.0) -> None:
        """Fills a closed polygon with a value in 0..1."""
        self.polygons(points[None], np.array([value]))

    def polygons(
        self, points: Float[np.ndarray, "shapes corners 2"], values: Float[np.ndarray, "shapes"]
    ) -> None:
        """Fills many polygons, later ones over earlier ones."""
        self.empty = False
        levels = np.round(255 * values).astype(int).tolist()
        for corners, level in zip(self.pixels(points), levels, strict=True):
            cv2.fillPoly(self.values, [corners], level, cv2.LINE_8, _SHIFT)

    def dot(self, centre: Float[np.ndarray, "2"], radius: float, value: float = 1.0) -> None:
        """Fills a disc; its radius is in field units."""
        self.empty = False
        centre_px = self.pixels(centre)
        radius_px = max(1, round(radius * abs(self._scale[1]) * (1 << _SHIFT)))
        centre_pixel = (int(centre_px[0]), int(centre_px[1]))
        cv2.circle(self.values, centre_pixel, radius_px, round(255 * value), -1, cv2.LINE_8, _SHIFT)

    def field(self) -> Float[np.ndarray, "size size"]:
        """The mean value of each pixel of the final image, in 0..1."""
        if self.empty:
            return np.zeros((self.size, self.size), np.float32)
        small = cv2.resize(self.values, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) * np.float32(1 / 255)

    def mask(self, least: float = 0.0) -> Bool[np.ndarray, "size size"]:
        """Pixels of the final image that are at least half covered by shapes of a value above ``least``."""
        if self.empty:
            return np.zeros((self.size, self.size), bool)
        covered = cv2.threshold(self.values, 255 * least, 255, cv2.THRESH_BINARY)[1]
        return cv2.resize(covered, (self.size, self.size), interpolation=cv2.INTER_AREA) >= 128


def ribbon(
    points: Float[np.ndarray, "*batch length 2"], width: Float[np.ndarray, "*batch length"]
) -> Float[np.ndarray, "*batch corners 2"]:
    """Outlines of bands along centrelines: down one side and back the other, ``2 * length`` corners."""
    along = np.gradient(points, axis=-2)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-along[..., 1], along[..., 0]], -1) * (width / 2)[..., None]
    return np.concatenate([points + across, (points - across)[..., ::-1, :]], -2)
