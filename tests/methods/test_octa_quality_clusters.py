"""Clusters of the quality method with few rare images, and in t-SNE's plane."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.manifold import TSNE

from modicum.methods.octa_quality import OctaQualityConfig, best_permutation_accuracy, find_clusters, judged
from modicum.methods.octa_quality.clustering import guarded_groups
from modicum.methods.octa_quality.neighbour_embedding import affinities, divergence, neighbour_embedding


def with_outlier(seed=0):
    """Thirty images, six others, and one far from all."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(37, 4))
    points[30:36, 0] += 9
    points[36, 1] += 60
    return points, np.repeat([0, 1, 0], [30, 6, 1])


@pytest.mark.parametrize("algorithm", ["kmeans", "gmm", "agglomerative"])
def test_a_lone_outlier_is_no_cluster_where_clusters_have_a_least_size(algorithm):
    points, truth = with_outlier()
    alone = guarded_groups(points, algorithm, 0, 1)
    assert sorted(np.bincount(alone))[0] == 1
    guarded = guarded_groups(points, algorithm, 0, 3)
    assert best_permutation_accuracy(guarded[:36], truth[:36]) == 1


def test_without_two_clusters_of_that_size_there_is_one():
    points = np.zeros((9, 2))
    points[0, 0] = 50.0
    assert guarded_groups(points, "kmeans", 0, 2) is None
    config = OctaQualityConfig(split_check="none", min_cluster=6)
    found = judged(np.full(9, 2.0), 1.0, 0.5, points, np.full(9, -1.0), config, 0)
    assert set(found.rule) == {"one_cluster"}


def clouds():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 5)) * (3, 2, 1, 1, 1)
    points[25:, 0] += 14
    return points, np.repeat([0, 1], [25, 15])


def test_tsne_reaches_what_scikit_learns_reaches():
    points, _ = clouds()
    theirs = TSNE(2, perplexity=13, init="pca", method="exact", random_state=0).fit_transform(points)
    target = affinities(points, 13)
    assert target.sum() == pytest.approx(1)
    own = neighbour_embedding(points)
    assert divergence(target, own) <= 1.05 * divergence(target, theirs.astype(float))


def test_affinities_have_the_perplexity():
    points, _ = clouds()
    shares = affinities(points[:20], 5.0)
    assert np.allclose(shares, shares.T)
    assert np.isclose(shares.sum(), 1)
    # Of one point, before both directions are averaged, the perplexity is 2 to the entropy: here of a regular ring.
    ring = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], 1)
    row = 12 * affinities(ring, 4.0)[0]
    row = row[row > 0]
    assert np.exp(-(row * np.log(row)).sum()) == pytest.approx(4.0, rel=1e-3)


def test_clusters_can_be_found_in_the_plane_of_tsne_and_single_images_still_get_one():
    points, truth = clouds()
    config = OctaQualityConfig(reduction="tsne")
    scores, prior = np.full(40, 2.0), np.where(truth == 0, -0.2, -1.5)
    found = judged(scores, 1.0, 0.5, points, prior, config, 0)
    assert found.grade.tolist() == (1 - truth).tolist()
    order = np.random.default_rng(2).permutation(40)
    again = judged(scores[order], 1.0, 0.5, points[order], prior[order], config, 0)
    assert np.array_equal(again.grade, found.grade[order])
    alone = [
        judged(scores[:1], 1.0, 0.5, points[[k]], prior[[k]], config, 0, frozen=found.clusters).grade[0]
        for k in range(40)
    ]
    assert np.mean(alone == found.grade) >= 0.95


def test_each_clustered_image_has_a_place_in_a_picture():
    points, truth = clouds()
    scores = np.where(np.arange(40) < 4, 0.5, 2.0)
    found = judged(scores, 1.0, 0.5, points, np.where(truth == 0, -0.2, -1.5), OctaQualityConfig(), 0)
    assert np.isnan(found.plane[:4]).all()
    split = find_clusters(points[4:], np.zeros(36), scores[4:], OctaQualityConfig(), 0)
    assert np.array_equal(split.plane, found.plane[4:])
    first = rankdata(found.plane[4:, 0])
    assert first[truth[4:] == 0].max() < first[truth[4:] == 1].min() or (
        first[truth[4:] == 0].min() > first[truth[4:] == 1].max()
    )
