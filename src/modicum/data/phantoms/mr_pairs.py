"""Synthetic MR slices of a head in two contrasts, the second one deformed by a known smooth field.

A head is a few tissues: scalp, skull, cerebrospinal fluid, grey and white matter, deep nuclei, and at times a lesion.
Each tissue has a proton density and two relaxation times, from which the spin-echo equation gives any contrast; so
the second contrast is not a function of the first one's grey values where tissues mix. Shapes are functions of the
plane, evaluated at displaced coordinates: nothing is interpolated, and the field is the exact ground truth.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from modicum.data.phantoms.fields import as_seed, axis, check_size, noise, stream
from modicum.errors import InputError

TISSUES = ("scalp", "skull", "csf", "grey", "white", "nuclei", "lesion")
# Proton density, T1 and T2 in ms at 1.5 T; order of TISSUES.
_DENSITY = np.array([0.90, 0.08, 1.00, 0.82, 0.70, 0.78, 0.90])
_T1 = np.array([260.0, 500.0, 4000.0, 950.0, 600.0, 800.0, 1500.0])
_T2 = np.array([70.0, 20.0, 1500.0, 100.0, 80.0, 75.0, 220.0])
# Repetition and echo time in ms.
CONTRASTS = {"t1": (500.0, 15.0), "t2": (4000.0, 100.0), "pd": (3000.0, 15.0)}

BACKGROUND = -1.0
_EDGE = 1.5
"""Width of the soft edge between tissues, in pixels of the image."""


@dataclass(frozen=True)
class MrPair:
    """Two contrasts of one slice and their ground truth.

    Attributes:
        source: the first contrast, in ``[-1, 1]``, the background exactly -1.
        target: the second one, on the same pixels.
        misaligned: the second one after the head has moved: at ``(i, j)`` it shows what ``target`` shows at
            ``(i + f0, j + f1)``.
        field: that displacement in pixels, rows (down) first, then columns (right): the result of an exact
            registration of ``target`` to ``misaligned``, as :func:`modicum.nn.warp` takes it.
        head: the pixels of ``source`` and ``target`` that are not background.
        tissues: share of each of TISSUES in every pixel of ``source``.
        seed: of the head.
    """

    source: Float[np.ndarray, "size size"]
    target: Float[np.ndarray, "size size"]
    misaligned: Float[np.ndarray, "size size"]
    field: Float[np.ndarray, "2 size size"]
    head: Bool[np.ndarray, "size size"]
    tissues: Float[np.ndarray, "tissues size size"]
    seed: int


def mr_pair(
    seed: int | np.integer | np.random.Generator,
    size: int = 256,
    displacement: float | int = 4.0,
    contrasts: tuple[str, str] = ("t1", "t2"),
) -> MrPair:
    """Makes a slice of a head in two contrasts.

    Args:
        seed: seed of the head and its motion, 0 or more; or a generator, which gives another head at each call.
        size: side of the image in pixels, 16 to 4096.
        displacement: largest displacement in pixels of a 256-pixel image; other sizes in proportion. 0 leaves the
            second contrast aligned.
        contrasts: the two contrasts, keys of CONTRASTS.

    Raises:
        InputError: an argument outside its range.
    """
    seed, size = as_seed(seed), check_size(size)
    if not 0 <= displacement <= 16:
        raise InputError(
            f"displacement {displacement:g} is not in 0..16 pixels", "pass for instance displacement=4"
        )
    unknown = sorted(set(contrasts) - set(CONTRASTS))
    if unknown:
        raise InputError(f"unknown contrast '{unknown[0]}'", f"choose from {', '.join(CONTRASTS)}")
    field = _smooth_field(seed, size, displacement * size / 256)
    rows, columns = axis(size)[:, None], axis(size)[None, :]
    tissues = _Head(seed, size).tissues(rows, columns)
    step = np.float32(2 / size)
    moved = _Head(seed, size).tissues(rows + step * field[0], columns + step * field[1])
    return MrPair(
        source=_picture(tissues, contrasts[0]),
        target=_picture(tissues, contrasts[1]),
        misaligned=_picture(moved, contrasts[1]),
        field=field,
        head=tissues.sum(0) > 0,
        tissues=tissues,
        seed=seed,
    )


def _smooth_field(seed: int, size: int, largest: float) -> Float[np.ndarray, "2 size size"]:
    """A smooth random field whose largest displacement is ``largest`` pixels."""
    if largest == 0:
        return np.zeros((2, size, size), np.float32)
    rng = stream(seed, "deformation")
    field = np.stack([noise(rng, 4, size), noise(rng, 4, size)])
    return (field * (largest / np.linalg.norm(field, axis=0).max())).astype(np.float32)


def _picture(
    tissues: Float[np.ndarray, "tissues size size"], contrast: str
) -> Float[np.ndarray, "size size"]:
    """Renders tissues in one contrast, scaled so that the brightest tissue is 1."""
    repetition, echo = CONTRASTS[contrast]
    signal = _DENSITY * (1 - np.exp(-repetition / _T1)) * np.exp(-echo / _T2)
    unit = np.tensordot((signal / signal.max()).astype(np.float32), tissues, 1)
    return 2 * unit - 1


class _Head:
    """Tissues of a head as functions of the plane: rows down and columns right, -1 to 1 across the image.

    Args:
        seed: of the head.
        size: pixels along the image's side, for the width of edges.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.softness = _EDGE * 2 / size
        rng = stream(seed, "head")
        self.centre = rng.normal(0, 0.02, 2)
        self.tilt = rng.normal(0, 0.08)
        self.half_axes = np.array([rng.uniform(0.76, 0.84), rng.uniform(0.60, 0.70)])
        self.skull = rng.uniform(0.05, 0.07)
        self.folds = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.015, 0.03, 3), rng.integers(7, 15, 3)
        self.ventricle = rng.uniform(0.16, 0.28), rng.uniform(0.05, 0.09), rng.uniform(0.06, 0.10)
        self.nucleus = rng.uniform(0.07, 0.11), rng.uniform(0.18, 0.26)
        sick = stream(seed, "lesion")
        self.lesion = None
        if sick.uniform() < 0.5:
            centre = sick.uniform(-0.45, 0.45, 2) * self.half_axes
            self.lesion = centre, sick.uniform(0.07, 0.16, 2), sick.uniform(0, np.pi)

    def tissues(
        self, rows: Float[np.ndarray, "..."], columns: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "tissues height width"]:
        """The share of every tissue at the given coordinates; 0 outside the head."""
        down, right = _turned(rows - self.centre[0], columns - self.centre[1], self.tilt)
        outline = np.hypot(down / self.half_axes[0], right / self.half_axes[1])
        scale = float(self.half_axes.min())
        below_skin = [self._inside(outline, 1 - depth, scale) for depth in (0.07, 0.07 + self.skull)]
        angle, (phase, height, number) = np.arctan2(right, down), self.folds
        wave = sum(h * np.sin(n * angle + p) for p, h, n in zip(phase, height, number, strict=True))
        cortex = self._inside(outline + wave, 0.93 - self.skull - 0.04, scale)
        white = self._inside(outline + 1.6 * wave, 0.93 - self.skull - 0.20, scale)
        brain = [cortex, white, self._nuclei(down, right), self._lesion(down, right)]
        # Each layer covers those before it; the ventricles are fluid again.
        shares = np.zeros((len(TISSUES), *outline.shape), np.float32)
        for tissue, cover in zip(TISSUES, [np.ones_like(outline), *below_skin, *brain], strict=True):
            shares = self._cover(shares, tissue, cover)
            if tissue == "nuclei":
                shares = self._cover(shares, "csf", self._ventricles(down, right))
        # The skin has a hard edge: air gives no signal, so that the background is exact.
        return np.where(outline < 1, shares, np.float32(0))

    def _inside(self, distance: np.ndarray, limit: float, scale: float) -> np.ndarray:
        """1 where a distance is below its limit, 0 above, a smooth step between."""
        return 1 / (1 + np.exp(np.clip(4 * scale * (distance - limit) / self.softness, -60, 60)))

    @staticmethod
    def _cover(shares: np.ndarray, tissue: str, cover: np.ndarray) -> np.ndarray:
        covered = shares * (1 - cover)
        covered[TISSUES.index(tissue)] += cover
        return covered.astype(np.float32)

    def _ellipse(
        self, down: np.ndarray, right: np.ndarray, centre: np.ndarray, half: np.ndarray, turn: float
    ) -> np.ndarray:
        turned = _turned(down - centre[0], right - centre[1], turn)
        return self._inside(np.hypot(turned[0] / half[0], turned[1] / half[1]), 1.0, float(half.min()))

    def _nuclei(self, down: np.ndarray, right: np.ndarray) -> np.ndarray:
        radius, aside = self.nucleus
        half = np.array([1.4 * radius, radius])
        return np.maximum(
            self._ellipse(down, right, np.array([0.02, aside]), half, 0.3),
            self._ellipse(down, right, np.array([0.02, -aside]), half, -0.3),
        )

    def _ventricles(self, down: np.ndarray, right: np.ndarray) -> np.ndarray:
        length, width, aside = self.ventricle
        half = np.array([length, width])
        return np.maximum(
            self._ellipse(down, right, np.array([-0.05, aside]), half, 0.25),
            self._ellipse(down, right, np.array([-0.05, -aside]), half, -0.25),
        )

    def _lesion(self, down: np.ndarray, right: np.ndarray) -> np.ndarray:
        if self.lesion is None:
            return np.zeros_like(down)
        return self._ellipse(down, right, *self.lesion)


def _turned(down: np.ndarray, right: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * down - sin * right, sin * down + cos * right
