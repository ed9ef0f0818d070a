"""From the outputs for a set of images to grades: threshold, clusters among the rest, their names (stage B)."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from modicum.methods.octa_quality.clustering import (
    Components,
    bic_gain,
    guarded_groups,
    principal_components,
    silhouette,
)
from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.naming import Naming, name_clusters, votes_for_worst
from modicum.methods.octa_quality.neighbour_embedding import neighbour_embedding

UNGRADABLE, GRADABLE, OUTSTANDING = 0, 1, 2
"""Grades, as the OCTA-25K set numbers them."""
FEWEST = 4
"""Images that are not outstanding, below which they are not clustered."""
BY_THRESHOLD, ONE_CLUSTER, ALONE = "threshold", "one_cluster", "too_few_to_cluster"


@dataclass(frozen=True)
class Examples:
    """Labelled images that are not outstanding, to name clusters by.

    Attributes:
        embeddings: standardised.
        is_worst: whether each is of the lowest grade.
    """

    embeddings: Float[np.ndarray, "m d"]
    is_worst: Bool[np.ndarray, "m"]


@dataclass(frozen=True)
class Clusters:
    """Two named clusters.

    Attributes:
        components: the space in which they lie.
        centres: of the clusters.
        naming: which is the worse one.
    """

    components: Components
    centres: Float[np.ndarray, "two k"]
    naming: Naming

    def distances(self, embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n two"]:
        """Of embeddings to both centres."""
        points = self.components.of(embeddings)
        return np.sqrt(((points[:, None] - self.centres[None]) ** 2).sum(2))


@dataclass(frozen=True)
class Split:
    """Images that are not outstanding, parted in two.

    Attributes:
        clusters: the two.
        groups: the cluster of each image.
        plane: where each lies in a picture: first two principal components, or t-SNE's plane.
    """

    clusters: Clusters
    groups: Int[np.ndarray, "n"]
    plane: Float[np.ndarray, "n two"]


@dataclass(frozen=True)
class Judgement:
    """What is said of each image of a set.

    Attributes:
        grade: 0 ungradable, 1 gradable, 2 outstanding.
        cluster: number of the cluster, -1 of images that are in none.
        margin: how clear it is: of a cluster, the difference of the distances to both centres over their sum; of others,
            their distance to the threshold in units of the spread of held-out scores.
        rule: what named the image.
        plane: where each image lies in a picture of the clusters; NaN of images that are in none.
        clusters: those that were found or used; None without any.
    """

    grade: Int[np.ndarray, "n"]
    cluster: Int[np.ndarray, "n"]
    margin: Float[np.ndarray, "n"]
    rule: np.ndarray
    plane: Float[np.ndarray, "n two"]
    clusters: Clusters | None = None


def find_clusters(
    embeddings: Float[np.ndarray, "n d"],
    prior: Float[np.ndarray, "n"],
    scores: Float[np.ndarray, "n"],
    config: OctaQualityConfig,
    seed: int,
    examples: Examples | None = None,
) -> Split | None:
    """Two clusters among images that are not outstanding, and each one's; None where there is but one.

    The order of the images changes nothing.

    Args:
        embeddings: standardised by outstanding training images.
        prior: quality by the prior, higher is better.
        scores: anomaly scores, only to be compared with.
        config: the method's settings.
        seed: of the starts of k-means.
        examples: labelled images, where there are some.
    """
    order = np.lexsort((*embeddings[:, :4].T, scores))
    ordered = embeddings[order]
    components = principal_components(ordered, config.components)
    points = components.of(ordered)
    if points.std() < 1e-9:
        return None
    space = neighbour_embedding(points) if config.reduction == "tsne" else points
    groups = guarded_groups(space, config.clustering, seed, config.min_cluster)
    # Asked of the components: t-SNE pulls any cloud apart.
    if groups is None or not _are_two(points, groups, config):
        return None
    votes = None
    if examples is not None:
        votes = votes_for_worst(points, groups, components.of(examples.embeddings), examples.is_worst)
    naming = name_clusters(groups, prior[order], scores[order], votes)
    centres = np.stack([points[groups == number].mean(0) for number in (0, 1)])
    back, plane = np.empty_like(groups), np.empty((len(groups), 2))
    back[order], plane[order] = groups, _plane(space)
    return Split(Clusters(components, centres, naming), back, plane)


def _plane(points: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n two"]:
    """The first two coordinates; zeros where there is one."""
    return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1]))))


def _are_two(points: np.ndarray, groups: np.ndarray, config: OctaQualityConfig) -> bool:
    if config.split_check == "silhouette":
        return silhouette(points, groups) >= config.min_silhouette
    return config.split_check == "none" or bic_gain(points, groups) > 0


def judged(
    scores: Float[np.ndarray, "n"],
    tau: float,
    spread: float,
    embeddings: Float[np.ndarray, "n d"],
    prior: Float[np.ndarray, "n"],
    config: OctaQualityConfig,
    seed: int,
    frozen: Clusters | None = None,
    examples: Examples | None = None,
) -> Judgement:
    """Grades the images of a set.

    Args:
        scores: anomaly scores.
        tau: the threshold; images above it are not outstanding.
        spread: of held-out scores.
        embeddings: standardised.
        prior: quality by the prior; at least 0 inside the range of outstanding training images.
        config: the method's settings.
        seed: of clustering.
        frozen: clusters that were found in training.
        examples: labelled images.
    """
    rest = np.flatnonzero(scores > tau)
    grade = np.full(len(scores), OUTSTANDING)
    cluster = np.full(len(scores), -1)
    rule = np.full(len(scores), BY_THRESHOLD, dtype=object)
    margin = np.abs(tau - scores) / spread
    plane = np.full((len(scores), 2), np.nan)
    found = Judgement(grade, cluster, margin, rule, plane)
    if not len(rest):
        return found
    inside = embeddings[rest]
    if frozen is not None and (config.clusters == "frozen" or len(rest) < FEWEST):
        groups = frozen.distances(inside).argmin(1)
        clusters: Clusters | None = frozen
        plane[rest] = _plane(frozen.components.of(inside))
        named_by = f"frozen, {frozen.naming.rule}"
    elif len(rest) < FEWEST:
        grade[rest] = np.where(prior[rest] >= 0, GRADABLE, UNGRADABLE)
        rule[rest] = ALONE
        return found
    else:
        split = find_clusters(inside, prior[rest], scores[rest], config, seed, examples)
        if split is None:
            grade[rest] = GRADABLE if np.median(prior[rest]) >= 0 else UNGRADABLE
            cluster[rest], rule[rest] = 0, ONE_CLUSTER
            return found
        clusters, groups, plane[rest] = split.clusters, split.groups, split.plane
        named_by = clusters.naming.rule
    assert clusters is not None
    grade[rest] = np.where(groups == clusters.naming.worse, UNGRADABLE, GRADABLE)
    cluster[rest], rule[rest] = groups, named_by
    distances = clusters.distances(inside)
    own = np.take_along_axis(distances, groups[:, None], 1)[:, 0]
    other = np.take_along_axis(distances, 1 - groups[:, None], 1)[:, 0]
    margin[rest] = (other - own) / np.maximum(other + own, 1e-12)
    return replace(found, clusters=clusters)


def log_probabilities(
    judgement: Judgement, scores: Float[np.ndarray, "n"], tau: float, spread: float
) -> Float[np.ndarray, "n three"]:
    """Outputs of ungradable, gradable and outstanding that agree with the grades.

    The probability of outstanding falls with the score: from 1 to a half at the threshold, and from a third to 0 beyond
    it. What is left goes to the image's cluster by its margin; to both alike where there is none.
    """
    off = (scores - tau) / spread
    outstanding = np.where(off <= 0, 1 - 0.5 * np.exp(np.minimum(off, 0)), np.exp(-np.maximum(off, 0)) / 3)
    share = np.where(judgement.cluster < 0, 0.5, 0.5 + 0.5 * np.clip(np.abs(judgement.margin), 0, 1))
    share = np.where((judgement.grade != OUTSTANDING) & (share <= 0.5), 0.5 + 1e-3, share)
    worst = np.where(judgement.grade == UNGRADABLE, share, 1 - share)
    parts = np.stack([(1 - outstanding) * worst, (1 - outstanding) * (1 - worst), outstanding], 1)
    return np.log(np.maximum(parts, 1e-30))
