"""The task 'anomaly': which images are normal, the threshold, and scores of pixels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import auc, roc_auc_score, roc_curve

from modicum.data.manifest import Manifest
from modicum.data.splits import check_splits
from modicum.errors import InputError
from modicum.tasks.anomaly.groups import normal_and_groups
from modicum.tasks.anomaly.pixels import LIMIT, MapSums, pixel_statistic
from modicum.tasks.anomaly.task import Anomaly, AnomalyOptions, learns_from_normal
from modicum.tasks.anomaly.threshold import Threshold, threshold_of_normals


def manifest(labels=None, splits=None) -> Manifest:
    count = len(labels or splits)
    table = {"image": [f"{i}.png" for i in range(count)]}
    if labels is not None:
        table["label"] = labels
    if splits is not None:
        table["split"] = splits
    return Manifest(pd.DataFrame(table), root=Path(), source="t.csv")


@pytest.mark.parametrize(
    ("classes", "given", "normal"),
    [
        (["0", "1", "2"], None, ("0",)),
        (["covid", "normal"], None, ("normal",)),
        (["good"], None, ("good",)),
        (["a", "b"], "b", ("b",)),
        (["a", "b", "c"], ["a", "b"], ("a", "b")),
    ],
)
def test_the_normal_class_is_the_one_that_reads_so(classes, given, normal):
    found, groups, note = normal_and_groups(classes, given)
    assert found == normal
    assert set(groups) == set(classes) - set(normal)
    assert "normal: " in note


@pytest.mark.parametrize(
    ("classes", "given", "words"),
    [
        (["a", "b"], None, "none reads as normal.*--set normal=a"),
        (["healthy", "normal", "ill"], None, "several read as normal"),
        (["a", "b"], "c", "normal class 'c' is no label"),
    ],
)
def test_where_nothing_says_it_the_user_is_asked(classes, given, words):
    with pytest.raises(InputError, match=words):
        normal_and_groups(classes, given)


def test_targets_name_groups_and_unseen_classes_are_abnormal():
    task = Anomaly.from_manifest(manifest(["0", "2", "1", "0"]), {})
    found = task.targets(manifest(["0", "2", "1", "4"]))
    assert found["label"].tolist() == [0, 1, 1, 1]
    assert found["groups"].tolist() == [[0, 0], [0, 1], [1, 0], [0, 0]]
    assert learns_from_normal(found).tolist() == [True, False, False, False]
    again = Anomaly.from_dict(task.to_dict())
    assert again.to_dict() == task.to_dict()


def test_images_without_labels_are_all_normal_and_later_ones_may_have_some():
    task = Anomaly.from_manifest(manifest(splits=["train"] * 3), {})
    assert "all are taken as normal" in task.notes[0]
    assert not task.targets(manifest(splits=["test"] * 2))["label"].any()
    assert task.targets(manifest(["ill", "healthy"]))["label"].tolist() == [1, 0]
    with pytest.raises(InputError, match="all labels are 'ill'"):
        task.targets(manifest(["ill", "ill"]))


def test_training_images_of_one_class_are_enough_for_this_task_alone():
    rows = manifest(["normal", "normal", "normal", "ill"], ["train", "train", "val", "test"])
    check_splits(rows, one_class=Anomaly.one_class)
    with pytest.raises(InputError, match="all training images have the label 'normal'"):
        check_splits(rows)


def test_no_normal_image_to_learn_from_is_refused_and_few_to_choose_by_are_told():
    ill = manifest(["ill", "ill", "healthy"], ["train", "train", "test"])
    with pytest.raises(InputError, match="none of the 2 training images is normal"):
        Anomaly.from_manifest(ill, {}).cautions(ill)
    few = manifest(["healthy", "healthy", "ill"], ["train", "val", "val"])
    assert "1 normal image in val" in Anomaly.from_manifest(few, {}).cautions(few)[0]


def test_a_supervised_method_needs_abnormal_images():
    with pytest.raises(InputError, match="all training images are normal"):
        Anomaly().loss({"label": np.zeros(4, int)}, {})
    loss = Anomaly().loss({"label": np.array([0, 1])}, {})
    outputs, label = torch.tensor([[0.0], [0.0]]), torch.tensor([0, 1])
    assert loss(outputs, {"label": label}).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("specificity", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_threshold_leaves_the_share_of_normal_images_below_and_no_more_than_needed(specificity, count):
    scores = np.random.default_rng(count).normal(size=count)
    found = threshold_of_normals(scores, specificity)
    assert (scores < found.value).mean() >= specificity
    assert (scores < found.value).sum() == np.ceil(specificity * count - 1e-9)
    assert threshold_of_normals(np.array([np.nan]), 0.9) == Threshold()


def test_the_threshold_is_chosen_on_normal_images_alone():
    task = Anomaly(("n",), ("a",), AnomalyOptions(specificity=0.9, output="logit"))
    for abnormal in (-50.0, 50.0):
        scores = task.scores()
        logits = torch.cat([torch.arange(10.0), torch.full((5,), abnormal)])[:, None]
        label = torch.tensor([0] * 10 + [1] * 5)
        scores.update(logits, {"row": torch.arange(15), "label": label, "groups": label[:, None]})
        chosen = task.calibrated(scores)
        assert chosen.threshold.value == pytest.approx(
            (torch.tensor([8.0, 9.0]).double().sigmoid().mean()).item()
        )
        assert chosen.threshold.images == 10
    assert not Anomaly(options=AnomalyOptions(threshold=0.3)).calibrates


def test_scores_by_group_and_what_is_not_finite_counts_as_abnormal():
    task = Anomaly(("0",), ("1", "2"), threshold=Threshold(2.5, "given"))
    label = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    values = torch.tensor([0.0, 1, 2, 3, 1.5, 2.6, 4, torch.nan])
    groups = torch.stack([label == 1, label == 2], 1)
    scores = task.scores()
    scores.update(values[:, None], {"row": torch.arange(8), "label": label > 0, "groups": groups})
    found = scores.metrics()
    normal = values[:4].numpy()
    assert found["auroc/1"] == pytest.approx(roc_auc_score([0] * 4 + [1] * 2, [*normal, 1.5, 2.6]))
    assert found["auroc/2"] == 1
    assert found["auroc"] == pytest.approx(roc_auc_score([0] * 4 + [1] * 4, [*normal, 1.5, 2.6, 4, 9]))
    assert found["specificity"] == 0.75
    assert found["sensitivity/1"] == 0.5
    assert found["sensitivity"] == 0.75
    table = scores.table()
    assert table["truth"].tolist() == ["0"] * 4 + ["1", "1", "2", "2"]
    assert table["prediction"].isna().tolist() == [False] * 7 + [True]
    worst = task.examples(scores, 4)
    assert [one.row for one in worst[:2]] == [4, 3], "the lowest abnormal, the highest normal image"


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maps():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(6):
        mask = np.zeros((24, 24), bool)
        mask[4:7, 4:7] = mask[10:20, 12:16] = True
        found.append((np.clip(0.2 * mask + generator.uniform(0, 0.8, mask.shape), 0, 1), mask))
    found.append((generator.uniform(0, 0.8, (24, 24)), None))
    return found


def test_pixel_scores_are_those_of_the_definitions(maps):
    statistic = pixel_statistic([MapSums.of(values, mask) for values, mask in maps])
    found = {name: float(v[0]) for name, v in statistic.values(np.ones((len(maps), 1))).items()}
    values = np.concatenate([v.ravel() for v, _ in maps])
    truth = np.concatenate([np.zeros(v.size) if m is None else m.ravel() for v, m in maps])
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=2e-3)
    assert found["pro"] == pytest.approx(_overlap(maps, values, truth), abs=1e-2)


def _overlap(maps, values, truth) -> float:
    """Per-region overlap by its definition: a threshold at a time."""
    rate, _, thresholds = roc_curve(truth, values, drop_intermediate=False)
    regions = [v[s] for v, m in maps if m is not None for s in (np.s_[4:7, 4:7], np.s_[10:20, 12:16])]
    mean = np.mean([[(region >= t).mean() for t in thresholds] for region in regions], axis=0)
    inside = rate <= LIMIT
    return auc([*rate[inside], LIMIT], [*mean[inside], np.interp(LIMIT, rate, mean)]) / LIMIT


def test_pixel_scores_of_images_without_marks_are_not_defined():
    statistic = pixel_statistic([MapSums.of(np.ones((4, 4)), None), None])
    assert np.isnan(statistic.values(np.ones((2, 1)))["pixel_auroc"][0])
