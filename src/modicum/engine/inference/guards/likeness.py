"""How far a vector lies from those of the training images, and from which distance on it is called unlike them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

AXES = 32
"""Most principal axes that :class:`Gaussian` keeps of features."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution by its principal axes, with one variance for all directions besides them.

    Its covariance is ``axes' diag(variances) axes + rest * (I - axes' axes)``: a probabilistic principal component
    analysis (Tipping and Bishop, J. R. Statist. Soc. B 61, 1999), small on disk for features of any width.

    Attributes:
        mean: of the vectors.
        axes: orthonormal.
        variances: along the axes.
        rest: variance in every other direction.
    """

    mean: Float64[np.ndarray, "d"]
    axes: Float64[np.ndarray, "k d"]
    variances: Float64[np.ndarray, "k"]
    rest: float

    def distances(self, vectors: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
        """Squared Mahalanobis distances, divided by the dimension: near 1 for vectors like the training images'."""
        off = vectors.astype(np.float64) - self.mean
        along = off @ self.axes.T
        beside = np.maximum((off**2).sum(1) - (along**2).sum(1), 0)
        return ((along**2 / self.variances).sum(1) + beside / self.rest) / len(self.mean)


def fitted(vectors: Float[np.ndarray, "n d"], floor: float, axes: int | None = None) -> Gaussian:
    """The Gaussian of vectors, its covariance shrunk towards a sphere as fits their number.

    The shrinkage is the oracle approximating one (Chen, Wiesel, Eldar, Hero, IEEE Trans. Signal Process. 58, 2010,
    equation 23), so that three images give a distance as well as three thousand.

    Args:
        vectors: one a training image.
        floor: standard deviation below which no direction counts as exact.
        axes: most axes to keep; None for all.
    """
    vectors = vectors.astype(np.float64)
    count, width = vectors.shape
    mean = vectors.mean(0)
    _, singular, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    spectrum = singular**2 / max(1, count)
    trace, trace_of_square = spectrum.sum(), (spectrum**2).sum()
    numerator = (1 - 2 / width) * trace_of_square + trace**2
    denominator = (count + 1 - 2 / width) * (trace_of_square - trace**2 / width)
    share = 1.0 if denominator <= 0 else min(1.0, numerator / denominator)
    sphere = trace / width
    shrunk = (1 - share) * spectrum + share * sphere + floor**2
    kept = len(spectrum) if axes is None else min(axes, len(spectrum))
    # Directions beside the axes share what variance is left of the whole.
    beside = width - kept
    left = max(0.0, trace - spectrum[:kept].sum()) / beside if beside else sphere
    rest = max((1 - share) * left + share * sphere, 1e-12) + floor**2
    return Gaussian(mean, directions[:kept], np.maximum(shrunk[:kept], 1e-12), float(rest))


def threshold_at(
    held_out: Float[np.ndarray, "n"] | Sequence[float], rate: float, positive: bool = True
) -> float:
    """The distance that a share ``rate`` of images like the held-out ones exceed.

    The empirical quantile ``ceil((n + 1)(1 - rate)) / n`` where there are images enough for it. Where there are not
    (1 % needs 99), the tail is continued: logarithms of distances are nearly normal, and the threshold is the upper
    prediction limit of one more, by Student's t, but never below the largest distance of the held-out images.

    Args:
        held_out: distances of images that nothing was fitted to.
        rate: share of false alarms, above 0.
        positive: whether they cannot be negative. Differences can, and are taken as they are, without logarithms.
    """
    values = np.sort(np.asarray(held_out, dtype=np.float64))
    count = len(values)
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    if rank <= count:
        return float(values[rank - 1])
    if count < 2:
        return math.inf
    plain = np.log(np.maximum(values, 1e-9)) if positive else values
    limit = plain.mean() + stats.t.ppf(1 - rate, count - 1) * plain.std(ddof=1) * math.sqrt(1 + 1 / count)
    return max(float(np.exp(min(limit, 700.0))) if positive else float(limit), float(values[-1]))


def folds_of(groups: Sequence[object], folds: int = 5) -> np.ndarray:
    """A fold for each row; rows of a group (a patient) are in the same one."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) % folds for group in groups], dtype=np.int64)


def out_of_fold(
    vectors: Float[np.ndarray, "n d"], folds: np.ndarray, floor: float
) -> Float64[np.ndarray, "n"]:
    """Each vector's distance from a Gaussian that was fitted to the other folds."""
    distances = np.zeros(len(vectors))
    for fold in np.unique(folds):
        inside = folds == fold
        if not inside.all():
            distances[inside] = fitted(vectors[~inside], floor).distances(vectors[inside])
    return distances
