"""What training images looked like, as numbers: distances, thresholds, and the reasons that an image is unlike them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from modicum.engine.inference.guards.character import character_of
from modicum.engine.inference.guards.embedding import EmbeddingTap
from modicum.engine.inference.guards.file import FEATURES, NAME, read_known, write_known
from modicum.engine.inference.guards.guard import ImageGuard
from modicum.engine.inference.guards.likeness import fitted, folds_of, threshold_at
from modicum.engine.inference.guards.training_images import known_from
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.nn import Backbone, Classifier, SegmentationNetwork, linear_head


def picture(seed, colour=True):
    """Bright in the middle, reddish, with some texture."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:48j, -1:1:48j]
    light = 0.75 - 0.5 * np.hypot(rows, columns) + generator.normal(0, 0.04)
    values = np.stack([light * share for share in ((1, 0.7, 0.5) if colour else (1, 1, 1))], axis=-1)
    values = values + generator.normal(0, 0.02, (48, 48, 1))
    return (255 * values.clip(0, 1)).round().astype(np.uint8)


def looks(pictures, size=(400, 500), spacing=(0.2, 0.2)):
    return [character_of(one, size, spacing) for one in pictures]


@pytest.fixture(scope="module")
def known():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(120, 12)) @ np.diag(np.linspace(3, 0.1, 12))
    return known_from(
        looks([picture(seed) for seed in range(80)]),
        looks([picture(seed) for seed in range(100, 140)]),
        list(range(80)),
        (features[:80], features[80:]),
    )


def reasons(known, changed, **facts):
    return known.reasons(looks([changed], **facts))[0]


def test_the_negative_need_not_be_measured_again():
    for colour in (True, False):
        measured, negative = (
            character_of(one, (9, 9)) for one in (picture(3, colour), 255 - picture(3, colour))
        )
        np.testing.assert_allclose(measured.inverted().tones, negative.tones, atol=2 / 255)
        np.testing.assert_allclose(measured.inverted().colours, negative.colours, atol=2 / 255)


def test_grey_is_grey_whether_it_has_one_channel_or_three_of_16_bits():
    grey = picture(4, colour=False)
    as_16 = grey.astype(np.uint16) * 257
    for record in (grey[..., :1], as_16, as_16[..., :1]):
        np.testing.assert_allclose(character_of(record, (1, 1)).tones, character_of(grey, (1, 1)).tones)
        assert not character_of(record, (1, 1)).colours.any()


def test_distance_is_mahalanobis_of_the_shrunk_covariance():
    vectors = np.random.default_rng(1).normal(size=(30, 5)) @ np.random.default_rng(2).normal(size=(5, 5))
    n, p = vectors.shape
    sample = np.cov(vectors.T, bias=True)
    trace, squared = np.trace(sample), np.trace(sample @ sample)
    # Chen et al. 2010, equation 23.
    share = min(1, ((1 - 2 / p) * squared + trace**2) / ((n + 1 - 2 / p) * (squared - trace**2 / p)))
    shrunk = (1 - share) * sample + share * trace / p * np.eye(p) + 0.1**2 * np.eye(p)
    new = np.random.default_rng(3).normal(size=(7, 5))
    off = new - vectors.mean(0)
    wanted = np.einsum("ni,ij,nj->n", off, np.linalg.inv(shrunk), off) / p
    np.testing.assert_allclose(fitted(vectors, 0.1).distances(new), wanted, rtol=1e-9)


def test_few_axes_and_a_rest_keep_the_whole_variance():
    vectors = np.random.default_rng(4).normal(size=(60, 9)) @ np.diag([9, 5, 3, 1, 1, 1, 1, 1, 1])
    whole, brief = fitted(vectors, 1e-9), fitted(vectors, 1e-9, axes=3)
    assert brief.axes.shape == (3, 9)
    assert brief.variances.sum() + 6 * brief.rest == pytest.approx(whole.variances.sum())
    np.testing.assert_allclose(brief.axes @ brief.axes.T, np.eye(3), atol=1e-12)


def test_thresholds_are_the_quantile_where_there_are_images_and_a_prediction_limit_where_not():
    assert threshold_at(np.arange(1, 1000), 0.01) == 990
    few = np.exp(np.random.default_rng(5).normal(size=25))
    assert threshold_at(few, 0.01) > few.max() or threshold_at(few, 0.01) == few.max()
    exceeded = [
        threshold_at(np.exp(draw[:25]), 0.02) < math.exp(draw[25])
        for draw in np.random.default_rng(6).normal(size=(3000, 26))
    ]
    assert np.mean(exceeded) <= 0.02 + 3 * math.sqrt(0.02 * 0.98 / 3000)
    assert threshold_at([], 0.01) == threshold_at([1.0], 0.01) == math.inf


def test_images_of_a_patient_stay_in_one_fold():
    folds = folds_of(["a", "b", "a", "c", "d", "e", "f", "a"])
    assert folds[0] == folds[2] == folds[7]
    assert set(folds) == set(range(5))


def test_images_like_the_training_images_are_not_flagged(known):
    fresh = known.reasons(looks([picture(seed) for seed in range(1000, 1100)]))
    assert sum(bool(one) for one in fresh) <= 4


def test_each_change_has_its_name(known):
    usual = picture(7)
    assert reasons(known, usual) == ()
    assert reasons(known, 255 - usual) == ("inverted",)
    assert reasons(known, np.full_like(usual, 90)) == ("empty",)
    assert "other intensity window" in reasons(known, (0.3 * usual + 150).astype(np.uint8))
    assert "other colours" in reasons(known, usual[..., ::-1])
    assert reasons(known, usual, size=(100, 125)) == ("other size",)
    assert reasons(known, usual, size=(500, 400)) == ("other size",)
    assert reasons(known, usual, spacing=(0.5, 0.5)) == ("other spacing",)
    assert reasons(known, usual, spacing=None) == ()
    far = known.reasons(looks([usual]), np.full((1, 12), 40.0))
    assert far == [("unlike in features",)]


def test_an_empty_image_is_no_news_where_the_training_images_were_empty(known):
    assert reasons(replace(known, least_spread=0.0), np.full_like(picture(0), 90))[0] != "empty"


def test_what_is_written_is_read_again(known, tmp_path):
    write_known(RunFolder(tmp_path), known)
    again = read_known(RunFolder(tmp_path))
    some = looks([picture(1), 255 - picture(2), picture(3)[..., ::-1], np.zeros_like(picture(0))])
    features = np.random.default_rng(8).normal(size=(4, 12))
    assert again.reasons(some, features) == known.reasons(some, features)
    for name, values in known.distances(some).items():
        np.testing.assert_allclose(again.distances(some)[name], values, rtol=1e-3)
    np.testing.assert_allclose(
        again.features.distances(features), known.features.distances(features), rtol=1e-3
    )
    assert again.facts["images"] == {"training": 80, "validation": 40, "thresholds": 40}
    assert (tmp_path / NAME).stat().st_size + (tmp_path / FEATURES).stat().st_size < 40_000
    assert read_known(RunFolder(tmp_path / "elsewhere")) is None


@pytest.mark.parametrize("key", ["tones", "thresholds", "sides"])
def test_damaged_files_are_one_line(known, tmp_path, key):
    write_known(RunFolder(tmp_path), known)
    content = json.loads((tmp_path / NAME).read_text())
    content[key] = {"tones": {**content["tones"], "variances": [-1.0]}, "thresholds": {}, "sides": "wide"}[
        key
    ]
    (tmp_path / NAME).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"training_images\.json.* is damaged"):
        read_known(RunFolder(tmp_path))


def test_few_validation_images_borrow_from_training_images_in_folds():
    train = looks([picture(seed) for seed in range(40)])
    few = known_from(train, train[:2], list(range(40)))
    assert few.facts["images"]["thresholds"] == 42
    fresh = few.reasons(looks([picture(seed) for seed in range(1000, 1100)]))
    assert sum(bool(one) for one in fresh) <= 4
    assert reasons(few, 255 - picture(7)) == ("inverted",)


def test_one_training_image_is_enough_to_be_read_back(tmp_path):
    alone = known_from(looks([picture(0)]), [], [0])
    write_known(RunFolder(tmp_path), alone)
    assert read_known(RunFolder(tmp_path)).thresholds["tones"] == math.inf


def test_a_guard_counts_and_says_why(known):
    guard = ImageGuard(known, strict=True)
    texts = guard.judge([*looks([picture(1)]), *looks([255 - picture(2)], size=(90, 90))])
    assert texts == ["", "inverted; other size"]
    assert guard.refuses(texts[0]) is None
    assert guard.refuses(texts[1]) == "unlike the training images: inverted; other size"
    assert guard.counts == {"images": 2, "unlike": 1, "reasons": {"inverted": 1, "other size": 1}}
    assert guard.note().startswith(
        "1 of 2 images is unlike those of the training (1 inverted, 1 other size): refused"
    )


class Asks(nn.Module):
    """Uses a part of its backbone, so that there is nothing to overhear."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return self.backbone.feature_map(images).mean((2, 3))


def test_features_are_overheard_or_asked_for_and_the_network_stays_as_it_was():
    torch.manual_seed(0)
    backbone, images = Backbone("test_resnet", (32, 32)).eval(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        wanted = backbone(images).numpy()
    calls = []
    backbone.body.register_forward_hook(lambda *_: calls.append(1))
    for network, passes in (
        (Classifier(backbone, linear_head(backbone.num_features, 2)).eval(), 1),
        (Asks(backbone), 1),
    ):
        calls.clear()
        with EmbeddingTap(network) as tap, torch.no_grad():
            network(images)
            np.testing.assert_allclose(tap.take(images), wanted, atol=1e-6)
        assert len(calls) == passes
        assert not backbone._forward_hooks
    assert EmbeddingTap(nn.Conv2d(3, 1, 1)).take(images) is None


def test_features_of_a_segmentation_network_are_those_of_its_encoder():
    torch.manual_seed(0)
    network = SegmentationNetwork("unet", "test_resnet", 1, image_size=(32, 32)).eval()
    images = torch.rand(2, 3, 32, 32)
    with EmbeddingTap(network) as tap, torch.no_grad():
        pooled = network.features_and_logits(images)[0].numpy()
        np.testing.assert_allclose(tap.take(images), pooled, atol=1e-6)
        np.testing.assert_allclose(tap.take(images), pooled, atol=1e-6)
