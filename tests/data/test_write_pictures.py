"""Pictures written and read back, by our reader and by Pillow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from modicum.data.readers import read_image
from modicum.data.writers import write_labels, write_png, write_tiff
from modicum.errors import InputError

shapes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, shapes, elements=st.floats(0, 1, width=32)), st.sampled_from([8, 16]))
def test_png_comes_back_to_half_a_level(tmp_path_factory, pixels, bits):
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_png(path, pixels, bits)
    top = 2**bits - 1
    image = read_image(path, window=(top / 2, top))
    assert image.source.bits == bits
    assert np.abs(image.pixels - pixels).max() <= 0.5 / top + 1e-6


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, shapes, elements=st.floats(-1e4, 1e4, width=32)))
def test_tiff_comes_back_as_it_was(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("tiff") / "a.tiff"
    write_tiff(path, values)
    image = read_image(path)
    np.testing.assert_allclose(image.values(), values, atol=1e-6 * max(1, np.ptp(values)))
    if values.shape[0] == 1:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), values[0])


@pytest.mark.parametrize("top", [1, 255, 1000])
def test_labels_are_the_levels(tmp_path, top):
    labels = np.random.default_rng(0).integers(0, top + 1, (7, 9))
    labels[0, 0] = top
    write_labels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), labels)


def test_colours_keep_their_order(tmp_path):
    pixels = np.zeros((3, 2, 2), np.float32)
    pixels[0] = 1
    write_png(tmp_path / "a.png", pixels)
    assert Image.open(tmp_path / "a.png").getpixel((0, 0)) == (255, 0, 0)
    write_tiff(tmp_path / "a.tiff", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff").pixels, pixels)


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    one = np.zeros((1, 4, 4), np.float32)
    for call, said in (
        (lambda: write_png(path, one + 2), "its pixels run from 2 to 2"),
        (lambda: write_png(path, one * np.nan), "16 of 16 predicted values are NaN"),
        (lambda: write_png(path, one, bits=12), "12 bits"),
        (lambda: write_png(path, np.zeros((2, 4, 4), np.float32)), "2 x 4 x 4"),
        (lambda: write_tiff(path, one + np.inf), "infinite"),
        (lambda: write_labels(path, np.full((2, 2), -1)), "from -1 to -1"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    assert path.read_bytes() == b"before"
