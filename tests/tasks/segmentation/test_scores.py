"""Scores of segmentations: scikit-learn's answers image by image, conventions, merging, intervals, memory."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score, roc_auc_score

from modicum.errors import InputError
from modicum.tasks.segmentation.metrics import metric_names
from modicum.tasks.segmentation.scores import SegmentationScores
from modicum.tasks.segmentation.surfaces import surface_distances
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions


def binary(threshold: float = 0.5) -> SegmentationScores:
    return SegmentationScores(["vessel"], torch.sigmoid, threshold=threshold)


def exclusive() -> SegmentationScores:
    return SegmentationScores(["lung", "heart"], lambda outputs: outputs.softmax(1), exclusive=True)


def made(images: int, seed: int = 0, side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and masks ``[images, 1, side, side]``; each image has its own share of foreground."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(images, 1, 1, 1, generator=generator)
    mask = (torch.rand(images, 1, side, side, generator=generator) < share).float()
    return 3 * mask - 1.5 + 2 * torch.randn(mask.shape, generator=generator), mask


def collected(scores: SegmentationScores, logits, mask, positions=None, **further) -> SegmentationScores:
    positions = torch.arange(len(mask)) if positions is None else torch.tensor(positions)
    scores.update(logits, {"mask": mask, "row": positions, **further})
    return scores


def certain(mask: torch.Tensor) -> torch.Tensor:
    return 20 * mask - 10


# Against scikit-learn


def test_overlap_is_the_mean_over_images_and_decisions_are_of_all_pixels_together():
    logits, mask = made(5)
    found = collected(binary(), logits, mask).metrics()
    said, was = logits.sigmoid().flatten(1).numpy(), mask.flatten(1).numpy().astype(bool)
    pairs = list(zip(was, said >= 0.5, strict=True))
    assert found["dice"] == pytest.approx(np.mean([f1_score(*pair) for pair in pairs]))
    assert found["iou"] == pytest.approx(np.mean([jaccard_score(*pair) for pair in pairs]))
    was, said = was.ravel(), said.ravel()
    assert found["sensitivity"] == pytest.approx(recall_score(was, said >= 0.5))
    assert found["specificity"] == pytest.approx(recall_score(~was, said < 0.5))
    assert found["accuracy"] == pytest.approx(accuracy_score(was, said >= 0.5))
    assert found["auroc"] == pytest.approx(roc_auc_score(was, said), abs=1e-4)


def test_exclusive_classes_are_averaged_without_the_background():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 12, 12, generator=generator)
    codes = torch.randint(0, 3, (4, 12, 12), generator=generator)
    mask = torch.nn.functional.one_hot(codes, 3).permute(0, 3, 1, 2).float()
    found = collected(exclusive(), logits, mask).metrics()
    predicted = logits.argmax(1)
    for number, name in enumerate(("lung", "heart"), start=1):
        pairs = [
            (c.flatten() == number, p.flatten() == number) for c, p in zip(codes, predicted, strict=True)
        ]
        assert found[f"dice/{name}"] == pytest.approx(np.mean([f1_score(*pair) for pair in pairs]))
        score = logits.softmax(1)[:, number].flatten()
        assert found[f"auroc/{name}"] == pytest.approx(
            roc_auc_score(codes.flatten() == number, score), abs=2e-3
        )
    for metric in ("dice", "iou", "auroc", "auprc", "sensitivity"):
        assert found[metric] == pytest.approx((found[f"{metric}/lung"] + found[f"{metric}/heart"]) / 2)


def test_predictions_begin_at_the_threshold():
    logits, mask = made(3)
    found = collected(binary(0.75), logits, mask).metrics()
    assert found["sensitivity"] == pytest.approx(
        recall_score(mask.flatten(), logits.sigmoid().flatten() >= 0.75)
    )


# The field of view


def test_only_pixels_inside_the_field_of_view_count():
    logits, mask = made(3)
    fov = torch.zeros(3, 1, 24, 24)
    fov[..., :10] = 255
    inside = collected(binary(), logits, mask, fov=fov).metrics()
    cut = collected(binary(), logits[..., :10].contiguous(), mask[..., :10].contiguous()).metrics()
    assert inside == pytest.approx(cut)


def test_an_image_outside_of_its_field_of_view_counts_nowhere():
    logits, mask = made(3)
    fov = torch.ones(3, 1, 24, 24)
    fov[1] = 0
    found = collected(binary(), logits, mask, fov=fov)
    assert found.metrics() == pytest.approx(collected(binary(), logits[[0, 2]], mask[[0, 2]]).metrics())
    assert math.isnan(found.table()["dice"][1])


# Empty images


def test_nothing_where_nothing_is_has_dice_1_and_something_has_0():
    mask = torch.zeros(3, 1, 8, 8)
    mask[2, :, :4] = 1
    said = torch.zeros(3, 1, 8, 8)
    said[1, :, 0, 0] = 1
    said[2, :, :2] = 1
    scores = collected(binary(), certain(said), mask)
    assert scores.table()["dice"].tolist() == pytest.approx([1, 0, 2 / 3])
    found = scores.metrics()
    assert found["dice"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert found["dice_positives"] == pytest.approx(2 / 3)
    assert found["empty"] == pytest.approx(2 / 3)


def test_an_empty_prediction_reaches_the_share_of_empty_images():
    mask = torch.zeros(10, 1, 4, 4)
    mask[:3, :, 0, 0] = 1
    found = collected(binary(), certain(torch.zeros_like(mask)), mask).metrics()
    assert found["dice"] == found["empty"] == pytest.approx(0.7)
    assert found["dice_positives"] == 0


def test_without_the_class_anywhere_what_is_undefined_is_nan_with_a_reason():
    mask = torch.zeros(2, 1, 4, 4)
    estimates = collected(binary(), certain(mask), mask).estimates(None, 100, 0)
    for name in ("auroc", "auprc", "sensitivity", "dice_positives"):
        assert math.isnan(estimates[name].value)
        assert estimates[name].reason
    assert estimates["specificity"].value == estimates["dice"].value == 1


# One image at a time


def test_an_image_added_alone_counts_as_in_a_batch_and_has_distances():
    logits, mask = made(3)
    batch, alone = collected(binary(), logits, mask), binary()
    for index in range(3):
        probabilities = logits[index].sigmoid().numpy()
        probabilities.flags.writeable = False
        alone.add(index, probabilities, {"mask": mask[index].bool().numpy()}, (0.5, 0.25))
    found = alone.metrics()
    assert {name: found[name] for name in batch.metrics()} == pytest.approx(batch.metrics())
    expected = [
        surface_distances((logits[i, 0] > 0).numpy(), mask[i, 0].bool().numpy(), (0.5, 0.25))
        for i in range(3)
    ]
    assert found["hausdorff95"] == pytest.approx(np.mean([pair.hausdorff95 for pair in expected]))
    assert found["surface_distance"] == pytest.approx(np.mean([pair.average for pair in expected]))


def test_areas_and_distances_are_in_millimetres_where_the_spacing_is_known():
    mask, said = np.zeros((1, 20, 30), bool), np.zeros((1, 20, 30), np.float32)
    mask[:, 5:15, 4:5] = True
    said[:, 5:15, 10:12] = 1
    scores = binary()
    scores.add(7, said, {"mask": mask}, (0.5, 2.0))
    row = scores.table().iloc[0]
    assert (row["row"], row["true_area"], row["predicted_area"]) == (7, 10, 20)
    assert (row["true_area_mm2"], row["predicted_area_mm2"]) == (10, 20)
    assert row["distance_unit"] == "mm"
    # Lines in column 4, and 10 and 11: 12 mm from either side, 14 mm from the far column.
    assert row["surface_distance"] == pytest.approx((10 * 12 + 10 * 12 + 10 * 14) / 30)
    assert scores.estimates(None, 0, 0)["hausdorff95"].reason == "in mm"


def test_distances_say_how_many_images_have_none():
    mask = np.zeros((1, 8, 8), bool)
    scores = binary()
    scores.add(0, np.ones((1, 8, 8), np.float32), {"mask": ~mask}, None)
    scores.add(1, np.zeros((1, 8, 8), np.float32), {"mask": ~mask}, None)
    estimate = scores.estimates(None, 10, 0)["hausdorff95"]
    assert estimate.value == 0
    assert estimate.reason.startswith("in pixels; without 1 image where truth or prediction is empty")


def test_distances_in_pixels_and_in_millimetres_are_not_averaged():
    mask = np.ones((1, 8, 8), bool)
    scores = binary()
    for position, spacing in enumerate((None, (1.0, 1.0))):
        scores.add(position, mask.astype(np.float32), {"mask": mask}, spacing)
    estimate = scores.estimates(None, 10, 0)["surface_distance"]
    assert math.isnan(estimate.value)
    assert "spacing" in estimate.reason


# Several processes


def test_merged_scores_are_those_of_one_process_and_a_row_seen_twice_counts_once():
    logits, mask = made(7)
    whole = collected(binary(), logits, mask)
    parts = [collected(binary(), logits[i], mask[i], i) for i in ([0, 2, 4, 6], [1, 3, 5, 0])]
    parts[0].merge([pickle.loads(pickle.dumps(parts[1]))])
    assert parts[0].rows().tolist() == list(range(7))
    assert parts[0].metrics() == pytest.approx(whole.metrics())
    assert parts[0].table().equals(whole.table())


# Intervals


def test_intervals_are_those_of_resampled_patients():
    logits, mask = made(12, seed=3)
    patients = [f"p{index // 3}" for index in range(12)]
    scores = collected(binary(), logits, mask)
    estimate = scores.estimates(patients, 4000, seed=1)
    table = scores.table()
    # By hand: whole patients are drawn, and all their pixels pooled.
    generator = np.random.default_rng(0)
    dice, sensitivity = [], []
    said, was = (logits >= 0).flatten(1).numpy(), mask.flatten(1).numpy().astype(bool)
    for _ in range(4000):
        drawn = (3 * generator.integers(0, 4, 4)[:, None] + np.arange(3)).ravel()
        dice.append(table["dice"].to_numpy()[drawn].mean())
        sensitivity.append((said & was)[drawn].sum() / was[drawn].sum())
    for name, values in (("dice", dice), ("sensitivity", sensitivity)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert estimate[name].low == pytest.approx(low, abs=0.01)
        assert estimate[name].high == pytest.approx(high, abs=0.01)


def test_values_with_intervals_are_the_values_of_the_epoch():
    logits, mask = made(6)
    scores = collected(binary(), logits, mask)
    estimates = scores.estimates(None, 200, 0)
    assert {name: estimate.value for name, estimate in estimates.items()} == pytest.approx(scores.metrics())
    for name in ("dice", "iou", "auroc", "auprc", "sensitivity", "specificity", "accuracy"):
        assert estimates[name].low < estimates[name].value < estimates[name].high


# Memory, names, examples


def test_what_is_kept_of_an_image_does_not_grow_with_its_size():
    sizes = []
    for side in (256, 1024):
        logits, mask = made(1, side=side)
        sizes.append(len(pickle.dumps(collected(binary(), logits, mask)._images[0])))
    assert sizes[1] < 65_536 + 1_000
    assert sizes[1] < 2 * sizes[0]


def test_metrics_have_the_names_that_are_promised():
    logits, mask = made(2)
    assert list(collected(binary(), logits, mask).metrics()) == metric_names(["vessel"], distances=False)
    scores = binary()
    scores.add(0, logits[0].sigmoid().numpy(), {"mask": mask[0].bool().numpy()}, None)
    assert list(scores.metrics()) == metric_names(["vessel"])


def test_directions_of_metrics():
    codes = MaskCodes("multi-label", ("lung", "heart"), {"lung": ((1, 1),), "heart": ((2, 2),)})
    task = Segmentation("multi-label", {"mask": codes}, SegmentationOptions())
    assert task.higher_is_better("dice") is True
    assert task.higher_is_better("hausdorff95/lung") is False
    for name, words in (
        ("dise", "did you mean 'dice'"),
        ("dice/liver", "no class 'liver'"),
        ("empty", "nothing of how good"),
    ):
        with pytest.raises(InputError, match=words):
            task.higher_is_better(name)


def examples_of(images, count):
    """Examples of images, at positions from 10 on, of which each is segmented a row worse than the one before."""
    mask = torch.zeros(images, 1, 20, 10)
    mask[:, :, :10] = 1
    said = mask.clone()
    for index in range(images):
        said[index, :, :index] = 0
    return collected(binary(), certain(said), mask, list(range(10, 10 + images))).examples(count)


def test_examples_are_the_worst_images_then_typical_ones_then_the_best():
    examples = examples_of(9, 4)
    assert [(example.row, example.kind) for example in examples] == [
        (18, "mistake"),
        (17, "mistake"),
        (16, "mistake"),
        (15, "mistake"),
        (14, "typical"),
        (13, "typical"),
        (10, "correct"),
    ]
    assert examples[0].truth == "vessel 100 pixels"


def test_the_worst_of_few_images_are_not_all_of_them():
    assert [(e.row, e.kind) for e in examples_of(5, 8)] == [
        (14, "mistake"),
        (13, "mistake"),
        (12, "mistake"),
        (10, "correct"),
        (11, "correct"),
    ]
    assert [(e.row, e.kind) for e in examples_of(1, 8)] == [(10, "mistake")]
    assert examples_of(0, 8) == []
