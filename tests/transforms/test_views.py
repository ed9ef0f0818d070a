"""Views against numpy on a small image, the group of the square, and crops that are the same everywhere."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.transforms import apply_view, apply_views, parse_views
from modicum.transforms.views import VIEWS, crop_box

IN_NUMPY = {
    "identity": lambda image: image,
    "hflip": np.fliplr,
    "vflip": np.flipud,
    "rot90": lambda image: np.rot90(image, 1),
    "rot180": lambda image: np.rot90(image, 2),
    "rot270": lambda image: np.rot90(image, 3),
    "transpose": np.transpose,
    "antitranspose": lambda image: np.rot90(np.transpose(image), 2),
}


def square(batch=1, channels=1, side=5):
    return torch.arange(float(batch * channels * side * side)).reshape(batch, channels, side, side)


@pytest.mark.parametrize("name", VIEWS)
def test_views_move_pixels_as_numpy_does(name):
    image = square()
    expected = np.ascontiguousarray(IN_NUMPY[name](image[0, 0].numpy()))
    assert torch.equal(apply_view(image, name)[0, 0], torch.from_numpy(expected))


def test_the_eight_views_are_the_group_of_the_square():
    image = square()
    all_views = {apply_view(image, name).numpy().tobytes(): name for name in VIEWS}
    assert len(all_views) == 8
    for first, second in itertools.product(VIEWS, repeat=2):
        assert apply_view(apply_view(image, first), second).numpy().tobytes() in all_views


def test_only_four_views_keep_the_shape_of_an_image_that_is_not_square():
    image = np.zeros((4, 6))
    kept = [name for name in VIEWS if IN_NUMPY[name](image).shape == image.shape]
    assert kept == ["identity", "hflip", "vflip", "rot180"]
    assert parse_views(kept, (4, 6)) == tuple(kept)
    for name in set(VIEWS) - set(kept):
        with pytest.raises(InputError, match=f"'{name}' needs square images, these have 4x6 pixels"):
            parse_views([name], (4, 6))


def test_each_image_is_shown_in_its_own_view():
    images, names = square(4, 2), ("identity", "hflip", "rot90", "crop1")
    shown = apply_views(images, names, torch.tensor([2, 0, 3, 1]))
    for row, name in enumerate(["rot90", "identity", "crop1", "hflip"]):
        torch.testing.assert_close(shown[row : row + 1], apply_view(images[row : row + 1], name))


def test_the_image_as_it_is_comes_first_and_names_once():
    assert parse_views(["hflip", "crop3", "identity", "hflip"], (8, 8)) == ("identity", "hflip", "crop3")
    assert parse_views([], (8, 8)) == ("identity",)


@pytest.mark.parametrize(
    ("name", "hint"), [("hflop", "hflip"), ("crop0", "crop1"), ("rot45", "rot90"), ("crop", "crop1")]
)
def test_unknown_views_are_refused_with_the_nearest_name(name, hint):
    with pytest.raises(InputError, match=rf"unknown view '{name}'.*{hint}"):
        parse_views(["identity", name], (8, 8))


@given(st.integers(1, 9999), st.integers(5, 600), st.integers(5, 600))
def test_a_crop_lies_in_the_image_and_has_80_to_100_percent_of_each_side(number, height, width):
    top, left, rows, columns = crop_box(f"crop{number}", (height, width))
    assert 0 <= top <= height - rows
    assert 0 <= left <= width - columns
    assert 0.8 * height - 0.5 <= rows <= height
    assert 0.8 * width - 0.5 <= columns <= width


def test_a_crop_is_the_same_whenever_it_is_asked_for_and_whatever_else_is_drawn():
    first = crop_box("crop7", (512, 512))
    torch.manual_seed(3)
    torch.rand(10)
    assert crop_box("crop7", (512, 512)) == first
    assert len({crop_box(f"crop{number}", (512, 512)) for number in range(1, 200)}) > 195


def test_a_crop_of_a_small_copy_shows_the_same_part():
    """A crop of the copy is the copy of the crop, up to a pixel of the copy."""
    for number in range(1, 20):
        large = np.array(crop_box(f"crop{number}", (512, 512))) / 512
        small = np.array(crop_box(f"crop{number}", (128, 128))) / 128
        assert np.abs(large - small).max() <= 1 / 128


def test_a_crop_is_brought_back_to_the_images_size():
    """Of a linear ramp, a crop is a linear ramp of the part."""
    ramp = torch.linspace(0, 1, 65).expand(1, 1, 65, 65)
    _, left, _, columns = crop_box("crop2", (65, 65))
    shown = apply_view(ramp, "crop2")
    assert shown.shape == ramp.shape
    expected = F.interpolate(ramp[:, :, :, left : left + columns], (65, 65), mode="bilinear", antialias=True)
    torch.testing.assert_close(shown, expected, atol=0.02, rtol=0)
