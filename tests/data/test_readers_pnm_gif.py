"""GIF and PNM (PBM, PGM, PPM) against Pillow and OpenCV, and against the formats' own words."""

import gzip

import cv2
import numpy as np
import pytest
from PIL import Image

from modicum.data.readers import is_image_file, list_images, read_image
from modicum.errors import BrokenImageError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
DEEP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100 + 7


def reason(path):
    with pytest.raises(BrokenImageError) as raised:
        read_image(path)
    return raised.value.reason


def test_a_gif_of_greys_is_grey_and_its_first_frame_is_read(tmp_path):
    path = tmp_path / "21_manual1.gif"
    mask = Image.fromarray((GREY > 100).astype(np.uint8), mode="P")
    mask.putpalette([0, 0, 0, 255, 255, 255] + [0] * 750)
    mask.save(path, save_all=True, append_images=[Image.fromarray(GREY)])
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[0], GREY > 100)
    assert (image.pixels.shape[0], image.source.format, image.source.slices) == (1, "gif", 2)
    np.testing.assert_array_equal(read_image(f"{path}#frame=1").pixels[0] * 255, GREY)


def test_a_gif_in_colour_has_three_channels(tmp_path):
    path = tmp_path / "a.gif"
    Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(np.moveaxis(read_image(path).pixels, 0, -1) * 255, expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "values"), [("a.pgm", GREY), ("a.ppm", COLOUR)])
def test_pnm_as_pillow_writes_it(tmp_path, name, values, packed):
    path = tmp_path / name
    Image.fromarray(values).save(path)
    if packed:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    image = read_image(path)
    expected = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    np.testing.assert_array_equal(image.pixels, expected / np.float32(255))
    assert (image.source.format, image.source.mislabelled) == ("pnm", packed and name == "a.pgm")


def test_sixteen_bits_are_kept(tmp_path):
    cv2.imwrite(str(tmp_path / "a.pgm"), DEEP)
    image = read_image(tmp_path / "a.pgm")
    np.testing.assert_allclose(image.values()[0], DEEP, atol=1e-3)
    assert image.source.bits == 16
    deep = np.stack([DEEP, DEEP * 20, DEEP + 1], axis=-1)
    cv2.imwrite(str(tmp_path / "a.ppm"), deep[..., ::-1])
    np.testing.assert_allclose(
        np.moveaxis(read_image(tmp_path / "a.ppm").pixels, 0, -1), deep / 65535, atol=1e-7
    )


def test_the_header_says_what_is_white_and_may_hold_comments(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n# made by hand\n3 2 # width, height\n100\n" + bytes([0, 50, 100, 25, 75, 10]))
    np.testing.assert_allclose(read_image(path).pixels[0], [[0, 0.5, 1], [0.25, 0.75, 0.1]], atol=1e-7)
    path.write_bytes(b"P2 3 2 100 0 50 100\n25 75 10")
    np.testing.assert_allclose(read_image(path).pixels[0], [[0, 0.5, 1], [0.25, 0.75, 0.1]], atol=1e-7)


@pytest.mark.parametrize(
    "body", [b"P1 3 2\n1 0 1 0 0 1", b"P1\n3 2\n101001", b"P4\n3 2\n" + bytes([0b10100000, 0b00100000])]
)
def test_one_is_black_in_bitmaps(tmp_path, body):
    path = tmp_path / "a.pbm"
    path.write_bytes(body)
    np.testing.assert_array_equal(read_image(path).pixels[0], [[0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"P5 3 2 255\n" + bytes(5), "ends too early"),
        (b"P2 3 2 255\n1 2 3", "ends too early"),
        (b"P5 3 x 255\n" + bytes(6), "damaged"),
        (b"P5 3 2 70000\n" + bytes(12), "damaged"),
        (b"P5 3 2 9\n" + bytes([10] * 6), "damaged"),
        (b"P1 3 2\n1 0 1 0 0 7", "damaged"),
        (b"P6 99999999 99999999 255\n", "more than the"),
        (b"P5 0 2 255\n", "has no pixels"),
    ],
)
def test_pnm_that_makes_no_sense_is_reported(tmp_path, body, expected):
    path = tmp_path / "a.pgm"
    path.write_bytes(body)
    assert expected in reason(path)
    packed = tmp_path / "a.ppm.gz"
    packed.write_bytes(gzip.compress(body))
    assert expected in reason(packed)


def test_their_names_are_those_of_images(tmp_path):
    names = ["im0001.ppm", "im0002.ppm.gz", "x.pgm", "y.GIF", "z.pbm"]
    for name in [*names, "table.csv.gz"]:
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == sorted(names)
    assert not is_image_file(tmp_path / "table.csv.gz")
