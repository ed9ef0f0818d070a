"""Masks as people have them, written with Pillow: what each pixel stands for, or what was found instead."""

import numpy as np
import pytest
from PIL import Image

from modicum.data.mask_codes import codes_of
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError

CODES = np.zeros((6, 8), np.uint8)
CODES[1:3, 2:5], CODES[4, 4:] = 1, 15
VOC = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}


def palette_file(path, indices, colours):
    image = Image.fromarray(indices).convert("L")
    image = Image.frombytes("P", image.size, indices.tobytes())
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    image.putpalette(table.ravel().tolist())
    image.save(path)
    return path


def colour_file(path, mask, colour, background=(0, 0, 0), mode="RGB"):
    pixels = np.where(mask[..., None] > 0, np.array(colour, np.uint8), np.array(background, np.uint8))
    Image.fromarray(pixels.astype(np.uint8), mode).save(path)
    return path


def codes(path):
    return codes_of(read_image(path))


def refused(path):
    with pytest.raises(BrokenImageError) as raised:
        codes(path)
    return raised.value.reason


def test_indices_of_a_palette_in_colour_are_the_codes(tmp_path):
    assert np.array_equal(codes(palette_file(tmp_path / "a.png", CODES, VOC)), CODES)


def test_the_void_of_voc_keeps_its_code(tmp_path):
    mask = CODES.copy()
    mask[0] = 255
    assert np.array_equal(codes(palette_file(tmp_path / "a.png", mask, VOC)), mask)


def test_a_file_that_uses_only_black_of_a_palette_is_empty(tmp_path):
    assert not codes(palette_file(tmp_path / "a.png", CODES * 0, VOC)).any()


def test_a_palette_of_greys_stands_for_its_greys(tmp_path):
    # As programs write that make a PNG of 0 and 255 small: here 0 is white.
    path = palette_file(tmp_path / "a.png", (CODES == 0).astype(np.uint8), {0: (255,) * 3, 1: (0,) * 3})
    assert np.array_equal(codes(path), np.where(CODES > 0, 255, 0))


def test_a_palette_whose_black_is_not_the_first_is_read_by_its_colours(tmp_path):
    path = palette_file(tmp_path / "a.png", (CODES == 0).astype(np.uint8), {0: (255, 0, 0), 1: (0,) * 3})
    assert np.array_equal(codes(path), np.where(CODES > 0, 255, 0))


@pytest.mark.parametrize("colour", [(255, 0, 0), (128, 0, 0), (255, 255, 255)])
def test_red_or_white_on_black_is_one_class(tmp_path, colour):
    expected = np.where(CODES > 0, max(colour) if len(set(colour)) == 1 else 255, 0)
    assert np.array_equal(codes(colour_file(tmp_path / "a.png", CODES, colour)), expected)


def test_red_on_nothing_is_one_class(tmp_path):
    path = colour_file(tmp_path / "a.png", CODES, (255, 0, 0, 255), (0, 0, 0, 0), "RGBA")
    assert np.array_equal(codes(path), np.where(CODES > 0, 255, 0))


@pytest.mark.parametrize(
    ("colour", "background"), [((0, 255, 0), (0, 0, 0)), ((255, 0, 0), (255, 255, 255)), ((255, 1, 0), (0, 0, 0))]
)  # fmt: skip
def test_other_colours_are_refused_with_those_that_were_found(tmp_path, colour, background):
    said = refused(colour_file(tmp_path / "a.png", CODES, colour, background))
    assert "is in colour; a mask holds one code a pixel" in said
    assert str(colour) in said
    assert str(background) in said
    assert "option 'codes'" in said


def test_16_bits_of_nothing_but_the_ends_are_one_class(tmp_path):
    Image.fromarray((CODES > 0).astype(np.uint16) * 65535).save(tmp_path / "a.png")
    assert np.array_equal(codes(tmp_path / "a.png"), np.where(CODES > 0, 255, 0))
    Image.fromarray(CODES.astype(np.uint16)).save(tmp_path / "b.png")
    assert np.array_equal(codes(tmp_path / "b.png"), CODES)


def test_larger_numbers_are_refused_with_those_that_were_found(tmp_path):
    Image.fromarray(CODES.astype(np.uint16) * 1000).save(tmp_path / "a.png")
    assert "no codes (0, 1000, 15000)" in refused(tmp_path / "a.png")
    Image.fromarray(CODES.astype(np.float32) / 2).save(tmp_path / "a.tif")
    assert "no codes (0, 0.5, 7.5)" in refused(tmp_path / "a.tif")
