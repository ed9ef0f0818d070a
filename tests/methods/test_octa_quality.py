"""Clusters, names, the prior and the grades of the quality method; facts from the specification's drawn angiograms."""

import random

import numpy as np
import pytest
import torch
from octa_phantoms import drawn
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    roc_auc_score,
    silhouette_score,
)
from sklearn.mixture import GaussianMixture

from modicum.errors import InputError
from modicum.methods.octa_quality import (
    OctaQualityConfig,
    adjusted_rand_index,
    best_permutation_accuracy,
    judged,
    normalised_mutual_information,
    principal_components,
    quality_prior,
    quality_terms,
    two_groups,
)
from modicum.methods.octa_quality.clustering import bic_gain, silhouette
from modicum.methods.octa_quality.grades import Grades, grades_of
from modicum.methods.octa_quality.judgement import Examples, log_probabilities
from modicum.methods.octa_quality.naming import name_clusters, votes_for_worst
from modicum.methods.octa_quality.stages import best_f1_threshold, quarter_turns
from modicum.nn import Backbone
from modicum.nn.one_class import FeatureTaps, PooledScorer, pooled_features

CONFIG = OctaQualityConfig()


def two_clouds(first=20, second=14, width=6, apart=8.0, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(first + second, width))
    points[first:, 0] += apart
    return points, np.repeat([0, 1], [first, second])


@pytest.mark.parametrize("algorithm", ["kmeans", "gmm", "agglomerative", "spectral"])
def test_two_clouds_are_found_whatever_the_order_of_the_images(algorithm):
    points, truth = two_clouds()
    groups = two_groups(points, algorithm, 0)
    assert best_permutation_accuracy(groups, truth) == 1
    order = np.random.default_rng(1).permutation(len(points))
    assert np.array_equal(two_groups(points[order], algorithm, 0), groups[order])


def test_clusterings_agree_with_scikit_learn():
    points, _ = two_clouds(apart=2.5, seed=3)
    theirs = AgglomerativeClustering(2).fit_predict(points)
    assert best_permutation_accuracy(two_groups(points, "agglomerative", 0), theirs) == 1
    scaled = points / points.std()
    mixture = GaussianMixture(2, reg_covar=1e-3, n_init=20, random_state=0).fit(scaled)
    one = GaussianMixture(1, reg_covar=1e-3).fit(scaled)
    groups = two_groups(points, "kmeans", 0)
    assert (
        bic_gain(points, groups) <= one.bic(scaled) - mixture.bic(scaled) + 1e-3
    )  # theirs has the best of 20 starts
    assert silhouette(points, groups) == pytest.approx(silhouette_score(points, groups), abs=1e-12)
    far, truth = two_clouds(width=2, apart=9.0)
    one_cloud = np.random.default_rng(0).normal(size=(40, 2))
    assert bic_gain(far, truth) > 0 > bic_gain(one_cloud, two_groups(one_cloud, "kmeans", 0))


def test_principal_components_are_scikit_learns():
    points, _ = two_clouds(5, 4, 12)
    ours, theirs = principal_components(points, 10), PCA(8).fit(points)
    assert len(ours.axes) == 8  # n - 1
    np.testing.assert_allclose(np.abs(ours.of(points)), np.abs(theirs.transform(points)), atol=1e-8)
    assert len(principal_components(points, 3).axes) == 3


def test_agreement_is_scikit_learns():
    rng = np.random.default_rng(2)
    groups, grades = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    assert normalised_mutual_information(groups, grades) == pytest.approx(
        normalized_mutual_info_score(grades, groups)
    )
    assert adjusted_rand_index(groups, grades) == pytest.approx(adjusted_rand_score(grades, groups))
    assert best_permutation_accuracy((grades + 1) % 3, grades) == 1
    assert best_permutation_accuracy(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 7])) == 0.75


def test_the_prior_names_clusters_that_the_mean_score_names_wrongly():
    """The specification's measured trap: gradable images score 63 on average, ungradable ones 47."""
    groups = np.repeat([0, 1], 10)
    scores = np.where(groups == 0, 63.0, 47.0)
    prior = np.where(groups == 0, -0.5, -2.0)
    naming = name_clusters(groups, prior, scores)
    assert (naming.worse, naming.rule, naming.by_score, naming.agree) == (1, "quality_prior", 0, False)
    named = name_clusters(groups, prior, scores, votes=np.array([0.9, 0.1]))
    assert (named.worse, named.rule) == (0, "examples")
    assert name_clusters(groups, prior, scores, votes=np.array([0.5, 0.5])).rule == "quality_prior"


def test_examples_vote_for_the_nearest_cluster():
    points, truth = two_clouds()
    examples = np.zeros((2, 6))
    examples[1, 0] = 8.0
    votes = votes_for_worst(points, truth, examples, np.array([False, True]))
    assert votes.tolist() == [0.0, 1.0]
    assert votes_for_worst(points, truth, examples[:1], np.array([True])) is None


def graded(points, scores, prior, **more):
    return judged(scores, 1.0, 0.5, points, prior, CONFIG, 0, **more)


def test_grades_of_a_set_do_not_depend_on_its_order():
    points, truth = two_clouds()
    scores = np.full(34, 2.0)
    scores[:6] = 0.5
    prior = np.where(truth == 0, -0.2, -1.5)
    found = graded(points, scores, prior)
    assert found.grade.tolist() == [2] * 6 + [1] * 14 + [0] * 14
    assert set(found.rule[6:]) == {"quality_prior"}
    assert (found.margin[6:] > 0).all()
    order = np.random.default_rng(5).permutation(34)
    again = graded(points[order], scores[order], prior[order])
    assert np.array_equal(again.grade, found.grade[order])
    assert np.allclose(again.margin, found.margin[order])


def test_sets_that_are_too_small_or_all_alike_are_named_and_not_split():
    points, _ = two_clouds()
    prior = np.full(34, -1.0)
    assert (graded(points, np.zeros(34), prior).grade == 2).all()  # none but outstanding ones
    few = np.zeros(34)
    few[:3] = 2.0
    prior[0] = 0.4
    found = graded(points, few, prior)
    assert found.grade[:3].tolist() == [1, 0, 0]
    assert set(found.rule[:3]) == {"too_few_to_cluster"}
    same = graded(np.ones((9, 6)), np.full(9, 2.0), np.full(9, -1.0))
    assert (same.grade == 0).all()
    assert set(same.rule) == {"one_cluster"}
    alone = graded(points[:1], np.full(1, 2.0), np.full(1, -1.0))
    assert alone.grade.tolist() == [0]


def test_a_set_without_ungradable_images_is_not_split_in_two():
    points = np.random.default_rng(0).normal(size=(60, 30))
    found = graded(points, np.full(60, 2.0), np.full(60, 0.3))
    assert (found.grade == 1).all()
    assert set(found.rule) == {"one_cluster"}
    always = judged(
        np.full(60, 2.0), 1.0, 0.5, points, np.full(60, 0.3), OctaQualityConfig(split_check="none"), 0
    )
    assert len(set(always.grade)) == 2


def test_single_images_go_to_the_clusters_that_were_kept():
    points, truth = two_clouds()
    prior = np.where(truth == 0, -0.2, -1.5)
    whole = graded(points, np.full(34, 2.0), prior)
    one_by_one = [
        graded(points[[i]], np.full(1, 2.0), prior[[i]], frozen=whole.clusters).grade[0] for i in range(34)
    ]
    assert np.mean(one_by_one == whole.grade) >= 0.95


def test_labelled_examples_name_what_the_prior_would_name_wrongly():
    points, truth = two_clouds()
    centres = np.stack([points[truth == g].mean(0) for g in (0, 1)])
    examples = Examples(centres, np.array([False, True]))
    misled = np.where(truth == 0, -3.0, 0.0)
    assert best_permutation_accuracy(graded(points, np.full(34, 2.0), misled).grade, truth) == 1
    assert graded(points, np.full(34, 2.0), misled, examples=examples).grade.tolist() == (1 - truth).tolist()


def test_outputs_agree_with_grades_and_fall_with_the_score():
    points, truth = two_clouds()
    scores = np.linspace(0, 3, 34)
    found = graded(points, scores, np.where(truth == 0, -0.2, -1.5))
    logs = log_probabilities(found, scores, 1.0, 0.5)
    assert np.array_equal(logs.argmax(1), found.grade)
    assert (np.diff(logs[:, 2]) < 0).all()
    np.testing.assert_allclose(np.exp(logs).sum(1), 1)


@pytest.mark.parametrize(
    ("classes", "ordered", "best", "others"),
    [
        (("0", "1", "2"), True, 2, (0, 1)),
        (("gradable", "outstanding", "ungradable"), False, 1, (2, 0)),
        (("good", "reject", "usable"), False, 0, (1, 2)),
        (("healthy", "ill"), False, 0, (1,)),
    ],
)
def test_classes_are_put_in_order_of_quality(classes, ordered, best, others):
    assert grades_of(classes, ordered) == Grades(best, others)


def test_classes_that_say_nothing_of_quality_are_refused():
    with pytest.raises(InputError, match=r"none of the classes .* --set best=NAME"):
        grades_of(("a", "b"), False)
    with pytest.raises(InputError, match="which of the classes a, b is worse"):
        grades_of(("a", "b", "c"), False, "c")
    with pytest.raises(InputError, match="quality has 4 classes"):
        grades_of(("0", "1", "2", "3"), True)
    with pytest.raises(InputError, match="best is 'd'"):
        grades_of(("a", "b", "c"), False, "d")


def test_the_best_threshold_by_f1_lies_between_the_classes():
    scores = torch.tensor([1.0, 2.0, 3.0, 10.0, 11.0])
    outstanding = torch.tensor([True, True, True, False, False])
    assert float(best_f1_threshold(scores, outstanding)) == 6.5
    assert float(best_f1_threshold(scores, torch.ones(5, dtype=torch.bool))) == 11


def test_only_training_turns_images():
    images = torch.rand(6, 1, 4, 4)
    with torch.no_grad():
        assert quarter_turns(images) is images
    random.seed(0)
    turned = quarter_turns(images)
    assert not torch.equal(turned, images)
    assert torch.equal(turned.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    assert quarter_turns(images[..., :3]).shape == (6, 1, 4, 3)


def test_contrast_over_noise_alone_would_call_blurred_images_the_best():
    kinds = ("outstanding", "gradable", "ungradable", "blurred")
    terms = {kind: quality_terms(torch.from_numpy(drawn(kind, 24, 0))) for kind in kinds}
    contrast = {kind: float(values[:, 0].median()) for kind, values in terms.items()}
    assert contrast["blurred"] > contrast["outstanding"] > contrast["gradable"] > contrast["ungradable"]
    reference = quality_terms(torch.from_numpy(drawn("outstanding", 24, 1)))
    prior = {kind: float(quality_prior(values, reference).median()) for kind, values in terms.items()}
    assert prior["outstanding"] > 0 > prior["gradable"] > prior["ungradable"]
    assert prior["blurred"] < prior["gradable"]


def quality_study(seed, count):
    """AUROC of pooled distance and of pixels, recall at the threshold, and the three-class accuracy."""
    torch.manual_seed(seed)
    taps = FeatureTaps(Backbone("resnet18", (64, 64)))

    def features(kind, number):
        images = torch.from_numpy(drawn(kind, count, 10 * seed + number))
        return images, torch.cat([pooled_features(taps(part)) for part in images.split(32)])

    fit, vectors = features("outstanding", 1)
    scorer = PooledScorer(taps.channels)
    scorer._seen = [vectors]
    scorer.finish(0)
    tau = float(scorer.distances(features("outstanding", 2)[1]).quantile(0.95))
    kinds = ("ungradable", "gradable", "outstanding", "blurred")
    images, seen = zip(*(features(kind, 3) for kind in kinds), strict=True)
    scores = [scorer.distances(one).numpy() for one in seen]
    pca = PCA(min(20, count - 1)).fit(fit.flatten(1).numpy())

    def errors(one):
        flat = one.flatten(1).numpy()
        return ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean(1)

    def auroc(bad, good):
        return roc_auc_score([1] * len(bad) + [0] * len(good), np.concatenate([bad, good]))

    embeddings = scorer.standardised(torch.cat(seen[:3])).double().numpy()
    prior = quality_prior(torch.cat([quality_terms(one) for one in images[:3]]), quality_terms(fit))
    truth = np.repeat([0, 1, 2], count)
    found = judged(np.concatenate(scores[:3]), tau, 1.0, embeddings, prior.double().numpy(), CONFIG, 0)
    clusters = np.where(found.grade == 2, 2, found.cluster)
    return {
        "auroc": auroc(np.concatenate(scores[:2]), scores[2]),
        "blurred": auroc(scores[3], scores[2]),
        "pixels": auroc(np.concatenate([errors(one) for one in images[:2]]), errors(images[2])),
        "recall": float((scores[2] <= tau).mean()),
        "accuracy": float((found.grade == truth).mean()),
        "best": best_permutation_accuracy(clusters, truth),
    }


def check_study(found):
    assert found["auroc"] >= 0.95
    assert found["blurred"] >= 0.9
    assert found["pixels"] < 0.1  # the trap: pixels say it the wrong way round
    assert found["accuracy"] == found["best"] >= 0.9  # names right, clusters right


def test_random_features_tell_quality_and_the_prior_names_it():
    check_study(quality_study(1, 30))


@pytest.mark.parametrize("seed", [0, 2])
def test_random_features_tell_quality_of_larger_sets(seed):
    found = quality_study(seed, 100)
    check_study(found)
    assert 0.9 <= found["recall"] <= 1
