"""Boxes around what is marked in masks: the published rule, against counted pixels; and what cannot be right."""

import sys
from contextlib import suppress

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modicum.__main__ import main
from modicum.data.boxes import boxes_around
from modicum.data.boxes.column import given_boxes
from modicum.data.layouts import load_manifest
from modicum.errors import InputError


def _mask(*spots, size=(20, 30), value=255):
    mask = np.zeros(size, np.uint8)
    for left, top, right, bottom in spots:
        mask[top:bottom, left:right] = value
    return mask


def test_a_box_is_one_pixel_wider_to_the_left_and_above():
    assert boxes_around(_mask((5, 4, 9, 6))).tolist() == [[4, 3, 9, 6]]


def test_a_single_pixel_has_a_box_of_two_pixels():
    assert boxes_around(_mask((7, 3, 8, 4))).tolist() == [[6, 2, 8, 4]]


def test_boxes_stay_in_the_frame():
    boxes = boxes_around(_mask((0, 0, 3, 2), (28, 18, 30, 20)))
    assert boxes.tolist() == [[0, 0, 3, 2], [27, 17, 30, 20]]


def test_pixels_that_touch_by_a_corner_belong_together_and_holes_have_no_box():
    corner = _mask((2, 2, 4, 4), (4, 4, 6, 6))
    ring = _mask((2, 2, 12, 12))
    ring[4:10, 4:10] = 0
    assert boxes_around(corner).tolist() == [[1, 1, 6, 6]]
    assert boxes_around(ring).tolist() == [[1, 1, 12, 12]]


def test_noise_of_a_level_is_not_marked_but_a_mask_of_zeros_and_ones_is():
    noisy = np.maximum(_mask((5, 4, 9, 6)), _mask((15, 15, 16, 16), value=1))
    assert boxes_around(noisy).tolist() == [[4, 3, 9, 6]]
    assert boxes_around(_mask((5, 4, 9, 6), value=1)).tolist() == [[4, 3, 9, 6]]


def test_nothing_marked_has_no_box():
    assert boxes_around(np.zeros((4, 5), np.uint8)).shape == (0, 4)
    assert boxes_around(np.zeros((0, 0), np.uint8)).shape == (0, 4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_there_is_a_box_for_each_thing_that_scipy_finds(seed):
    rng = np.random.default_rng(seed)
    mask = np.where(ndimage.gaussian_filter(rng.normal(size=(24, 31)), 1.5) > 0.15, 200, 0).astype(np.uint8)
    outside_filled = ndimage.binary_fill_holes(mask)  # a thing in another's hole has no outer contour
    found, _ = ndimage.label(outside_filled, np.ones((3, 3)))
    expected = [[s[1].start - 1, s[0].start - 1, s[1].stop, s[0].stop] for s in ndimage.find_objects(found)]
    expected = np.clip(np.array(expected).reshape(-1, 4), 0, [31, 24, 31, 24])
    assert sorted(boxes_around(mask).tolist()) == sorted(expected.tolist())


# --- a data set's column ----------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    """Three photographs of 30 x 20: two types of lesions, one type, no masks at all."""
    (tmp_path / "masks").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((20, 30, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "masks/a_ma.png"), _mask((5, 4, 9, 6), (20, 10, 21, 11)))
    cv2.imwrite(str(tmp_path / "masks/a_he.png"), _mask((1, 12, 9, 16)))
    cv2.imwrite(str(tmp_path / "masks/b_he.png"), _mask())
    table = pd.DataFrame(
        {
            "image": ["a.png", "b.png", "c.png"],
            "masks:microaneurysm": ["masks/a_ma.png", "", ""],
            "masks:haemorrhage": ["masks/a_he.png", "masks/b_he.png", ""],
        }
    )
    table.to_csv(tmp_path / "lesions.csv", index=False)
    return tmp_path / "lesions.csv"


def test_boxes_of_masks_have_the_class_of_their_mask(data):
    first, second, third = given_boxes(load_manifest(data, columns={"boxes": "masks"}))
    assert first.class_names == ("microaneurysm", "microaneurysm", "haemorrhage")
    assert first.xyxy.tolist() == [[4, 3, 9, 6], [19, 9, 21, 11], [0, 11, 9, 16]]
    assert first.size == (20, 30)
    assert len(second) == 0
    assert third is None


@pytest.fixture
def inspected(data, capsys, monkeypatch, tmp_path):
    def inspect():
        monkeypatch.chdir(tmp_path)  # where `inspect` leaves its fingerprint
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["modicum", "inspect", str(data), "--boxes", "masks"])
        with suppress(SystemExit):
            main()
        return " ".join("".join(capsys.readouterr()).split())

    return inspect


def test_inspect_counts_boxes_of_masks(inspected):
    assert "3 boxes around what is marked in the masks of 2 images (of 3)" in inspected()


def test_a_folder_of_that_name_is_given_as_a_path(data):
    with pytest.raises(InputError, match="holds no text files"):
        load_manifest(data, columns={"boxes": "./masks"})


def test_data_without_a_mask_a_class_are_refused(data):
    plain = data.with_name("plain.csv")
    pd.DataFrame({"image": ["a.png", "b.png"], "mask": ["masks/a_ma.png", "masks/b_he.png"]}).to_csv(
        plain, index=False
    )
    with pytest.raises(InputError, match="columns masks:CLASS, and there are none"):
        load_manifest(plain, columns={"boxes": "masks"})


def test_masks_of_one_image_with_two_sizes_are_refused(data):
    cv2.imwrite(str(data.with_name("masks") / "a_he.png"), _mask(size=(10, 15)))
    with pytest.raises(InputError, match="row 2: its masks are 15 x 10, 30 x 20 pixels"):
        load_manifest(data, columns={"boxes": "masks"})


def test_a_mask_of_another_size_than_its_image_is_refused(data, inspected):
    for name in ("a_ma", "a_he"):
        cv2.imwrite(str(data.with_name("masks") / f"{name}.png"), _mask((5, 4, 9, 6), size=(10, 15)))
    assert "said to be 15 x 10 pixels, and it is 30 x 20" in inspected()
