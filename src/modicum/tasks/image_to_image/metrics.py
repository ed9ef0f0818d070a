"""Metrics of translated images: as RegGAN's release computes them, and as they are recommended.

Each is a function of one made slice and the real one, ``[h, w]`` or ``[c, h, w]``, on the scale ``[-1, 1]`` with a
background of exactly -1. The foreground is where any channel of the *real* slice differs from the background, so a
real foreground pixel of exactly that value is not seen. Undefined (a slice of background alone) is NaN;
:func:`mean_over_slices` leaves such slices out.

=====================  ===============================================================================================
``nmae``               mean absolute error over the foreground, as a share of the whole scale (the paper's "NMAE")
``psnr_foreground``    over the foreground; recommended, and the release's since September 2025
``psnr_release``       the release's until September 2025, from which the paper's values come: other pixels by mistake
``psnr``               the standard one: over the whole slice
``ssim_release``       scikit-image's defaults on the values as they are: the whole slice, background included
``ssim_foreground``    recommended: values on [0, 1], the mean over the foreground
``ssim_gaussian``      of the whole slice, with the Gaussian window of its paper and of papers on enhancement
``sharpness_error``    how many times sharper or smoother the foreground is, in powers of 2
=====================  ===============================================================================================

All PSNR are in dB with the whole scale as the peak, at most 100 (mean square errors below 1e-10 of it).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from modicum.errors import InputError

Made = Float[np.ndarray, "*channels height width"]
Real = Float[np.ndarray, "*real_channels real_height real_width"]

BACKGROUND = -1.0
SCALE = 2.0
"""From -1 to 1."""
HIGHEST_PSNR = 100.0
WINDOW = 7
"""Side of the window of the structural similarity, in pixels."""
GAUSSIAN_WINDOW, GAUSSIAN_SIGMA = 11, 1.5
LARGEST_SHARPNESS_ERROR = 20.0


def foreground(real: Real, background: float = BACKGROUND) -> Bool[np.ndarray, "real_height real_width"]:
    """Pixels of which any channel differs from the background."""
    return (real != background).reshape(-1, *real.shape[-2:]).any(0)


def nmae(made: Made, real: Real, background: float = BACKGROUND) -> float:
    """Normalised mean absolute error over the foreground: 0 is perfect, 1 the whole scale everywhere.

    >>> real = np.zeros((8, 8), np.float32)
    >>> round(nmae(real + np.float32(0.2), real), 6)
    0.1
    """
    _check_shapes(made, real)
    return _mean(np.abs(_doubles(made) - real)[..., foreground(real, background)]) / SCALE


def psnr_foreground(made: Made, real: Real, background: float = BACKGROUND) -> float:
    """Peak signal-to-noise ratio in dB, errors over the foreground.

    >>> real = np.zeros((8, 8), np.float32)
    >>> round(psnr_foreground(real + np.float32(0.2), real), 4)
    20.0
    """
    _check_shapes(made, real)
    return _decibels(_mean(_squares(made, real)[..., foreground(real, background)]))


def psnr(made: Made, real: Real) -> float:
    """Peak signal-to-noise ratio in dB, errors over the whole slice."""
    _check_shapes(made, real)
    return _decibels(float(_squares(made, real).mean()))


def psnr_release(made: Made, real: Real, background: float = BACKGROUND) -> float:
    """What the release calls PSNR until September 2025, so that the paper's values can be compared with.

    It means to index foreground pixels by their rows and columns, and indexes twice instead: by the rows, and the
    result by the columns. What is averaged over are thus whole rows, background included: for every foreground pixel,
    the row of that foreground pixel whose number (in reading order) is the first one's *column*. These are the few
    uppermost rows of the foreground only.

    Returns:
        NaN also where the foreground has too few pixels for that, on which the release stops.
    """
    _check_shapes(made, real)
    rows, columns = np.nonzero(foreground(real, background))
    if not len(rows) or columns.max() >= len(rows):
        return math.nan
    # Each row is read once and weighted by how often the release reads it.
    weights = np.bincount(rows[columns], minlength=real.shape[-2])
    by_row = _squares(made, real).reshape(-1, *real.shape[-2:]).mean((0, 2))
    return _decibels(float(by_row @ weights / weights.sum()))


def ssim_release(made: Made, real: Real) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004) with scikit-image's defaults, on the values as they are.

    A uniform window of 7x7 pixels, sample covariance, K1 = 0.01, K2 = 0.03, a range of 2, the mean over all windows
    that lie in the slice. The index is not invariant to shifts of the scale: see :func:`ssim_foreground`.

    Raises:
        InputError: a slice smaller than the window.
    """
    _check_shapes(made, real)
    return float(_similarity(_doubles(made), _doubles(real), SCALE).mean())


def ssim_foreground(made: Made, real: Real, background: float = BACKGROUND) -> float:
    """Structural similarity on ``[0, 1]`` with a range of 1, the mean over windows around foreground pixels.

    Raises:
        InputError: a slice smaller than the window.
    """
    _check_shapes(made, real)
    unit = [(_doubles(part) + 1) / SCALE for part in (made, real)]
    margin = WINDOW // 2
    inner = foreground(real, background)[margin:-margin, margin:-margin]
    return _mean(_similarity(unit[0], unit[1], 1.0)[..., inner])


def ssim_gaussian(made: Made, real: Real) -> float:
    """Structural similarity as in its paper (Wang et al., IEEE TIP 2004): a Gaussian window of 11x11 pixels, sigma 1.5.

    On ``[0, 1]`` with a range of 1 (which is 0 to 255 with C1 = (0.01 * 255)^2), the mean over windows that lie in the
    slice; NaN for slices smaller than one.
    """
    _check_shapes(made, real)
    if min(real.shape[-2:]) < GAUSSIAN_WINDOW:
        return math.nan
    unit = [(_doubles(part) + 1) / SCALE for part in (made, real)]
    reach = GAUSSIAN_WINDOW // 2

    def local_mean(values: np.ndarray) -> np.ndarray:
        for axis in (-1, -2):
            values = ndimage.gaussian_filter1d(values, GAUSSIAN_SIGMA, axis, radius=reach)
        return values[..., reach:-reach, reach:-reach]

    return float(_index(unit[0], unit[1], local_mean, 1.0, 1.0).mean())


def sharpness(image: Made, inside: Bool[np.ndarray, "height width"] | None = None) -> float:
    """Variance of the Laplacian of the mean over channels, of values on ``[0, 1]``; NaN where nothing is inside.

    Args:
        image: a slice.
        inside: pixels that count; those of the slice's border do not, nor those beside others.
    """
    grey = image.reshape(-1, *image.shape[-2:]).astype(np.float64).mean(0)
    if min(grey.shape) < 3:
        return math.nan
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    if inside is None:
        return float(laplacian.var())
    inner = ndimage.binary_erosion(inside, np.ones((3, 3)))[1:-1, 1:-1]
    return float(laplacian[inner].var()) if inner.any() else math.nan


def sharpness_error(made: Made, real: Real, background: float = BACKGROUND) -> float:
    """How far the sharpness of the foreground is from the real one's, as the power of 2 between them: 1 is twice or half.

    NaN where the real one has no structure at all; 20 at most.
    """
    _check_shapes(made, real)
    inside = foreground(real, background)
    found, wanted = (sharpness((_doubles(part) + 1) / SCALE, inside) for part in (made, real))
    if not wanted > 0:
        return math.nan
    return min(LARGEST_SHARPNESS_ERROR, abs(math.log2(max(found, 1e-12) / wanted)))


def mean_over_slices(values: Iterable[float]) -> float:
    """The mean of a metric over slices, without those that have none; NaN only where no slice has one.

    >>> mean_over_slices([20.0, math.nan, 30.0])
    25.0
    """
    return _mean(np.array([value for value in values if not math.isnan(value)]))


def _check_shapes(made: Made, real: Real) -> None:
    if made.shape != real.shape:
        raise InputError(
            f"the predicted slice has shape {list(made.shape)}, but the real one has {list(real.shape)}",
            "give two slices of the same shape",
        )


def _doubles(values: Made) -> Float[np.ndarray, "*channels height width"]:
    return values.astype(np.float64)


def _squares(made: Made, real: Real) -> Float[np.ndarray, "*channels height width"]:
    """Squared errors on a scale from 0 to 1."""
    return np.square((_doubles(made) - real) / SCALE)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _decibels(mean_square: float) -> float:
    return HIGHEST_PSNR if mean_square < 1e-10 else -10 * math.log10(mean_square)


def _similarity(made: np.ndarray, real: np.ndarray, data_range: float) -> np.ndarray:
    """The index of every window that lies in the slice, ``[..., h - 6, w - 6]``."""
    if min(real.shape[-2:]) < WINDOW:
        raise InputError(
            f"a slice of {real.shape[-2]}x{real.shape[-1]} pixels is smaller than the {WINDOW}x{WINDOW} window",
            f"give slices of at least {WINDOW}x{WINDOW} pixels",
        )
    margin = WINDOW // 2

    def local_mean(values: np.ndarray) -> np.ndarray:
        smooth = ndimage.uniform_filter1d(ndimage.uniform_filter1d(values, WINDOW, -1), WINDOW, -2)
        return smooth[..., margin:-margin, margin:-margin]

    return _index(made, real, local_mean, WINDOW**2 / (WINDOW**2 - 1), data_range)


def _index(
    made: np.ndarray,
    real: np.ndarray,
    local_mean: Callable[[np.ndarray], np.ndarray],
    sample: float,
    data_range: float,
) -> np.ndarray:
    """The structural similarity of every window; ``sample`` corrects variances."""
    mean_made, mean_real = local_mean(made), local_mean(real)
    var_made = sample * (local_mean(made * made) - mean_made**2)
    var_real = sample * (local_mean(real * real) - mean_real**2)
    covariance = sample * (local_mean(made * real) - mean_made * mean_real)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * mean_made * mean_real + c1) * (2 * covariance + c2)) / (
        (mean_made**2 + mean_real**2 + c1) * (var_made + var_real + c2)
    )
