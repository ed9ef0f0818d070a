"""Two groups among embeddings, without labels: principal components, then a clustering. NumPy and SciPy only.

Everything is deterministic, and the same whatever the order of the images.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage

Algorithm = Literal["kmeans", "gmm", "agglomerative", "spectral"]
STARTS = 10
"""Of k-means and of mixtures; the best is kept."""
REGULARISATION = 1e-3
"""Added to the variances of a mixture."""


@dataclass(frozen=True)
class Components:
    """Principal components.

    Attributes:
        mean: of the embeddings.
        axes: directions, the one of the largest variance first; each has its largest entry positive.
    """

    mean: Float[np.ndarray, "d"]
    axes: Float[np.ndarray, "k d"]

    def of(self, embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Coordinates of embeddings."""
        return (embeddings - self.mean) @ self.axes.T


def principal_components(embeddings: Float[np.ndarray, "n d"], count: int = 10) -> Components:
    """The first ``min(count, n - 1)`` principal components."""
    mean = embeddings.mean(0)
    _, _, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
    axes = axes[: max(1, min(count, len(embeddings) - 1))]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return Components(mean, axes * np.where(largest < 0, -1.0, 1.0))


def two_groups(points: Float[np.ndarray, "n k"], algorithm: Algorithm, seed: int) -> Int[np.ndarray, "n"]:
    """Group 0 or 1 of each point. Group 0 is that of the point that is least by its first coordinate."""
    order = np.lexsort(points.T[::-1])  # sums and draws do not depend on the order of the images
    sorted_points = points[order]
    if algorithm == "agglomerative":
        groups = fcluster(linkage(sorted_points, "ward"), 2, "maxclust") - 1
    elif algorithm == "spectral":
        groups = _spectral(sorted_points, seed)
    else:
        groups = kmeans(sorted_points, seed)
        if algorithm == "gmm":
            groups = mixture(sorted_points, groups).argmax(1)
    found = np.empty(len(points), dtype=np.int64)
    found[order] = groups if groups[0] == 0 else 1 - groups
    return found


def guarded_groups(
    points: Float[np.ndarray, "n k"], algorithm: Algorithm, seed: int, least: int
) -> Int[np.ndarray, "n"] | None:
    """Two groups of at least ``least`` points each: a smaller one is set aside as outliers, and the rest parted again.

    Outliers then go to the nearer group. None where the points do not part into two such groups.
    """
    kept = np.arange(len(points))
    while True:
        groups = two_groups(points[kept], algorithm, seed)
        sizes = np.bincount(groups, minlength=2)
        if sizes.min() == 0:
            return None
        if sizes.min() >= least:
            break
        kept = kept[groups == sizes.argmax()]
        if len(kept) < 2 * least:
            return None
    if len(kept) == len(points):
        return groups
    centres = np.stack([points[kept][groups == number].mean(0) for number in (0, 1)])
    found = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    found[kept] = groups
    return found


def kmeans(points: Float[np.ndarray, "n k"], seed: int, count: int = 2) -> Int[np.ndarray, "n"]:
    """Lloyd's k-means from ``STARTS`` k-means++ starts; the one with the least sum of squares."""
    generator = np.random.default_rng(seed)
    best, least = np.zeros(len(points), dtype=np.int64), np.inf
    for _ in range(STARTS):
        centres = _spread_centres(points, count, generator)
        groups = np.full(len(points), -1)
        for _ in range(300):
            nearest = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
            if np.array_equal(nearest, groups):
                break
            groups = nearest
            centres = np.stack(
                [points[groups == g].mean(0) if (groups == g).any() else centres[g] for g in range(count)]
            )
        total = ((points - centres[groups]) ** 2).sum()
        if total < least * (1 - 1e-12):
            best, least = groups, total
    return best


def _spread_centres(
    points: Float[np.ndarray, "n k"], count: int, generator: np.random.Generator
) -> Float[np.ndarray, "count k"]:
    """The starts of k-means++ (Arthur and Vassilvitskii, SODA 2007)."""
    centres = [points[generator.integers(len(points))]]
    while len(centres) < count:
        far = np.min([((points - centre) ** 2).sum(1) for centre in centres], axis=0)
        if far.sum() == 0:
            centres.append(points[generator.integers(len(points))])
            continue
        centres.append(points[generator.choice(len(points), p=far / far.sum())])
    return np.stack(centres)


def log_density(
    points: Float[np.ndarray, "n k"], mean: Float[np.ndarray, "k"], covariance: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, "n"]:
    """Logarithm of a Gaussian's density."""
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, (points - mean).T)
    width = points.shape[1]
    return -0.5 * ((white**2).sum(0) + width * np.log(2 * np.pi)) - np.log(np.diag(factor)).sum()


def _fitted(points: np.ndarray, shares: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Weight, mean and covariance of each component, from the share that it has of each point."""
    parts = []
    for share in shares.T:
        total = share.sum() + 1e-12
        mean = share @ points / total
        off = points - mean
        covariance = (share[:, None] * off).T @ off / total + REGULARISATION * np.eye(points.shape[1])
        parts.append((total / len(points), mean, covariance))
    return parts


def mixture(
    points: Float[np.ndarray, "n k"], groups: Int[np.ndarray, "n"], steps: int = 200
) -> Float[np.ndarray, "n two"]:
    """Probability of each component of a mixture of two Gaussians with full covariances, from a first grouping.

    Points are divided by the standard deviation over all of them first, so that the regularisation has a scale.
    """
    scaled = points / max(points.std(), 1e-12)
    shares = np.stack([groups == 0, groups == 1], 1).astype(np.float64)
    before = -np.inf
    for _ in range(steps):
        parts = _fitted(scaled, shares)
        logs = np.stack([np.log(w + 1e-300) + log_density(scaled, m, c) for w, m, c in parts], 1)
        total = np.logaddexp(logs[:, 0], logs[:, 1])
        shares = np.exp(logs - total[:, None])
        if total.mean() - before < 1e-7:
            break
        before = total.mean()
    return shares


def _spectral(points: Float[np.ndarray, "n k"], seed: int) -> Int[np.ndarray, "n"]:
    """Normalised cut (Ng, Jordan and Weiss, NIPS 2001), Gaussian affinities as wide as the median distance."""
    squares = ((points[:, None] - points[None]) ** 2).sum(2)
    scale = np.median(squares[squares > 0]) if (squares > 0).any() else 1.0
    affinity = np.exp(-squares / scale)
    np.fill_diagonal(affinity, 0)
    degree = np.sqrt(affinity.sum(1)).clip(1e-12)
    _, vectors = np.linalg.eigh(affinity / degree[:, None] / degree[None])
    embedded = vectors[:, -2:]
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True).clip(1e-12)
    return kmeans(embedded, seed)


def silhouette(points: Float[np.ndarray, "n k"], groups: Int[np.ndarray, "n"]) -> float:
    """Mean silhouette of two groups, from -1 to 1 (Rousseeuw 1987); 0 of points alone in theirs."""
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))
    same = groups[:, None] == groups[None]
    mates = same.sum(1) - 1
    inside = np.where(mates > 0, (distances * same).sum(1) / np.maximum(mates, 1), 0.0)
    outside = (distances * ~same).sum(1) / np.maximum((~same).sum(1), 1)
    found = np.where(mates > 0, (outside - inside) / np.maximum(np.maximum(inside, outside), 1e-12), 0.0)
    return float(found.mean())


def bic_gain(points: Float[np.ndarray, "n k"], groups: Int[np.ndarray, "n"]) -> float:
    """By how much two Gaussians have a lower BIC than one; above 0 the two are preferred."""
    scaled = points / max(points.std(), 1e-12)
    count, width = scaled.shape
    free = width + width * (width + 1) / 2
    (_, mean, covariance), *_ = _fitted(scaled, np.ones((count, 1)))
    one = -2 * log_density(scaled, mean, covariance).sum() + free * np.log(count)
    parts = _fitted(scaled, mixture(points, groups))
    logs = np.stack([np.log(w + 1e-300) + log_density(scaled, m, c) for w, m, c in parts], 1)
    two = -2 * np.logaddexp(logs[:, 0], logs[:, 1]).sum() + (2 * free + 1) * np.log(count)
    return float(one - two)
