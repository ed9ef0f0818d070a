"""The crop rule of the published grading recipe (arXiv 2110.14160), with the boxes its own tool gives."""

import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from modicum.data.fundus_crop import Box, crop_fundus, fundus_box
from modicum.data.grey_levels import quantised
from modicum.data.resize import fitted, resized


def disc(width, height, centre=None, radius=0.0, level=(180, 90, 40)) -> np.ndarray:
    """A uniform disc on black, uint8 [3, height, width]."""
    image = np.zeros((3, height, width), dtype=np.uint8)
    if centre is not None:
        rows, columns = np.mgrid[:height, :width]
        inside = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
        image[:, inside] = np.array(level, dtype=np.uint8)[:, None]
    return image


BOXES = [
    (disc(800, 600, (400, 300), 280), (118, 18, 683, 583)),
    (disc(800, 600, (430, 310), 270), (158, 38, 703, 583)),
    (disc(600, 600, (300, 300), 280), (0, 0, 600, 600)),
    (disc(720, 600, (360, 300), 280), (60, 0, 660, 600)),  # exactly 1.2
    (disc(800, 600, (400, 300), 200), (100, 0, 700, 600)),  # too small
    (disc(800, 600), (100, 0, 700, 600)),  # black
    (disc(800, 600, (400, 300), 280, (10, 10, 10)), (100, 0, 700, 600)),  # too dark
    (disc(800, 600, (400, 300), 280, (12, 12, 12)), (123, 23, 678, 578)),
    (disc(701, 600, (350, 300), 280), (50, 0, 651, 600)),  # odd difference: one pixel wider than high
    (disc(500, 700, (250, 350), 200), (0, 0, 500, 700)),  # portrait
]


@pytest.mark.parametrize(("image", "box"), BOXES)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_box_is_that_of_the_published_tool(image, box, kind):
    pixels = image if kind == "uint8" else image.astype(np.float32) / 255
    assert fundus_box(pixels) == Box(*box)


def reference_box(image: Image.Image) -> tuple[int, int, int, int]:
    """The rule once more, on Pillow alone, as its description reads."""
    width, height = image.size
    blurred = image.filter(ImageFilter.BLUR)
    box = None
    if width > 1.2 * height:
        strip = width // 32
        ends = [blurred.crop((0, 0, strip, height)), blurred.crop((width - strip, 0, width, height))]
        ground = [max(end.getchannel(c).getextrema()[1] for end in ends) for c in range(3)]
        masks = [
            blurred.getchannel(c).point([255 if level > ground[c] + 10 else 0 for level in range(256)])
            for c in range(3)
        ]
        box = Image.merge("RGB", masks).getbbox()
    if box is None or box[2] - box[0] < 0.8 * height or box[3] - box[1] < 0.8 * height:
        off = (width - height) // 2
        box = (max(off, 0), 0, min(width - off, width), height)
    return box


def test_real_photographs_give_the_box_of_the_rule_on_pillow_alone(real_images):
    found = set()
    for path in sorted((real_images("fundus_hrf") / "images").glob("*.jpg"))[::3]:
        image = Image.open(path).convert("RGB")
        pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
        assert fundus_box(pixels) == reference_box(image), path.name
        found.add(fundus_box(pixels))
    assert len(found) > 2, "these photographs should not all fall back to the centre"


def test_a_reduced_decode_gives_the_scaled_box(real_images):
    path = next((real_images("fundus_hrf") / "full_resolution").glob("*.[jJ]*"))
    full = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    image = Image.open(path)
    image.draft("RGB", (full.shape[2] // 4, full.shape[1] // 4))
    small = np.asarray(image).transpose(2, 0, 1)
    assert small.shape[1] == full.shape[1] // 4
    difference = np.array(fundus_box(small)) - np.array(fundus_box(full)) / 4
    assert np.abs(difference).max() <= 3, difference


def test_grey_images_are_cropped_as_their_colour_copies():
    grey = disc(800, 600, (400, 300), 280, (90, 90, 90))
    assert fundus_box(grey[:1]) == fundus_box(grey)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (20, 30)])
def test_tiny_images_keep_at_least_one_pixel(shape):
    assert crop_fundus(np.zeros((3, *shape), dtype=np.uint8)).size


def test_cropping_keeps_the_field_and_drops_the_ground():
    image = disc(800, 600, (430, 310), 270)
    assert crop_fundus(image).shape == (3, 545, 545)
    assert crop_fundus(image).astype(int).sum() == image.astype(int).sum()


def test_a_photograph_of_three_megapixels_takes_less_than_a_second():
    image = disc(2000, 1500, (1000, 750), 700).astype(np.float32) / 255
    start = time.perf_counter()
    resized(np.ascontiguousarray(crop_fundus(image)), 512, 512, "lanczos")
    assert time.perf_counter() - start < 1


# Resizing.


def scene(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth blobs and some noise, float32 in [0, 1]."""
    generator = np.random.default_rng(3)
    coarse = generator.random((channels, 9, 9)).astype(np.float32)
    smooth = np.stack([np.asarray(Image.fromarray(c).resize((width, height), 3)) for c in coarse])
    return np.clip(smooth + generator.normal(0, 0.05, smooth.shape), 0, 1).astype(np.float32)


def test_area_is_the_mean_over_blocks():
    image = scene(120, 80)
    blocks = image.reshape(3, 30, 4, 20, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(resized(image, 30, 20, "area"), blocks, atol=1e-6)


def test_area_counts_parts_of_pixels_by_their_share():
    image = np.array([[[0.0, 1.0, 0.5]]], dtype=np.float32)
    np.testing.assert_allclose(
        resized(image, 1, 2, "area")[0, 0], [(0 + 1 * 0.5) / 1.5, (1 * 0.5 + 0.5) / 1.5], atol=1e-6
    )


@pytest.mark.parametrize(("filter", "kind"), [("bilinear", 2), ("bicubic", 3), ("lanczos", 1)])
@pytest.mark.parametrize("size", [(64, 48), (200, 30), (300, 301)])
def test_filters_agree_with_pillow_on_bytes(filter, kind, size):
    # Far from 0 and 1: Pillow cuts off bytes between its two passes.
    image = quantised(0.25 + scene(150, 130) / 2)
    expected = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize(size[::-1], kind))
    got = quantised(resized(image.astype(np.float32) / 255, *size, filter)).transpose(1, 2, 0)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 2  # and rounds there


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 48), (40, 200), (300, 301)])
def test_filters_are_torchvisions_with_antialiasing(filter, size):
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    image = scene(150, 130)
    expected = resize(torch.from_numpy(image), size, InterpolationMode(filter), antialias=True).clamp(0, 1)
    np.testing.assert_allclose(resized(image, *size, filter), expected, atol=2e-3)


def test_area_is_close_to_an_antialiased_pillow_resize():
    image = scene(400, 300)
    expected = np.stack([np.asarray(Image.fromarray(c).resize((75, 100), 2)) for c in image])
    assert np.abs(resized(image, 100, 75, "area") - expected).mean() < 0.01


def test_a_fine_pattern_becomes_grey_not_moire():
    board = (np.indices((512, 512)).sum(axis=0) % 2).astype(np.float32)[None]
    for filter in ("area", "bilinear", "bicubic", "lanczos"):
        assert np.abs(resized(board, 60, 60, filter) - 0.5).max() < 0.06, filter


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("filter", ["area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (64, 64)])
def test_any_size_comes_out_as_asked_within_range(fit, filter, size):
    for old in ((1, 1), (50, 90), (90, 50)):
        result = fitted(scene(*old, channels=1), *size, fit, filter)
        assert result.shape == (1, *size)
        assert result.min() >= 0
        assert result.max() <= 1


def test_pad_keeps_the_aspect_ratio_and_centres():
    result = fitted(np.ones((1, 100, 200), dtype=np.float32), 64, 64, "pad")
    assert (result[0, 16:48] > 0.999).all()
    assert not result[0, :16].any()
    assert not result[0, 48:].any()


def test_crop_keeps_the_centre_and_the_aspect_ratio():
    image = np.zeros((1, 100, 300), dtype=np.float32)
    image[:, :, 100:200] = 1
    assert (fitted(image, 50, 50, "crop") == 1).all()


def test_bytes_survive_the_way_through_floats():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(quantised(levels.astype(np.float32) / np.float32(255)), levels)
