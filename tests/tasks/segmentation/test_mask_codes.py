"""Codes of masks: the published optic disc and cup set, worked examples, round trips, and what is refused."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.tasks.segmentation import meanings
from modicum.tasks.segmentation.meanings import codes_seen, found_codes, named_codes, ranges_of
from modicum.tasks.segmentation.targets import MaskCodes, written_mask

CUP_AND_DISC = {"cup": "0-50", "disc": "0-200", "background": "201-255"}


def mask(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_docstring_examples_run():
    assert doctest.testmod(meanings).failed == 0


# The optic disc and cup set


def test_the_disc_includes_the_cup_in_the_published_grey_levels():
    side = np.full((256, 256), 255, np.uint8)
    side[64:192, 64:192] = 128
    side[100:150, 100:150] = 0
    codes = named_codes(CUP_AND_DISC)
    channels, counted = codes.channels(side)
    assert codes.kind == "multi-label"
    assert codes.classes == ("cup", "disc")
    assert channels.sum((1, 2)).tolist() == [2500, 16384]
    assert counted.all()


def test_borders_of_the_published_ranges_belong_to_cup_rim_and_background():
    channels, _ = named_codes(CUP_AND_DISC).channels(mask([0, 50, 51, 200, 201, 255]))
    assert channels[:, 0].T.tolist() == [[True, True]] * 2 + [[False, True]] * 2 + [[False, False]] * 2


# What codes mean without being told


@pytest.mark.parametrize("seen", [{0, 255}, {0, 1}])
def test_two_codes_are_one_class(seen):
    codes = found_codes(seen)
    channels, _ = codes.channels(mask([0, max(seen)], [0, 0]))
    assert (codes.kind, codes.foreground) == ("binary", ("foreground",))
    assert channels.tolist() == [[[False, True], [False, False]]]


def test_consecutive_codes_are_exclusive_classes_with_the_background_first():
    codes = found_codes({0, 1, 2})
    assert codes.classes == ("background", "class 1", "class 2")
    assert codes.foreground == ("class 1", "class 2")
    channels, _ = codes.channels(mask([0, 1, 2, 1]))
    assert channels[:, 0].tolist() == [
        [True, False, False, False],
        [False, True, False, True],
        [False, False, True, False],
    ]


def test_named_classes_are_of_codes_1_2_3_whether_or_not_the_background_is_named():
    for names in (["lung", "heart"], ["background", "lung", "heart"]):
        assert found_codes({0, 2}, names).classes == ("background", "lung", "heart")
    assert found_codes({0, 255}, ["vessel"]).foreground == ("vessel",)


@pytest.mark.parametrize(
    ("seen", "classes", "kind", "words"),
    [
        ({0, 255, 128}, (), None, "codes 0, 128, 255, which can mean several things"),
        ({0, 3}, (), None, "can mean several things"),
        ({0, 1, 2, 3}, ["a", "b"], None, "code 3, but 2 foreground classes are named"),
        ({0}, (), None, "nothing is marked"),
        (set(), (), None, "nothing is marked"),
        ({0, 1}, (), "multi-label", "needs to know the codes of each class"),
        ({0, 1}, ["a", "b"], "binary", "kind 'binary' with classes a, b"),
    ],
)
def test_codes_that_can_mean_several_things_are_for_the_user_to_say(seen, classes, kind, words):
    with pytest.raises(InputError, match=words):
        found_codes(seen, classes, kind)


def test_binary_by_word_takes_every_code_but_0():
    channels, _ = found_codes({0, 7, 255}, kind="binary").channels(mask([0, 7, 254, 255]))
    assert channels[0, 0].tolist() == [False, True, True, True]


def test_codes_of_a_set_of_masks_are_seen_once():
    assert codes_seen([mask([0, 255]), mask([0, 0], [3, 3])]) == {0, 3, 255}


# What a user writes


def test_overlap_makes_a_set_multi_label_and_none_multi_class():
    assert named_codes({"large": 255, "faz": 100}).kind == "multi-class"
    assert named_codes({"large": 255, "faz": 100}).classes == ("background", "large", "faz")
    assert named_codes({"large": "1-9", "any": "1-200"}).kind == "multi-label"
    assert named_codes({"vessel": [1, 255]}).kind == "binary"


@pytest.mark.parametrize("value", ["x", "5-2", "0-300", -1, "1-2-3", [1, "y"], 256, ""])
def test_what_is_no_range_is_refused(value):
    with pytest.raises(InputError, match="is not a code or a range"):
        ranges_of(value)


def test_exclusive_classes_that_share_a_code_are_refused():
    with pytest.raises(InputError, match="code 4 of the masks has two meanings"):
        named_codes({"a": "1-4", "b": "4-6"}, kind="multi-class")


def test_a_class_without_codes_is_refused():
    with pytest.raises(InputError, match="class 'b' has no codes"):
        named_codes({"a": 1}, kind="multi-label", classes=["a", "b"])


# Checks of a file


def test_an_unknown_code_is_an_error_that_names_the_file_the_value_and_the_remedy():
    codes = found_codes({0, 255})
    resized = mask([0, 0, 17, 255, 240, 17])
    with pytest.raises(InputError) as raised:
        codes.channels(resized, "data.csv row 17: mask 'a.png'")
    assert str(raised.value).startswith("data.csv row 17: mask 'a.png' has pixels of code 17, 240,")
    assert "ignored" in raised.value.remedy


def test_an_empty_mask_is_fine():
    channels, counted = found_codes({0, 255}).channels(mask([0, 0]))
    assert not channels.any()
    assert counted.all()


def test_ignored_codes_count_nowhere():
    codes = named_codes({"a": 1, "b": 2}, ignored=255)
    channels, counted = codes.channels(mask([0, 1, 2, 255]))
    assert counted[0].tolist() == [True, True, True, False]
    assert not channels[:, 0, 3].any()


def test_ignored_codes_say_nothing_of_the_classes():
    codes = found_codes({0, 1, 2, 255}, ignored=[255])
    assert codes.classes == ("background", "class 1", "class 2")
    assert not codes.counted[255]
    binary = found_codes({0, 9, 255}, kind="binary", ignored=[255])
    assert binary.table[:, 0].sum() == 254
    assert binary.counted.sum() == 255


# On tensors


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.parametrize(
    "codes",
    [
        found_codes({0, 255}),
        found_codes({0, 3}, kind="binary"),
        named_codes({"a": 1, "b": 2}, ignored=255),
        named_codes(CUP_AND_DISC, ignored="77-78"),
    ],
)
def test_batches_are_assembled_as_single_masks_are(codes, seed):
    known = np.flatnonzero(codes.counted)
    known = np.append(known, [first for first, _ in codes.ignored]).astype(np.uint8)
    masks = np.random.default_rng(seed).choice(known, (3, 1, 5, 4))
    targets, counted = codes.assembled(torch.from_numpy(masks))
    assert targets.dtype == torch.float32
    for index in range(3):
        channels, inside = codes.channels(masks[index, 0])
        assert np.array_equal(targets[index].numpy(), channels & inside)
        assert np.array_equal(counted[index, 0].numpy(), inside)


# What is written


def test_written_masks_are_read_back_as_they_were_predicted():
    binary, several = found_codes({0, 255}), found_codes({0, 1, 2})
    regions = np.random.default_rng(0).random((1, 6, 5)) > 0.5
    assert np.array_equal(binary.channels(written_mask(regions, "binary"))[0], regions)
    winner = np.random.default_rng(1).integers(0, 3, (6, 5))
    exclusive = np.arange(3)[:, None, None] == winner
    assert np.array_equal(several.channels(written_mask(exclusive, "multi-class"))[0], exclusive)


def test_overlapping_classes_are_written_as_sums_of_powers_of_two():
    regions = np.array([[[True, False, False]], [[True, True, False]]])
    assert written_mask(regions, "multi-label").tolist() == [[3, 2, 0]]


def test_more_than_8_overlapping_classes_do_not_fit_into_a_mask():
    with pytest.raises(InputError, match="9 classes"):
        written_mask(np.zeros((9, 2, 2), bool), "multi-label")


@pytest.mark.parametrize(
    "codes", [found_codes({0, 255}), named_codes(CUP_AND_DISC), named_codes({"a": [1, 3], "b": 2}, ignored=9)]
)
def test_what_a_run_folder_keeps_makes_the_same_codes(codes):
    import json

    again = MaskCodes.from_dict(json.loads(json.dumps(codes.as_dict())))
    assert again == codes
    assert np.array_equal(again.table, codes.table)
