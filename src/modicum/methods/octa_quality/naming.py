"""Which of two clusters is the worse one: by examples, or by what is known of good images beforehand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

BY_EXAMPLES, BY_PRIOR = "examples", "quality_prior"
"""Rules of naming, as the table of predictions has them."""


@dataclass(frozen=True)
class Naming:
    """Names of two clusters.

    Attributes:
        worse: number of the cluster of the lowest grade.
        rule: what named it: ``examples`` or ``quality_prior``.
        by_score: the cluster that the mean anomaly score would have called the worse one.
    """

    worse: int
    rule: str
    by_score: int

    @property
    def agree(self) -> bool:
        """Whether the mean score says the same."""
        return self.worse == self.by_score


def name_clusters(
    groups: Int[np.ndarray, "n"],
    prior: Float[np.ndarray, "n"],
    scores: Float[np.ndarray, "n"],
    votes: Float[np.ndarray, "two"] | None = None,
) -> Naming:
    """Names two clusters.

    The anomaly score is not monotone in quality: blur, for instance, makes an image simpler. It names nothing, and is
    only compared.

    Args:
        groups: 0 or 1.
        prior: of each image, higher is better; the cluster with the lower median is the worse one.
        scores: of each image, higher is further from outstanding.
        votes: of each cluster, its share of votes for the lowest grade, from labelled examples; None without any.
    """
    means = [scores[groups == g].mean() for g in (0, 1)]
    by_score = int(means[1] > means[0])
    if votes is not None and votes[0] != votes[1]:
        return Naming(int(votes[1] > votes[0]), BY_EXAMPLES, by_score)
    medians = [np.median(prior[groups == g]) for g in (0, 1)]
    return Naming(int(medians[1] < medians[0]), BY_PRIOR, by_score)


def votes_for_worst(
    points: Float[np.ndarray, "n k"],
    groups: Int[np.ndarray, "n"],
    examples: Float[np.ndarray, "m k"],
    is_worst: np.ndarray,
    neighbours: int = 5,
) -> Float[np.ndarray, "two"] | None:
    """Of each cluster, the share of its images that the nearest labelled examples call the lowest grade.

    Args:
        points: images in the space of clustering.
        groups: their clusters.
        examples: labelled images in that space.
        is_worst: whether each example is of the lowest grade; others are of the middle one.
        neighbours: that vote, at most as many as the rarer grade has examples.

    Returns:
        None unless both grades have examples.
    """
    rarer = min(int(is_worst.sum()), int((~is_worst).sum()))
    if rarer == 0:
        return None
    nearest = ((points[:, None] - examples[None]) ** 2).sum(2).argsort(1)[:, : min(neighbours, rarer)]
    worst = is_worst[nearest].mean(1)
    return np.array([worst[groups == g].mean() for g in (0, 1)])
