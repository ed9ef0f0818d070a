"""t-SNE in NumPy: a plane in which neighbours stay neighbours (van der Maaten and Hinton, JMLR 2008, 9, 2579-2605).

Exact, for some thousand points at most, and deterministic: it starts from principal components. Distances between groups
mean nothing in it, and new points have no place.
"""

import numpy as np
from jaxtyping import Float

EXAGGERATION, EXAGGERATED_STEPS, STEPS = 12.0, 250, 500
"""Of the affinities, for so many first steps; then as many further ones."""
MOST_PERPLEXITY = 30.0


def neighbour_embedding(points: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n two"]:
    """Places in the plane, with a perplexity of ``min(30, (n - 1) / 3)``.

    Args:
        points: at least two; columns in the order of their variance, as principal components are.
    """
    count = len(points)
    target = affinities(points, min(MOST_PERPLEXITY, (count - 1) / 3))
    start = np.zeros((count, 2))
    start[:, : points.shape[1]] = points[:, :2]
    # As scikit-learn starts: so small that all pairs repel each other alike.
    plane = 1e-4 * start / max(start[:, 0].std(), 1e-12)
    rate = max(count / EXAGGERATION / 4, 1.0)  # scikit-learn's least one, 50, throws few points apart
    velocity, gains = np.zeros_like(plane), np.ones_like(plane)
    for step in range(EXAGGERATED_STEPS + STEPS):
        early = step < EXAGGERATED_STEPS
        slope = _slope(EXAGGERATION * target if early else target, plane)
        gains = np.where(slope * velocity < 0, gains + 0.2, 0.8 * gains).clip(0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * slope
        plane = plane + velocity
    return plane - plane.mean(0)


def divergence(target: Float[np.ndarray, "n n"], plane: Float[np.ndarray, "n two"]) -> float:
    """Kullback and Leibler's, of the affinities in the plane from those of the points: what t-SNE makes small."""
    near = _student(plane)
    shares = near / near.sum()
    inside = target > 0
    return float((target[inside] * np.log(target[inside] / np.maximum(shares[inside], 1e-300))).sum())


def affinities(points: Float[np.ndarray, "n k"], perplexity: float) -> Float[np.ndarray, "n n"]:
    """How near points are: Gaussians, each as wide as gives it so many neighbours; symmetric, of sum 1."""
    squares = ((points[:, None] - points[None]) ** 2).sum(2)
    squares = squares / max(squares.mean(), 1e-300)
    wanted = np.log(max(perplexity, 1.0))
    shares = np.zeros_like(squares)
    for row in range(len(points)):
        others = np.arange(len(points)) != row
        away = squares[row, others] - squares[row, others].min()
        low, high, sharpness = 0.0, np.inf, 1.0
        for _ in range(100):
            weight = np.exp(-sharpness * away)
            share = weight / weight.sum()
            entropy = np.log(weight.sum()) + sharpness * (share @ away)
            if abs(entropy - wanted) < 1e-5:
                break
            low, high = (sharpness, high) if entropy > wanted else (low, sharpness)
            sharpness = 2 * sharpness if np.isinf(high) else (low + high) / 2
        shares[row, others] = share
    return (shares + shares.T) / (2 * len(points))


def _student(plane: Float[np.ndarray, "n two"]) -> Float[np.ndarray, "n n"]:
    near = 1 / (1 + ((plane[:, None] - plane[None]) ** 2).sum(2))
    np.fill_diagonal(near, 0)
    return near


def _slope(target: Float[np.ndarray, "n n"], plane: Float[np.ndarray, "n two"]) -> Float[np.ndarray, "n two"]:
    """Gradient of the divergence (equation 5)."""
    near = _student(plane)
    pull = (target - near / near.sum()) * near
    return 4 * (pull.sum(1)[:, None] * plane - pull @ plane)
