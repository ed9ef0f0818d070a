"""Weighted boxes fusion (Solovyev et al., 2021) by hand, and what an ensemble's predictors offer besides outputs."""

import numpy as np
import pytest
import torch
from torch import nn

from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.errors import InputError
from modicum.methods.ensemble_outputs import EveryMap, EveryPicture, joined_predictor
from modicum.tasks.anomaly.task import Anomaly
from modicum.tasks.detection.fusion import fused_boxes
from modicum.tasks.detection.task import Detection, DetectionOptions


def boxes(*rows):
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def test_edges_are_weighted_by_scores_and_the_score_is_their_mean():
    """Two detectors find one box: (0.9 * 0 + 0.6 * 3) / 1.5 = 1.2, and 0.75 of 2 of 2 detectors."""
    found = fused_boxes([boxes([0, 0, 10, 10, 0.9, 0]), boxes([3, 0, 13, 10, 0.6, 0])], 0.5)
    np.testing.assert_allclose(found, [[1.2, 0, 11.2, 10, 0.75, 0]])


def test_what_one_of_three_finds_counts_a_third_and_more_boxes_than_detectors_count_no_more():
    alone = boxes([0, 0, 10, 10, 0.9, 0])
    np.testing.assert_allclose(fused_boxes([alone, boxes(), boxes()])[0, 4], 0.3)
    twice = boxes([0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.7, 0], [0, 0, 10, 10, 0.5, 0])
    np.testing.assert_allclose(fused_boxes([twice, boxes()])[0, 4], 0.7)  # 0.7 * min(3, 2) / 2


def test_classes_and_boxes_that_overlap_less_stay_apart_and_the_best_comes_first():
    first, second = boxes([0, 0, 10, 10, 0.4, 0]), boxes([0, 0, 10, 10, 0.8, 1], [5, 0, 15, 10, 0.6, 0])
    found = fused_boxes([first, second])  # a third in common: below 0.55
    np.testing.assert_allclose(found[:, 4], [0.4, 0.3, 0.2])
    assert found[:, 5].tolist() == [1, 0, 0]
    assert len(fused_boxes([first, second], 0.3)) == 2


def test_a_box_joins_the_fused_box_that_it_overlaps_most_as_that_has_become():
    """The second moves the first's fused box by a quarter of 4 px, so that the third overlaps it by 0.6."""
    one = boxes([0, 0, 16, 16, 0.9, 0])
    two = boxes([4, 0, 20, 16, 0.3, 0])
    three = boxes([5, 0, 21, 16, 0.2, 0])
    shift = 4 * 0.3 / 1.2
    overlap = (16 - (5 - shift)) / (16 + (5 - shift))
    assert (16 - 5) / (16 + 5) < 0.55 < overlap
    assert len(fused_boxes([one, three])) == 2
    found = fused_boxes([one, two, three])
    np.testing.assert_allclose(found, [[(4 * 0.3 + 5 * 0.2) / 1.4, 0, 16 + (2.2 / 1.4), 16, 1.4 / 3, 0]])


def test_nothing_found_is_nothing_and_scores_of_zero_have_a_mean():
    assert fused_boxes([boxes(), np.full((3, 6), np.nan)]).shape == (0, 6)
    zero = fused_boxes([boxes([0, 0, 8, 8, 0, 0]), boxes([2, 0, 10, 8, 0, 0])], 0.5)
    np.testing.assert_allclose(zero, [[1, 0, 9, 8, 0, 0]])


def test_detections_of_unequal_length_are_joined_image_by_image_with_the_tasks_threshold():
    nothing = [torch.nan] * 6
    first = torch.tensor([[[0, 0, 10, 10, 0.8, 0]], [nothing]])
    second = torch.tensor([[[5, 0, 15, 10, 0.4, 0], nothing], [[1, 1, 5, 5, 0.6, 0], nothing]])
    apart = Detection(["x"]).joined([first, second])
    assert apart.shape == (2, 2, 6)
    torch.testing.assert_close(apart[1, 0], torch.tensor([1, 1, 5, 5, 0.3, 0]))
    assert apart[1, 1].isnan().all()
    joined = Detection(["x"], DetectionOptions(fusion_overlap=0.3)).joined([first, second])
    torch.testing.assert_close(joined[0], torch.tensor([[5 / 3, 0, 35 / 3, 10, 0.6, 0]]))


def test_log_odds_of_anomalies_are_those_of_the_mean_probability_and_sure_images_keep_their_order():
    task = Anomaly(("normal",), ("abnormal",), options=Anomaly.Options(output="logit"))
    outputs = torch.tensor([[[1.0], [-2.0]], [[3.0], [0.5]]])
    torch.testing.assert_close(task.averaged(outputs).sigmoid(), outputs.sigmoid().mean(0))
    sure = task.averaged(torch.tensor([[[60.0], [70.0]], [[60.0], [70.0]]]))
    torch.testing.assert_close(sure, torch.tensor([[60.0], [70.0]]))


class Drawn(nn.Module):
    """Images with noise of their seeds; sees large images in tiles by itself, and knows dark ones."""

    draws = True

    def __init__(self, tile=None):
        super().__init__()
        self.tile = tile

    def forward(self, images, seeds):
        noise = [torch.rand(1, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return images + torch.stack(noise)[..., None, None]

    def with_tiles(self, tile, overlap):
        return Drawn(tile)

    def unlike(self, images):
        return images.mean((1, 2, 3)) < 0.1


class Plain(nn.Module):
    def forward(self, images):
        return 2 * images


def mean_of(outputs):
    return torch.stack(list(outputs)).mean(0)


def test_members_that_draw_get_the_seed_of_each_image_and_others_get_none():
    joined = joined_predictor([Drawn(), Plain()], mean_of)
    images = torch.rand(3, 1, 8, 8)
    assert joined.draws
    names = ["a.png", "b.png", "c.png"]
    found = predictor_outputs(joined, images, names, 5)
    of_drawn = predictor_outputs(Drawn(), images, names, 5)
    torch.testing.assert_close(found, (of_drawn + 2 * images) / 2)
    torch.testing.assert_close(predictor_outputs(joined, images[2:], names[2:], 5), found[2:])


def test_members_see_large_images_in_tiles_as_each_does_and_tell_unlike_images():
    joined = joined_predictor([Drawn(), Plain()], mean_of)
    assert isinstance(joined, EveryPicture)
    in_tiles = joined.with_tiles((8, 8), (2, 2))
    assert [getattr(one, "tile", None) for one in in_tiles.predictors] == [(8, 8), (8, 8)]
    images, seeds = torch.rand(2, 1, 20, 20), torch.tensor([1, 2])
    torch.testing.assert_close(in_tiles(images, seeds), joined(images, seeds))  # one looks at single pixels
    assert joined.predictors[0].tile is None
    assert joined.unlike(torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])).tolist() == [True, False]


class Noisy(nn.Module):
    def __init__(self, samples):
        super().__init__()
        self.noise_samples = samples

    def for_graph(self):
        return self

    def with_tiles(self, tile, overlap):
        return self

    def forward(self, images, noise):
        return images + noise.mean(1)


def test_a_graph_gives_members_that_draw_the_same_noise():
    graph = joined_predictor([Noisy(2), Plain(), Noisy(2)], mean_of).for_graph()
    images, noise = torch.rand(2, 1, 4, 4), torch.rand(2, 2, 1, 4, 4)
    assert graph.noise_samples == 2
    torch.testing.assert_close(graph(images, noise), (4 * images + 2 * noise.mean(1)) / 3)
    with pytest.raises(InputError, match="draw 2 and 3 samples"):
        joined_predictor([Noisy(2), Noisy(3)], mean_of).for_graph()


class Mapped(nn.Module):
    def __init__(self, size, value):
        super().__init__()
        self.size, self.value = size, value

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None]

    def maps(self, images):
        return {"anomaly": torch.full((len(images), self.size, self.size), self.value)}


def test_maps_are_the_mean_where_all_members_make_them():
    joined = joined_predictor([Mapped(4, 0.2), Mapped(8, 0.6)], mean_of)
    assert isinstance(joined, EveryMap)
    torch.testing.assert_close(joined.maps(torch.zeros(2, 1, 8, 8))["anomaly"], torch.full((2, 4, 4), 0.4))
    assert not hasattr(joined_predictor([Mapped(4, 0.2), Plain()], mean_of), "maps")


@pytest.mark.parametrize("overlap", [0, 1])
def test_the_threshold_of_fusion_lies_between_0_and_1(overlap):
    with pytest.raises(ValueError, match="fusion_overlap"):
        DetectionOptions(fusion_overlap=overlap)
