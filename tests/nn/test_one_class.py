"""One-class scorers against closed forms, NumPy, SciPy and scikit-learn; and the interface that all of them keep."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.one_class import (
    DeepFeatureReconstruction,
    FeatureTaps,
    PadimScorer,
    PatchcoreScorer,
    PooledScorer,
    ReverseDistillation,
    distance_map,
    ensemble_score,
    farthest_first,
    ledoit_wolf,
    percentile_among,
    pooled_features,
    reduce_map,
)
from modicum.nn.one_class.dfr import kept_components
from modicum.nn.one_class.maps import blurred
from modicum.nn.one_class.pooled import nearest_distances
from modicum.nn.one_class.reverse_distillation import distance_of_whole
from modicum.nn.one_class.student import MirrorDecoder, OneClassEmbedding, StudentShape

CHANNELS = (4, 6, 8)
SIZE = (32, 32)


def maps_of(count, seed=0, offset=0.0):
    """Maps of strides 4, 8 and 16, not negative."""
    draw = torch.Generator().manual_seed(seed)
    sides = (8, 4, 2)
    return [
        torch.rand(count, channels, side, side, generator=draw) + offset
        for channels, side in zip(CHANNELS, sides, strict=True)
    ]


def fitted(scorer, *parts):
    for number in range(scorer.num_passes):
        for part in parts:
            scorer.see(part, number)
        scorer.finish(number)
    return scorer.eval()


@pytest.fixture(scope="module")
def taps():
    torch.manual_seed(0)
    return FeatureTaps(Backbone("resnet18", SIZE))


def student(seed=0):
    torch.manual_seed(seed)
    return ReverseDistillation(StudentShape(CHANNELS, (1, 1, 1)), sigma=1.0)


SCORERS = {
    "pooled knn": lambda: PooledScorer(CHANNELS),
    "pooled mahalanobis": lambda: PooledScorer(CHANNELS, "mahalanobis"),
    "padim": lambda: PadimScorer(CHANNELS, kept=5, sigma=1.0),
    "patchcore": lambda: PatchcoreScorer(CHANNELS, sigma=1.0),
    "reverse distillation": student,
    "dfr": lambda: DeepFeatureReconstruction(CHANNELS, width=3, sigma=1.0),
}


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_keeps_one_interface(name):
    scorer = fitted(SCORERS[name](), maps_of(6), maps_of(5, 1))
    new = maps_of(4, 2)
    with torch.no_grad():
        found = scorer(new, SIZE)
        alone = scorer([one[1:2] for one in new], SIZE)
    assert found.score.shape == (4,)
    assert torch.allclose(alone.score[0], found.score[1], atol=1e-5)
    assert (found.map is not None) is scorer.has_map
    if found.map is not None:
        assert found.map.shape == (4, *SIZE)
        assert found.map.min() >= 0
    again = SCORERS[name]() if name != "reverse distillation" else student(1)
    for key, value in scorer.state_dict().items():  # buffers may have any size, as of a fit stage
        owner, _, last = key.rpartition(".")
        module = again.get_submodule(owner)
        if last in module._buffers:
            module._buffers[last] = value.clone()
        else:
            getattr(module, last).data.copy_(value)
    with torch.no_grad():
        loaded = again.eval()(new, SIZE)
    assert torch.allclose(loaded.score, found.score, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SCORERS if name not in {"reverse distillation", "dfr"}])
def test_what_lies_elsewhere_scores_higher(name):
    scorer = fitted(SCORERS[name](), maps_of(12))
    with torch.no_grad():
        near, far = scorer(maps_of(3, 5), SIZE).score, scorer(maps_of(3, 5, offset=2.0), SIZE).score
    assert near.max() < far.min()


def test_taps_are_the_first_three_residual_stages(taps):
    images = torch.rand(2, 1, *SIZE)
    maps = taps(images)
    assert [tuple(one.shape[1:]) for one in maps] == [(64, 8, 8), (128, 4, 4), (256, 2, 2)]
    body, x = taps.network.body, taps.network.normalise(images)
    x = body.maxpool(body.act1(body.bn1(body.conv1(x))))
    for stage, one in zip((body.layer1, body.layer2, body.layer3), maps, strict=True):
        x = stage(x)
        assert torch.equal(x, one)
    taps.train()
    assert all(
        torch.equal(a, b) for a, b in zip(maps, taps(images), strict=True)
    )  # batch statistics stay fixed
    assert pooled_features(maps).shape == (2, 896)


def test_a_transformer_has_taps_of_one_size_and_no_student():
    taps = FeatureTaps(Backbone("test_vit", SIZE))
    maps = taps(torch.rand(1, 3, *SIZE))
    assert len({one.shape for one in maps}) == 1
    with pytest.raises(InputError, match="strides 4, 8 and 16"):
        ReverseDistillation.of(taps)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_students_have_the_parameters_of_the_released_code(taps):
    shape = StudentShape.of(taps.network, taps.channels)
    assert shape == StudentShape((64, 128, 256), (2, 2, 2))
    wide = StudentShape((256, 512, 1024), (3, 4, 6), True, 2.0)
    with torch.device("meta"):
        assert count(OneClassEmbedding(shape)) == 12_205_312 - 525_312  # without the convolution nothing uses
        assert count(MirrorDecoder(shape)) == 3_703_168
        assert count(OneClassEmbedding(wide)) == 67_277_824 - 8_392_704
        assert count(MirrorDecoder(wide)) == 24_917_504
        body = Backbone("wide_resnet50_2", SIZE)
    assert StudentShape.of(body, (256, 512, 1024)) == wide


def test_a_student_gives_maps_of_the_teachers_shapes_also_of_odd_sizes(taps):
    scorer = ReverseDistillation.of(taps)
    for side in (32, 50):
        maps = taps(torch.rand(2, 3, side, side))
        assert [one.shape for one in scorer.reproduced(maps)] == [one.shape for one in maps]
    assert scorer.embedding(taps(torch.rand(2, 3, 64, 64))).shape == (2, 512, 2, 2)


def test_the_loss_of_distillation_is_0_of_a_perfect_student_and_knows_no_scale():
    maps, other = maps_of(3), maps_of(3, 1)
    assert distance_map(maps, maps, SIZE, 1.0).abs().max() < 1e-6
    losses = torch.stack([distance_of_whole(a, b) for a, b in zip(maps, other, strict=True)])
    assert ((losses >= 0) & (losses <= 1)).all()  # neither is negative anywhere
    assert torch.allclose(distance_of_whole(maps[0], -maps[0]), torch.tensor(2.0))
    scaled = [7.5 * one for one in other]
    again = torch.stack([distance_of_whole(a, b) for a, b in zip(maps, scaled, strict=True)])
    assert torch.allclose(losses, again, atol=1e-6)
    assert torch.allclose(
        distance_map(maps, other, SIZE, 1.0), distance_map(maps, scaled, SIZE, 1.0), atol=1e-6
    )


def test_nearest_distances_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(size=(30, 7)), rng.normal(size=(11, 7))
    found = nearest_distances(torch.tensor(queries), torch.tensor(bank), 5)
    near = NearestNeighbors(n_neighbors=5).fit(bank)
    np.testing.assert_allclose(found, near.kneighbors(queries)[0].mean(1), rtol=1e-10)
    alone = nearest_distances(torch.tensor(bank), torch.tensor(bank), 5, leave_self_out=True)
    np.testing.assert_allclose(alone, near.kneighbors()[0].mean(1), rtol=1e-10)
    with pytest.raises(InputError, match="at least two"):
        nearest_distances(torch.tensor(bank[:1]), torch.tensor(bank[:1]), 5, leave_self_out=True)


def test_shrunk_covariances_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(20, 12)) @ rng.normal(size=(12, 12))
    vectors -= vectors.mean(0)
    covariance, shrinkage = ledoit_wolf(torch.tensor(vectors))
    theirs = LedoitWolf(assume_centered=True).fit(vectors)
    np.testing.assert_allclose(covariance, theirs.covariance_, rtol=1e-8)
    assert shrinkage == pytest.approx(theirs.shrinkage_, rel=1e-8)


def test_pooled_distances_are_those_of_standardised_features():
    good, new = maps_of(15), maps_of(4, 3, 0.2)
    features, others = pooled_features(good).numpy(), pooled_features(new).numpy()
    mean, std = features.mean(0), features.std(0)
    std = np.maximum(std, 0.1 * np.sort(std)[(len(std) - 1) // 2])  # dead channels
    standard, queries = (features - mean) / std, (others - mean) / std
    scorer = fitted(PooledScorer(CHANNELS, "mahalanobis"), good)
    theirs = LedoitWolf(assume_centered=True).fit(standard.astype(np.float64))
    np.testing.assert_allclose(
        scorer(new, SIZE).score ** 2, theirs.mahalanobis(queries.astype(np.float64)), rtol=1e-3
    )
    scorer = fitted(PooledScorer(CHANNELS), good)
    expected = NearestNeighbors(n_neighbors=5).fit(standard).kneighbors(queries)[0].mean(1)
    np.testing.assert_allclose(scorer(new, SIZE).score, expected, rtol=1e-4)


def test_padim_is_mahalanobis_distance_place_by_place():
    parts = [maps_of(5), maps_of(7, 1)]
    scorer = fitted(PadimScorer(CHANNELS, kept=6, sigma=0.0), *parts)
    new = maps_of(2, 9)
    kept = [
        torch.cat([torch.nn.functional.interpolate(m, (8, 8), mode="bilinear") for m in maps], 1)[
            :, scorer.chosen
        ]
        for maps in (*parts, new)
    ]
    good, queries = torch.cat(kept[:2]).double().numpy(), kept[2].double().numpy()
    expected = np.empty((2, 8, 8))
    for row in range(8):
        for column in range(8):
            here = good[:, :, row, column]
            inverse = np.linalg.inv(np.cov(here.T) + 0.01 * np.eye(6))
            off = queries[:, :, row, column] - here.mean(0)
            expected[:, row, column] = np.sqrt(np.einsum("nd,de,ne->n", off, inverse, off))
    np.testing.assert_allclose(scorer.distances(new), expected, rtol=1e-4)
    found = scorer(new, (8, 8))
    np.testing.assert_allclose(found.score, expected.max((1, 2)), rtol=1e-4)
    with pytest.raises(InputError, match="at least two"):
        fitted(PadimScorer(CHANNELS), maps_of(1))


def test_padim_keeps_as_many_channels_as_published():
    assert len(PadimScorer((64, 128, 256)).chosen) == 100
    assert len(PadimScorer((256, 512, 1024)).chosen) == 550
    assert len(PadimScorer((4, 6, 8)).chosen) == 18


def test_farthest_first_is_within_twice_the_best_choice():
    vectors = torch.rand(12, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    distances = torch.cdist(vectors, vectors)
    for size in (1, 2, 3, 4):
        chosen = farthest_first(vectors, size)
        assert len(set(chosen.tolist())) == size
        best = min(distances[list(some)].amin(0).max() for some in combinations(range(12), size))
        assert distances[chosen].amin(0).max() <= 2 * best + 1e-12
    assert sorted(farthest_first(torch.zeros(4, 2), 9).tolist()) == [0, 1, 2, 3]


def test_patchcore_is_the_papers_formula():
    good, new = maps_of(3), maps_of(2, 8)
    scorer = fitted(PatchcoreScorer(CHANNELS, share=1.0, sigma=0.0), good)
    patches = []
    for maps in (good, new):
        middle, coarse = (torch.nn.functional.avg_pool2d(m, 3, 1, 1) for m in maps[1:])
        coarse = torch.nn.functional.interpolate(coarse, (4, 4), mode="bilinear")
        patches.append(torch.cat([middle, coarse], 1).flatten(2).transpose(1, 2).double().numpy())
    bank, queries = patches[0].reshape(-1, 14), patches[1]
    np.testing.assert_allclose(scorer.bank, bank, rtol=1e-6)
    for image, found in zip(queries, scorer(new, SIZE).score, strict=True):
        between = np.linalg.norm(image[:, None] - bank[None], axis=2)
        worst = between.min(1).argmax()
        nearest = between[worst].argmin()
        around = np.argsort(np.linalg.norm(bank[nearest] - bank, axis=1))[:9]
        weight = np.exp(between[worst, nearest]) / np.exp(between[worst, around]).sum()
        assert float(found) == pytest.approx((1 - weight) * between[worst, nearest], rel=1e-4)


def test_patchcore_remembers_a_tenth_of_the_patches_also_in_chunks():
    parts = [maps_of(5, seed) for seed in range(4)]
    whole = fitted(PatchcoreScorer(CHANNELS), *parts)
    assert (whole.num_patches, len(whole.bank)) == (320, 32)
    assert len(fitted(PatchcoreScorer(CHANNELS, chunk=100), *parts).bank) == 32


def test_dfr_learns_in_normalised_channels_and_names_the_papers_width():
    good = maps_of(6)
    scorer = fitted(DeepFeatureReconstruction(CHANNELS, width=3), good).train()
    normal = scorer.normalised(good)
    assert normal.mean((0, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(normal.std((0, 2, 3), correction=0), torch.ones(18), atol=1e-4)
    flat = normal.transpose(0, 1).flatten(1).T.numpy()
    kept = np.cumsum(PCA().fit(flat).explained_variance_ratio_)
    assert int(scorer.components) == int(np.searchsorted(kept, 0.9)) + 1
    assert kept_components(torch.diag(torch.tensor([8.0, 1.0, 0.5, 0.5]))) == 2
    convolutions = [m for m in scorer.network if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [12, 6, 3, 6, 12, 18]
    with torch.no_grad():
        for module in convolutions[-1:]:
            module.weight.zero_()
            module.bias.zero_()
    assert scorer.losses(good).item() == pytest.approx(1.0, abs=1e-4)  # of an answer that is always the mean


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_is_scipys(sigma):
    image = torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    np.testing.assert_allclose(
        blurred(image, sigma)[0], gaussian_filter(image[0].numpy(), sigma, mode="mirror"), rtol=1e-9
    )


def test_a_map_becomes_a_score():
    one = torch.arange(200.0).view(1, 10, 20)
    assert float(reduce_map(one, "mean")) == 99.5
    assert float(reduce_map(one, "max")) == 199
    assert float(reduce_map(one, "top")) == 198.5  # of two in 200


def test_percentiles_go_on_beyond_the_reference():
    reference = torch.tensor([4.0, 0.0, 1.0, 3.0, 2.0])
    inside = percentile_among(torch.tensor([0.0, 0.5, 2.0, 4.0]), reference)
    assert torch.allclose(inside, torch.tensor([0.0, 0.125, 0.5, 1.0]))
    beyond = percentile_among(torch.tensor([-2.0, -1.0, 5.0, 50.0]), reference)
    spread = 2**0.5
    expected = [
        -np.log1p(2 / spread),
        -np.log1p(1 / spread),
        1 + np.log1p(1 / spread),
        1 + np.log1p(46 / spread),
    ]
    np.testing.assert_allclose(beyond, expected, rtol=1e-5)
    assert torch.isfinite(percentile_among(torch.tensor([0.0, 1.0]), torch.tensor([0.5]))).all()
    scores = torch.tensor([[0.0, 2.0], [4.0, 2.0]])
    assert torch.allclose(
        ensemble_score(scores, reference[:, None].expand(-1, 2)), torch.tensor([0.25, 0.75])
    )
