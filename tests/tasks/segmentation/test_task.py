"""The segmentation task: what it finds in a manifest, batches, losses, what it writes, and real vessel masks."""

import doctest
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks.segmentation import loss_choice
from modicum.tasks.segmentation.loss_choice import chosen_loss, loss_parts
from modicum.tasks.segmentation.pictures import FALSE_ALARM, HIT, MISS, OPACITY
from modicum.tasks.segmentation.task import Segmentation

CUP_AND_DISC = {"cup": "0-50", "disc": "0-200", "background": "201-255"}


def manifest(folder: Path, **masks: list[np.ndarray | None]) -> Manifest:
    """One row for each mask, with blank cells for None; columns as named, ``masks__x`` for ``masks:x``."""
    rows = len(next(iter(masks.values())))
    table = {"image": [f"{row}.png" for row in range(rows)]}
    for column, pictures in masks.items():
        table[column.replace("__", ":")] = cells = []
        for row, pixels in enumerate(pictures):
            name = None if pixels is None else f"{column}_{row}.png"
            if name:
                Image.fromarray(pixels).save(folder / name)
            cells.append(name)
    return Manifest(pd.DataFrame(table), folder, source="data.csv")


def square(value: int, size: int = 16, inner: int = 8) -> np.ndarray:
    pixels = np.zeros((size, size), np.uint8)
    pixels[:inner, :inner] = value
    return pixels


def test_docstring_examples_run():
    assert doctest.testmod(loss_choice).failed == 0


# What is found


def test_masks_of_two_values_are_one_class_with_one_output(tmp_path):
    task = Segmentation.from_manifest(
        manifest(tmp_path, mask=[square(255), square(0)]), {"classes": ["vessel"]}
    )
    assert (task.kind, task.classes, task.num_outputs, task.monitor) == ("binary", ("vessel",), 1, "dice")


def test_consecutive_values_are_exclusive_classes(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(1), square(2)]), {})
    assert task.kind == "multi-class"
    assert task.num_outputs == 3
    assert task.foreground == ("class 1", "class 2")


@pytest.mark.parametrize(
    ("last", "options", "cautious"), [(14, {}, True), (8, {}, False), (14, {"kind": "binary"}, False)]
)
def test_many_numbers_without_names_may_count_objects(tmp_path, last, options, cautious):
    masks = [square(number) for number in range(1, last + 1)]
    notes = Segmentation.from_manifest(manifest(tmp_path, mask=masks), options).notes
    assert [f"the masks hold numbers up to {last}" in note for note in notes] == [True] * cautious


def test_one_file_a_class_makes_channels_that_may_overlap(tmp_path):
    data = manifest(tmp_path, masks__MA=[square(255), None], masks__EX=[square(1), square(1)])
    task = Segmentation.from_manifest(data, {})
    assert (task.kind, task.classes) == ("multi-label", ("MA", "EX"))
    assert [(part.column, part.required) for part in task.auxiliary_images] == [
        ("masks:MA", False),
        ("masks:EX", False),
        ("fov", False),
    ]
    batch = {
        "masks:MA": torch.from_numpy(square(255))[None, None],
        "masks:EX": torch.from_numpy(square(1, inner=4))[None, None],
        "image": torch.zeros(1, 3, 16, 16),
    }
    assembled = task.assemble(batch)
    assert assembled["mask"].sum((0, 2, 3)).tolist() == [64, 16]
    assert set(assembled) == {"image", "mask", "fov"}


def test_ranges_of_values_are_given_by_the_user(tmp_path):
    pixels = np.full((16, 16), 255, np.uint8)
    pixels[:8], pixels[:4] = 128, 0
    task = Segmentation.from_manifest(
        manifest(tmp_path, mask=[pixels]), {"codes": CUP_AND_DISC, "threshold": 0.75}
    )
    mask = task.ground_truth({"mask": pixels})["mask"]
    assert (task.kind, task.options.threshold) == ("multi-label", 0.75)
    assert mask.sum((1, 2)).tolist() == [64, 128]


@pytest.mark.parametrize(
    ("masks", "options", "words"),
    [
        ({"mask": [square(0)]}, {}, "nothing is marked in any mask"),
        ({"mask": [square(7)]}, {}, "codes 0, 7, which can mean several things"),
        ({"label": [square(1)]}, {}, "no column 'mask' or 'masks:<class>'"),
        ({"masks__MA": [square(1)]}, {"classes": ["EX"]}, "class 'EX' has no column"),
    ],
)
def test_masks_that_say_nothing_are_errors(tmp_path, masks, options, words):
    with pytest.raises(InputError, match=words):
        Segmentation.from_manifest(manifest(tmp_path, **masks), options)


def test_what_a_run_folder_keeps_makes_the_same_task(tmp_path):
    data = manifest(tmp_path, mask=[square(1), square(2)])
    task = Segmentation.from_manifest(data, {"ignored": [255], "loss": "dice"})
    again = Segmentation.from_dict(json.loads(json.dumps(task.to_dict())))
    assert again.to_dict() == task.to_dict()
    assert again.masks == task.masks


# Batches and losses


def test_assembled_batches_count_only_inside_the_field_of_view_and_where_the_code_counts(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(1), square(2)]), {"ignored": [255]})
    codes = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8)[None, None]
    fov = torch.tensor([[255, 255, 0, 255]], dtype=torch.uint8)[None, None]
    assembled = task.assemble({"mask": codes, "fov": fov})
    assert assembled["fov"].flatten().tolist() == [True, True, False, False]
    assert assembled["mask"].argmax(1).flatten().tolist() == [0, 1, 2, 0]
    assert task.assemble({"image": torch.zeros(1)}).keys() == {"image"}


def test_the_default_loss_is_dice_and_cross_entropy_and_reads_the_batch(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(255)]), {})
    batch = task.assemble({"mask": torch.from_numpy(square(255))[None, None]})
    loss = task.loss({}, {"loss": "auto"})
    # p = 1/2 everywhere, 64 of 256 pixels true.
    expected = math.log(2) + 1 - (2 * 32 + 1) / (256 / 4 + 64 + 1)
    assert loss(torch.zeros(1, 1, 16, 16), batch).item() == pytest.approx(expected)


def test_losses_are_read_from_words():
    assert loss_parts("dice + bce+0.5*cldice") == {"dice": 1, "bce": 1, "cldice": 0.5}
    for words, problem in (
        ("dise", r"there is no loss 'dise'; did you mean 'dice'\?"),
        ("dice+", r"there is no loss '' in 'dice\+'"),
        ("dice+dice", "has 'dice' twice"),
        ("-1*dice", "'-1' is not a factor"),
        ("x*dice", "'x' is not a factor"),
        ("inf*bce", "'inf' is not a factor"),
    ):
        with pytest.raises(InputError, match=problem):
            loss_parts(words)


def test_losses_and_weights_that_do_not_fit_are_refused():
    for exclusive, name in ((True, "bce"), (False, "cross_entropy")):
        with pytest.raises(InputError, match=f"loss '{name}' does not fit"):
            chosen_loss(name, exclusive, ["a", "b"])
    with pytest.raises(InputError, match="class_weights has 3 values for 2 classes"):
        chosen_loss("auto", True, ["background", "a"], [1, 2, 3])
    with pytest.raises(InputError, match="balanced"):
        chosen_loss("auto", True, ["background", "a"], "balanced")
    for settings, problem in (
        ({"loss": "dise"}, "no loss 'dise'"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 has no effect"),
        ({"class_weights": "dynamic"}, "class_weights='dynamic' is not an option of losses of masks"),
    ):
        with pytest.raises(InputError, match=problem):
            Segmentation.validate_loss(settings, {})
    Segmentation.validate_loss({"loss": "2*focal+dice", "class_weights": [1.0, 2.0]}, {"loss": "auto"})
    weighted = chosen_loss("cross_entropy", True, ["background", "a"], [1, 3])
    assert weighted.loss.class_weights.tolist() == [1, 3]


# What is written


def test_probabilities_are_written_as_masks_from_the_threshold_on(tmp_path):
    data = manifest(tmp_path, mask=[square(255)])
    task = Segmentation.from_manifest(data, {"classes": ["vessel"], "threshold": 0.75})
    probabilities = np.array([[[0.7, 0.75, 0.8]]], np.float32)
    assert task.to_file(probabilities).tolist() == [[0, 255, 255]]
    assert task.summary(probabilities, (0.5, 2.0)) == {"area_mm2/vessel": 2}
    assert task.summary(probabilities, None) == {"area_pixels/vessel": 2}


def test_exclusive_classes_are_written_as_their_numbers(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(1), square(2)]), {})
    logits = torch.tensor([[0.0, 3.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 4.0]]).view(3, 1, 3)
    probabilities = task.activate(logits).numpy()
    assert probabilities.sum(0) == pytest.approx(1)
    assert task.to_file(probabilities).tolist() == [[1, 0, 2]]
    assert task.summary(probabilities, None) == {"area_pixels/class 1": 1, "area_pixels/class 2": 1}


def test_pictures_colour_hits_false_alarms_and_misses_inside_the_field_of_view(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(255)]), {})
    truth = {"mask": np.array([[[True, True, False, True]]]), "fov": np.array([[True, True, True, False]])}
    image, said = np.zeros((1, 1, 4), np.float32), np.array([[[1, 0, 1, 0]]], np.float32)
    pictures = task.render(image, said, truth)
    assert list(pictures) == ["image", "prediction", "truth", "differences"]
    expected = [
        np.rint(OPACITY * np.array(colour)).tolist() for colour in (HIT, MISS, FALSE_ALARM, (0, 0, 0))
    ]
    assert pictures["differences"][0].tolist() == expected
    assert list(task.render(image, said, None)) == ["image", "prediction"]


def test_scores_of_a_perfect_prediction_at_its_own_size(tmp_path):
    task = Segmentation.from_manifest(manifest(tmp_path, mask=[square(1), square(2)]), {})
    scores = task.scores()
    for position, value in enumerate((1, 2)):
        truth = task.ground_truth({"mask": square(value)})
        scores.add(position, truth["mask"].astype(np.float32), truth, None)
    found = scores.metrics()
    assert found["dice"] == found["auroc"] == found["accuracy"] == 1
    assert found["hausdorff95"] == found["surface_distance"] == 0


# Real masks


def test_real_vessel_masks_are_one_class_and_other_annotators_agree_with_them(real_images):
    folder = real_images("vessels")
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    task = Segmentation.from_manifest(Manifest(table, folder, source="manifest.csv"), {"classes": ["vessel"]})
    assert task.kind == "binary"
    scores = task.scores()
    twice = table[table["mask_second_annotator"].notna()].head(4)
    for position, row in twice.iterrows():
        first, second = (np.array(Image.open(folder / row[c])) for c in ("mask", "mask_second_annotator"))
        scores.add(position, (second > 0)[None].astype(np.float32), task.ground_truth({"mask": first}), None)
    found = scores.metrics()
    # Two people draw the same vessels, and not the same pixels.
    assert 0.6 < found["dice"] < 0.95
    assert found["specificity"] > 0.95
    assert 0 < found["surface_distance"] < 10
