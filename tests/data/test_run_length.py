"""Run-length texts: worked examples, round trips of any mask, quirks of the original files, damaged rows."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modicum.data import run_length
from modicum.data.run_length import SIIM_SIZE, RunLengthRow, decoded, encoded, mask_of, read_run_lengths
from modicum.errors import InputError

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))
FORMS = pytest.mark.parametrize("form", ["absolute", "relative"])


def by_hand(text: str, size: tuple[int, int], form: str) -> np.ndarray:
    """The definition, pixel by pixel."""
    pixels = np.zeros(size[0] * size[1], bool)
    numbers = [int(word) for word in text.split()]
    position = 0
    for first, length in zip(numbers[::2], numbers[1::2], strict=True):
        position = first - 1 if form == "absolute" else position + first
        for _ in range(length):
            pixels[position] = True
            position += 1
    return pixels.reshape(size, order="F")


def test_docstring_examples_run():
    assert doctest.testmod(run_length).failed == 0


@FORMS
@settings(max_examples=100, deadline=None)
@given(mask=MASKS)
def test_a_mask_comes_back_from_its_text(form, mask):
    text = encoded(mask, form)
    assert np.array_equal(decoded(text, mask.shape, form), mask)
    if mask.any():
        assert np.array_equal(by_hand(text, mask.shape, form), mask)


@FORMS
@settings(max_examples=50, deadline=None)
@given(first=MASKS, seed=st.integers(0, 2**31))
def test_the_mask_of_several_rows_is_their_union(form, first, seed):
    second = np.random.default_rng(seed).random(first.shape) < 0.3
    rows = [RunLengthRow(encoded(mask, form), "masks.csv row 2") for mask in (first, second)]
    assert np.array_equal(mask_of(rows, first.shape, form), first | second)


def test_pixels_run_down_the_columns():
    # Three pixels from the second on, in an image of 4 rows: column 0, rows 1 to 3.
    expected = np.zeros((4, 3), bool)
    expected[1:4, 0] = True
    assert np.array_equal(decoded("2 3", (4, 3), "absolute"), expected)
    assert np.array_equal(decoded("1 3", (4, 3), "relative"), expected)


def test_skips_are_from_the_end_of_the_run_before():
    mask = decoded("1028 2 1022 2", SIIM_SIZE, "relative")
    expected = np.zeros(SIIM_SIZE, bool)
    expected[4:6, 1:3] = True  # 1028 = 1024 + 4; 1022 further on is row 4 of the next column
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("text", ["", "-1", " -1 "])
@FORMS
def test_the_marker_for_nothing_is_an_empty_mask(form, text):
    assert not decoded(text, (5, 7), form).any()
    assert encoded(np.zeros((5, 7), bool), form) == "-1"


def test_the_original_file_of_siim_is_read_with_its_blanks_and_its_regions_joined(tmp_path):
    path = tmp_path / "train-rle.csv"
    path.write_text("ImageId, EncodedPixels\n1.2.840.1, -1\n1.2.840.2, 0 2\n1.2.840.3,3 1 \n1.2.840.2, 5 1")
    rows = read_run_lengths(path)
    assert list(rows) == ["1.2.840.1", "1.2.840.2", "1.2.840.3"]
    assert not mask_of(rows["1.2.840.1"], (4, 4), "relative").any()
    assert np.argwhere(mask_of(rows["1.2.840.2"], (4, 4), "relative")).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_a_text_of_more_characters_than_csv_takes_is_read(tmp_path):
    path = tmp_path / "train-rle.csv"
    runs = " ".join(f"{2 * number + 1} 1" for number in range(20_000))
    assert len(runs) > 131_072
    path.write_text(f"ImageId,EncodedPixels\na,{runs}\n")
    assert mask_of(read_run_lengths(path)["a"], (200, 200), "absolute").sum() == 20_000


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("3 2 5", "absolute", "3 numbers are not pairs"),
        ("3 two", "absolute", "'two' is not a number of pixels"),
        ("1.5 2", "absolute", "'1.5' is not a number of pixels"),
        ("10 7", "absolute", r"run 1 has 7 pixels from pixel 10 on, in a mask of 3x5"),
        ("0 3", "absolute", "from pixel 0 on"),
        ("1 2 4 0", "absolute", "run 2 has 0 pixels"),
        ("1 2 20 1", "relative", "run 2 has 1 pixels from pixel 24 on"),
        ("4 2 -3 1", "relative", "a skip of -3 pixels"),
        ("1 " + "9" * 40, "absolute", "is not a number of pixels"),
    ],
)
def test_a_damaged_text_is_an_error_that_names_the_row_and_the_value(text, form, words):
    with pytest.raises(InputError, match=words) as raised:
        decoded(text, (3, 5), form, "masks.csv row 17")
    assert "masks.csv row 17" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Image,EncodedPixels\na,1 2\n", "no column 'ImageId'"),
        ("", "no column 'ImageId'"),
        ("ImageId,EncodedPixels\na,1 2\n,3 4\n", "row 3"),
        ("ImageId,EncodedPixels\na\n", "row 2"),
        ("ImageId,EncodedPixels\na,1 2\na,-1\n", "row 3: the marker for no region, but another row"),
    ],
)
def test_a_damaged_table_is_an_error_that_names_the_row(tmp_path, content, words):
    path = tmp_path / "masks.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_run_lengths(path)
