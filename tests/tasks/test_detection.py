"""Detection's metrics against cases computed by hand and torchmetrics' own code; what the task refuses."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from modicum.data.boxes.source import BoxSource
from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks.detection.matching import IOUS, box_overlaps, matches
from modicum.tasks.detection.scores import DetectionScores
from modicum.tasks.detection.shown_boxes import ShownFrom, best_by_f1
from modicum.tasks.detection.task import Detection


def scored(images, classes=("lesion",), overlap=0.5, threshold=0.5, annotated=None):
    """Scores of images, each its found boxes (x0, y0, x1, y1, score, class) and its true ones (..., class)."""
    scores = DetectionScores(classes, overlap, threshold)
    most = (
        max((len(found) for found, _ in images), default=0),
        max((len(true) for _, true in images), default=0),
    )
    outputs = torch.full((len(images), most[0] + 1, 6), torch.nan)
    boxes = torch.full((len(images), most[1], 4), torch.nan)
    numbers = torch.full((len(images), most[1]), -1)
    for row, (found, true) in enumerate(images):
        if found:
            outputs[row, : len(found)] = torch.tensor(found, dtype=torch.float32)
        if true:
            boxes[row, : len(true)] = torch.tensor(true, dtype=torch.float32)[:, :4]
            numbers[row, : len(true)] = torch.tensor(true)[:, 4].long()
    batch = {"boxes": boxes, "box_classes": numbers, "row": torch.arange(len(images))}
    if annotated is not None:
        batch["annotated"] = torch.tensor(annotated)
    scores.update(outputs, batch)
    return scores


TRUE = (0, 0, 10, 10, 0)
OTHER = (50, 50, 60, 60, 0)


def hit(score, kind=0):
    return (0, 0, 10, 10, score, kind)


def miss(score, kind=0):
    return (80, 80, 90, 90, score, kind)


# --- which detections hit ---------------------------------------------------------------------------------------------


def test_overlap_is_intersection_over_union():
    first = np.array([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    second = np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    assert box_overlaps(first, second).tolist() == [[50 / 150, 0], [0, 0]]


def test_a_true_box_is_hit_once_by_the_highest_score():
    found, true = np.array([hit(0.5), hit(0.9)]), np.array([TRUE], float)
    assert matches(found, true, (0.5,)).tolist() == [[-1, 0]]


def test_a_detection_takes_the_free_box_that_it_overlaps_most():
    true = np.array([[0, 0, 10, 10, 0], [0, 0, 10, 14, 0]], float)
    found = np.array([[0, 0, 10, 13, 0.9, 0], [0, 0, 10, 12, 0.8, 0]])
    assert matches(found, true, (0.5,)).tolist() == [[1, 0]]


def test_another_class_is_no_hit():
    assert matches(np.array([hit(0.9, 1)]), np.array([TRUE], float), (0.5,)).tolist() == [[-1]]


def test_an_overlap_of_six_tenths_hits_at_three_of_cocos_ten():
    found = np.array([[0, 0, 10, 6, 0.9, 0]])
    assert (matches(found, np.array([TRUE], float)) >= 0).sum() == 3
    assert IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


# --- average precision ------------------------------------------------------------------------------------------------


def test_all_right_is_one_and_nothing_found_is_zero():
    assert scored([([hit(0.9)], [TRUE])]).metrics()["map"] == 1
    assert scored([([], [TRUE])]).metrics()["map"] == 0
    assert scored([([], [TRUE])]).metrics()["froc"] == 0


def test_average_precision_by_hand():
    """Hit, miss, hit over two true boxes: precision 1 up to recall 1/2 (51 of 101 points), then 2/3."""
    images = [([hit(0.9), miss(0.8)], [TRUE]), ([hit(0.7)], [TRUE])]
    assert scored(images).metrics()["map_50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_false_positive_below_the_last_hit_costs_nothing():
    assert scored([([hit(0.9), miss(0.1)], [TRUE])]).metrics()["map_50"] == 1


def test_of_several_classes_it_is_the_mean_over_those_that_are_there():
    images = [([hit(0.9, 0), miss(0.8, 1)], [TRUE, (*OTHER[:4], 1)])]
    found = scored(images, ("dark", "bright", "absent")).metrics()
    assert (found["map_50/dark"], found["map_50/bright"], found["map_50"]) == (1, 0, 0.5)
    assert math.isnan(found["map_50/absent"])


@pytest.mark.parametrize("seed", range(6))
def test_it_is_torchmetrics(seed, monkeypatch):
    """Against torchmetrics' own code of COCO's evaluation, which needs no further library."""
    from torchmetrics.detection import _mean_ap

    class Reference(_mean_ap.MeanAveragePrecision):
        def _get_safe_item_values(self, item):
            return item["boxes"]

    def areas(boxes, iou_type):
        return (boxes := torch.stack(boxes))[:, 2:].sub(boxes[:, :2]).prod(1) if boxes else torch.zeros(0)

    monkeypatch.setattr(_mean_ap, "_PYCOCOTOOLS_AVAILABLE", True)  # which only masks need
    monkeypatch.setattr(_mean_ap, "compute_area", areas)
    rng = np.random.default_rng(seed)
    images, metric = [], Reference(class_metrics=True)
    for _ in range(6):
        corners = rng.uniform(0, 80, (rng.integers(1, 5), 2))
        true = np.concatenate([corners, corners + rng.uniform(8, 30, corners.shape)], 1)
        kinds = rng.integers(0, 2, len(true))
        chosen = rng.integers(0, len(true), rng.integers(0, 8))
        found = true[chosen] + rng.normal(0, 2.5, (len(chosen), 4))
        guess = np.where(rng.random(len(chosen)) < 0.8, kinds[chosen], 1 - kinds[chosen])
        sure = rng.permutation(1000)[: len(chosen)] / 1000
        images.append(
            (np.column_stack([found, sure, guess]).tolist(), np.column_stack([true, kinds]).tolist())
        )
        boxes = torch.tensor(found).float().reshape(-1, 4)
        metric.update(
            [{"boxes": boxes, "scores": torch.tensor(sure).float(), "labels": torch.tensor(guess)}],
            [{"boxes": torch.tensor(true).float(), "labels": torch.tensor(kinds)}],
        )
    expected, found = metric.compute(), scored(images, ("a", "b")).metrics()
    for ours, theirs in (("map", "map"), ("map_50", "map_50"), ("map_75", "map_75")):
        assert found[ours] == pytest.approx(float(expected[theirs]), abs=1e-6)


# --- FROC -------------------------------------------------------------------------------------------------------------


def test_froc_by_hand():
    """Two images, three true boxes: from .9 on a hit; from .7 on two false ones (1 an image); from .5 on three hits."""
    images = [
        ([hit(0.9), miss(0.8), (*OTHER[:4], 0.6, 0)], [TRUE, OTHER]),
        ([miss(0.7), hit(0.5)], [TRUE]),
    ]
    found = scored(images).metrics()
    assert found["sensitivity_at_0.125_fp"] == found["sensitivity_at_0.25_fp"] == pytest.approx(1 / 3)
    assert found["sensitivity_at_0.5_fp"] == pytest.approx(1 / 3)
    assert found["sensitivity_at_1_fp"] == found["sensitivity_at_8_fp"] == 1
    assert found["froc"] == pytest.approx((3 / 3 + 4) / 7)


def test_equal_scores_are_above_a_threshold_together():
    """One hit and one false positive of one score: no threshold gives the hit alone."""
    found = scored([([hit(0.5), miss(0.5)], [TRUE])]).metrics()
    assert (found["sensitivity_at_0.5_fp"], found["sensitivity_at_1_fp"]) == (0, 1)


def test_images_without_boxes_count_as_images():
    images = [([hit(0.9), miss(0.95)], [TRUE]), ([], []), ([], []), ([], [])]
    found = scored(images).metrics()
    assert (found["sensitivity_at_0.125_fp"], found["sensitivity_at_0.25_fp"]) == (0, 1)


# --- intervals, tables, processes -------------------------------------------------------------------------------------


def test_intervals_are_by_patient_and_hold_the_value():
    rng = np.random.default_rng(0)
    images = [([hit(s) if rng.random() < 0.6 else miss(s)], [TRUE]) for s in rng.random(40)]
    wide = scored(images).estimates([str(i // 10) for i in range(40)], 300, 0)
    narrow = scored(images).estimates([str(i) for i in range(40)], 300, 0)
    for name in ("map", "map_50", "froc"):
        assert wide[name].low <= wide[name].value <= wide[name].high
    assert wide["map_50"].high - wide["map_50"].low != narrow["map_50"].high - narrow["map_50"].low
    none = scored(images).estimates(None, 0, 0)
    assert none["map_50"].value == wide["map_50"].value


def test_a_resample_is_the_data_it_is_made_of():
    """An image counted twice is the image there twice."""
    first, second = ([hit(0.9), miss(0.95)], [TRUE]), ([miss(0.5)], [TRUE, OTHER])
    statistics = scored([first, second])._statistics()
    doubled = scored([first, first, second]).metrics()
    values = {k: v[0] for one in statistics for k, v in one.values(np.array([[2.0], [1.0]])).items()}
    for name, value in values.items():
        assert value == pytest.approx(doubled[name]), name


def test_parts_of_two_processes_are_the_whole():
    images = [([hit(0.9), miss(0.8)], [TRUE]), ([hit(0.7)], [TRUE])]
    whole, parts = scored(images), [scored(images[:1]), scored(images[1:])]
    parts[1]._images = {1: parts[1]._images[0]}
    merged = DetectionScores(("lesion",), 0.5, 0.5)
    merged.merge(parts)
    assert merged.metrics() == whole.metrics()


def test_the_table_counts_boxes_of_each_image():
    table = scored([([hit(0.9), miss(0.8), miss(0.2)], [TRUE, OTHER]), ([], [])]).table()
    assert table.iloc[0].tolist() == [2, 2, 1, pytest.approx(0.9)]
    assert table.iloc[1, :3].tolist() == [0, 0, 0]
    assert math.isnan(table.iloc[1, 3])


def test_images_of_which_nothing_is_said_are_not_scored():
    scores = scored([([hit(0.9)], [TRUE]), ([miss(0.95)], [])], annotated=[True, False])
    assert scores.rows().tolist() == [0]
    assert scores.metrics()["map"] == 1


def test_without_annotated_images_nothing_is_measured():
    scores = scored([([miss(0.95)], [])], annotated=[False])
    assert all(math.isnan(value) for value in scores.metrics().values())
    estimates = scores.estimates(None, 10, 0)
    assert {one.reason for one in estimates.values()} == {"no image has its boxes named"}
    assert scores.examples(4) == []


def test_pictures_show_what_is_right_wrong_and_missed():
    task = Detection(["lesion"])
    picture = np.zeros((100, 100, 3), np.uint8)
    found, true = np.array([hit(0.9), miss(0.8), miss(0.1)]), np.array([TRUE, OTHER], float)
    drawn = task.render(picture, found, true)
    assert list(drawn) == ["image", "prediction", "truth"]
    colours = [{tuple(c) for c in one.reshape(-1, 3).tolist()} - {(0, 0, 0)} for one in drawn.values()]
    assert [len(one) for one in colours] == [0, 2, 2]


# --- the task ---------------------------------------------------------------------------------------------------------


def _manifest(tmp_path, cells):
    return Manifest(
        pd.DataFrame({"image": [f"{i}.png" for i in range(len(cells))], "boxes": cells}), tmp_path, "t.csv"
    )


def test_classes_are_those_of_boxes_and_rows_without_a_word_are_counted(tmp_path):
    some = '{"boxes": [[1, 2, 3, 4], [1, 2, 5, 6]], "classes": ["b", "a"]}'
    task = Detection.from_manifest(_manifest(tmp_path, [some, "[]", np.nan]), {})
    assert task.classes == ["a", "b"]
    assert task.targets(_manifest(tmp_path, [some, "[]", np.nan]))["annotated"].tolist() == [
        True,
        True,
        False,
    ]
    assert "of 1 images nothing is said" in task.notes[0]
    assert Detection.from_dict(task.to_dict()).classes == task.classes


def test_classes_named_by_the_user_are_refused(tmp_path):
    with pytest.raises(InputError, match="--classes with detection"):
        Detection.from_manifest(_manifest(tmp_path, ["[[1, 2, 3, 4]]"]), {"classes": ["a"]})


@pytest.mark.parametrize("cells", [[np.nan, np.nan], ["[]", "[]"]])
def test_data_without_boxes_are_refused(tmp_path, cells):
    with pytest.raises(
        InputError, match="learns from boxes, and the data have none; name their column or file"
    ):
        Detection.from_manifest(_manifest(tmp_path, cells), {})


def _source(names, classes):
    count = len(classes)
    return BoxSource(np.zeros((count, 4), np.float32), np.array(classes), None, np.array([0, count]), names)


def test_classes_of_other_data_have_the_runs_numbers():
    assert _source(("b",), [0, 0]).with_classes(("a", "b")).classes.tolist() == [1, 1]
    assert _source((), [0, 0]).with_classes(("object",)).classes.tolist() == [0, 0]


def test_a_class_that_the_run_does_not_know_is_refused():
    with pytest.raises(InputError, match="boxes are of class 'c', and known are a, b"):
        _source(("c",), [0]).with_classes(("a", "b"))
    with pytest.raises(InputError, match="the boxes have no classes, and there are several"):
        _source((), [0]).with_classes(("a", "b"))


# --- from which score on boxes are shown ------------------------------------------------------------------------------


def test_boxes_are_shown_from_the_score_with_the_best_f1_of_the_validation_images():
    """F1 from 0.9 on: 2 * 1 / (1 + 2); from 0.3 on, 2 * 2 / (3 + 2), the best; from 0.1 on, 2 * 2 / (4 + 2)."""
    second = (50, 50, 60, 60, 0.3, 0)
    of_val = scored([([hit(0.9), miss(0.5), second, miss(0.1)], [TRUE, OTHER])])
    task = Detection(["lesion"])
    assert task.calibrates == "show_above"
    assert not task.needs_calibration
    chosen = task.calibrated(of_val)
    assert chosen.shown_from.value == pytest.approx(0.2)
    assert (chosen.shown_from.source, chosen.shown_from.boxes) == ("validation", 2)
    assert "0.200" in chosen.notes[0]
    assert "2 boxes" in chosen.notes[0]
    assert Detection.from_dict(chosen.to_dict()).shown_from == chosen.shown_from
    read = chosen.scores()
    read.merge([of_val])
    assert read.table()[["true_boxes", "found_boxes", "hits"]].to_numpy().tolist() == [[2, 3, 2]]


def test_the_best_f1_is_what_trying_every_score_gives():
    generator = np.random.default_rng(0)
    for _ in range(50):
        values, right = generator.integers(1, 9, 20) / 10, generator.random(20) < 0.4
        true = int(right.sum()) + int(generator.integers(0, 5))
        if not right.any():
            continue
        tried = [2 * right[values >= t].sum() / ((values >= t).sum() + true) for t in np.unique(values)]
        shown = values >= best_by_f1(values, right, true).value
        assert 2 * right[shown].sum() / (shown.sum() + true) == pytest.approx(max(tried))


def test_nothing_is_chosen_where_no_box_hits_or_the_user_has_chosen():
    assert Detection(["lesion"]).calibrated(scored([([miss(0.9)], [TRUE])])).shown_from == ShownFrom()
    assert Detection(["lesion"]).calibrated(scored([([], [])])).shown_from == ShownFrom()
    given = Detection.from_options({"show_above": 0.7}, 1)
    assert given.calibrates == ""
    assert given.shown_from == ShownFrom(0.7, "given")


def test_a_run_of_an_earlier_version_shows_boxes_as_it_did():
    stored = Detection(["lesion"], Detection.from_options({"show_above": 0.5}, 1).options).to_dict()
    del stored["shown_from"]
    assert Detection.from_dict(stored).shown_from.value == 0.5


@pytest.mark.parametrize("value", ["x", None, float("nan")])
def test_a_damaged_score_to_show_from_is_refused(value):
    stored = Detection(["lesion"]).to_dict()
    stored["shown_from"] = {"value": value, "from": "none", "boxes": 0}
    with pytest.raises(InputError):
        Detection.from_dict(stored)
