"""Few images with what a metric needs, in every task; scores of some rows; what guessing comes to."""

import numpy as np
import pandas as pd
import pytest
import torch

from modicum.comparison.page import _sentence
from modicum.comparison.records import Measure
from modicum.comparison.request import Request
from modicum.tasks.bootstrap import FEWEST, bootstrap
from modicum.tasks.detection.scores import DetectionScores
from modicum.tasks.image_text.scores import mean_of
from modicum.tasks.metric import no_better_than_baselines
from modicum.tasks.metric_tables import metric_named
from modicum.tasks.segmentation.scores import SegmentationScores

IMAGES = 30


def has(count):
    """Which of 30 images have it: the last ones."""
    return torch.arange(IMAGES) >= IMAGES - count


def boxes(count, classes=("lesion",)):
    """Scores of images of which the last ``count`` have a box of the last class, half of them found."""
    there = has(count)
    truth = torch.where(there[:, None, None], torch.tensor([0.0, 0, 10, 10]), torch.nan)
    kind = len(classes) - 1
    score = torch.linspace(0.2, 0.9, IMAGES)
    aside = 40.0 * (torch.arange(IMAGES) % 2)
    found = torch.stack([aside, aside, aside + 10, aside + 10, score, torch.full_like(score, kind)], 1)[
        :, None
    ]
    numbers = torch.where(there, kind, -1)[:, None]
    scores = DetectionScores(classes, 0.5, 0.5)
    scores.update(found, {"row": torch.arange(IMAGES), "boxes": truth, "box_classes": numbers})
    return scores


def masks(count):
    mask = has(count).float()[:, None, None, None] * (torch.arange(36).reshape(1, 1, 6, 6) < 12)
    logits = mask * 2 - 1 + torch.randn(mask.shape, generator=torch.Generator().manual_seed(0)) * 2
    scores = SegmentationScores(["lesion"], torch.sigmoid)
    scores.update(logits, {"mask": mask, "row": torch.arange(IMAGES)})
    return scores


def intervals(scores, groups=None):
    return scores.estimates(groups, 200, 0)


@pytest.mark.parametrize("count", [1, FEWEST - 1])
@pytest.mark.parametrize(
    ("make", "names", "others"),
    [
        (boxes, ("map", "map_50", "froc", "sensitivity_at_1_fp"), ()),
        (masks, ("dice_positives", "sensitivity", "auroc", "auprc"), ("dice", "specificity", "accuracy")),
    ],
)
def test_scores_that_rest_on_few_images_have_no_interval(make, names, others, count):
    found = intervals(make(count))
    for name in names:
        assert np.isnan(found[name].low), name
        assert found[name].reason.startswith(f"no interval: it rests on {count} of a kind"), name
    for name in others:
        assert not np.isnan(found[name].low), name
    enough = intervals(make(FEWEST + 3))
    assert all(not np.isnan(enough[name].low) for name in (*names, *others))


@pytest.mark.parametrize("make", [boxes, masks])
def test_images_of_few_patients_are_few(make):
    scores = make(12)
    name = "map_50" if make is boxes else "sensitivity"
    assert not np.isnan(intervals(scores)[name].low)
    groups = [
        f"p{min(image // 6, 4)}" if image >= IMAGES - 12 else f"other{image}" for image in range(IMAGES)
    ]
    assert "rests on 2 of a kind" in intervals(scores, groups)[name].reason


def test_a_rare_class_of_boxes_takes_the_mean_with_it():
    found = intervals(boxes(2, ("common", "rare")))
    assert "rests on 2" in found["map_50/rare"].reason
    assert np.isnan(found["map_50"].low)


def test_where_all_images_have_it_there_is_an_interval_however_few_they_are():
    found = bootstrap([mean_of("report", np.array([0.1, 0.5, 0.9]), "none has")], 3, resamples=200)
    assert not np.isnan(found["report"].low)
    values = np.full(IMAGES, np.nan)
    values[:2] = 0.1, 0.9
    found = bootstrap([mean_of("report", values, "none has")], IMAGES, resamples=200)
    assert "rests on 2 of a kind" in found["report"].reason


def test_boxes_are_scored_domain_by_domain_too():
    scores = boxes(12)
    rows = np.arange(IMAGES - 12, IMAGES)
    some = scores.of_rows(rows)
    assert some.rows().tolist() == rows.tolist()
    assert len(some.table()) == 12
    alone = boxes(12)
    alone._images = {row: alone._images[row] for row in rows.tolist()}
    assert some.metrics() == alone.metrics()
    assert len(scores.rows()) == IMAGES  # the others are still there


def test_finding_no_more_than_guessing_is_said():
    names = ("image_to_text_recall_at_5", "text_to_image_recall_at_5")
    metrics = [metric_named(name, "image-text") for name in names]
    said = no_better_than_baselines(metrics, {names[0]: 0.2, names[1]: 0.4, "chance_recall_at_5": 0.25})
    assert said == ["recall at 5, reports by image 0.200 is below the 0.250 of guessing"]


@pytest.mark.parametrize(
    ("metric", "scores", "guessing", "wins"),
    [
        ("accuracy", [0.70, 0.66], 0.7, False),
        ("accuracy", [0.75, 0.66], 0.7, True),
        ("image_to_text_recall_at_5", [0.1, 0.09], 0.1, False),
        ("map_50", [0.0, 0.0], None, False),
        ("froc", [0.0004, 0.0], None, False),
        ("auroc/covid", [0.5, 0.48], None, False),
        ("map", [0.2, 0.1], None, True),
    ],
)
def test_nothing_wins_that_is_no_better_than_guessing(metric, scores, guessing, wins):
    request = Request.of("images", ("full", "linear"), 3, (), {}, None)
    table = pd.DataFrame(
        {"method": ["full", "linear"], "score": scores, "memory_mib": [100.0, 20.0], "pareto": True}
    )
    sentence = _sentence(request, table, Measure(metric, "test", True, "patient", 2, guessing=guessing))
    assert ("scores best" in sentence) == wins
    assert ("better than guessing" in sentence) == (not wins)
