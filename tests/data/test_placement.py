"""Dense outputs back at the source's size, against the function that made the network's view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modicum.data.fundus_crop import Box, crop_fundus, fundus_box
from modicum.data.grey_levels import grey_levels
from modicum.data.image import ImageRef
from modicum.data.placement import Placement, placed, placement_of
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.resize import FITS, fitted
from modicum.data.stores.image_store import ImageStore
from modicum.errors import InputError

sides = st.integers(1, 40)
RNG = np.random.default_rng(0)


@settings(max_examples=100, deadline=None)
@given(sides, sides, sides, sides, st.sampled_from(FITS))
def test_the_placement_says_what_fitted_does(height, width, seen_height, seen_width, fit):
    """What fitted makes of an image of ones, and of row and column numbers, lies where the placement says."""
    place = Placement.of((height, width), (seen_height, seen_width), fit)
    ones = fitted(np.ones((1, height, width), np.float32), seen_height, seen_width, fit)
    left, top, right, bottom = place.inner
    expected = np.zeros((seen_height, seen_width))
    expected[top:bottom, left:right] = 1
    np.testing.assert_allclose(ones[0], expected, atol=1e-6)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    shown = place.visible
    # The mean place of what the network sees is the middle of the part that is shown.
    for numbers, first, end in ((rows, shown.top, shown.bottom), (columns, shown.left, shown.right)):
        seen = fitted(numbers[None], seen_height, seen_width, fit)[0, top:bottom, left:right]
        assert seen.min() >= first - 1e-3
        assert seen.max() <= end - 1 + 1e-3
        assert seen.mean() == pytest.approx((first + end - 1) / 2, abs=max(1e-2, 0.51))


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.booleans())
def test_padding_without_scaling_is_undone_exactly(side, shorter, upright):
    """An image that is as high (or as wide) as the network's square is only padded."""
    shape = (side, min(side, shorter)) if upright else (min(side, shorter), side)
    image = RNG.random((3, *shape), np.float32)
    seen = fitted(image, side, side, "pad")
    place = Placement.of(shape, (side, side), "pad")
    assert place.scale == (1, 1)
    np.testing.assert_array_equal(place.restored(seen), image)
    labels = (image * 255).astype(np.uint8)
    seen_labels = fitted(labels.astype(np.float32), side, side, "pad").astype(np.uint8)
    np.testing.assert_array_equal(place.restored_labels(seen_labels), labels)


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.integers(1, 4), st.sampled_from(FITS))
def test_labels_survive_an_enlargement_by_a_whole_factor(height, width, factor, fit):
    labels = RNG.integers(0, 5, (1, height, width)).astype(np.uint8)
    large = labels.repeat(factor, 1).repeat(factor, 2)
    place = Placement.of((height, width), large.shape[1:], fit)
    np.testing.assert_array_equal(place.restored_labels(large), labels)


def test_a_smooth_picture_comes_back_nearly_as_it_was():
    rows, columns = np.mgrid[:90, :160] / 160
    image = (0.5 + 0.4 * np.sin(4 * rows) * np.cos(3 * columns))[None].astype(np.float32)
    for fit, seen in (("stretch", (64, 64)), ("pad", (120, 120)), ("pad", (300, 300)), ("crop", (80, 80))):
        place = Placement.of((90, 160), seen, fit)
        back = place.restored(fitted(image, *seen, fit), fill=-1)
        inside = place.inside()
        assert np.abs(back[0] - image[0])[inside].max() < 0.02, (fit, seen)
        assert (back[0][~inside] == -1).all()
        assert inside.all() == (fit != "crop")


def test_what_the_network_did_not_see_gets_the_fill():
    place = Placement.of((4, 10), (4, 4), "crop")
    assert place.visible == Box(3, 0, 7, 4)
    labels = place.restored_labels(np.full((1, 4, 4), 2, np.uint8), fill=255)
    assert (labels[0, :, 3:7] == 2).all()
    assert (labels[0, :, :3] == 255).all()
    assert (labels[0, :, 7:] == 255).all()


def test_the_fundus_crop_is_undone(tmp_path):
    rows, columns = np.mgrid[:200, :320]
    lit = (rows - 100) ** 2 + (columns - 150) ** 2 < 95**2
    picture = np.where(lit[..., None], [180, 90, 40], 2).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    for channels in (1, 3):
        options = StoreSettings(190, 190, channels, resize="pad", crop="fundus")
        image, seen = read_prepared(ImageRef(tmp_path / "a.png"), options)
        place = placed(image, options)
        assert place.visible == fundus_box(image.pixels)
        back = place.restored((seen.transpose(2, 0, 1) / 255).astype(np.float32))
        box = place.visible
        inside = np.s_[:, box.top : box.bottom, box.left : box.right]
        expected = image.pixels if channels == 3 else grey_levels(image.pixels)[None]
        # Half a pixel of the border may differ: the field's edge is sharp.
        assert np.abs(back[inside] - expected[inside]).mean() < 0.005
        assert crop_fundus(image.pixels).shape[1:] == (box.bottom - box.top, box.right - box.left)
        assert back.shape[1:] == (200, 320)


@pytest.mark.parametrize("crop", ["none", "fundus"])
def test_a_jpeg_decoded_at_a_reduced_scale_comes_back_at_its_full_size(tmp_path, crop):
    rows, columns = np.mgrid[:1601, :2403]
    lit = (rows - 800) ** 2 + (columns - 1100) ** 2 < 760**2
    Image.fromarray((lit * 200).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    options = StoreSettings(96, 96, 1, resize="pad", crop=crop)
    image, seen = read_prepared(ImageRef(tmp_path / "a.jpg"), options)
    assert image.pixels.shape[1] < 1601
    back = placed(image, options).restored((seen.transpose(2, 0, 1) / 255).astype(np.float32))
    assert back.shape == (1, 1601, 2403)
    overlap = ((back[0] > 0.4) & lit).sum() / ((back[0] > 0.4) | lit).sum()
    assert overlap > 0.97


def test_wrong_sizes_and_labels_are_refused():
    place = Placement.of((10, 10), (5, 5))
    with pytest.raises(InputError, match="4 x 5 does not have the size of the network's input, 5 x 5"):
        place.restored(np.zeros((1, 4, 5), np.float32))
    with pytest.raises(InputError, match="fill=-1 does not fit uint8"):
        place.restored_labels(np.zeros((1, 5, 5), np.uint8), fill=-1)


def test_real_fundus_photographs_come_back_where_they_were(real_images):
    folder = real_images("fundus_hrf")
    path = min(Path(folder).glob("images/*.*"))
    for fit in FITS:
        options = StoreSettings(512, 512, 3, resize=fit, crop="fundus")
        image, seen = read_prepared(ImageRef(path), options)
        place = placed(image, options)
        back = place.restored((seen.transpose(2, 0, 1) / 255).astype(np.float32))
        assert np.abs(back - image.pixels)[:, place.inside()].mean() < 0.02


@pytest.mark.parametrize("resize", FITS)
@pytest.mark.parametrize("crop", ["none", "fundus"])
def test_the_facts_that_a_store_keeps_place_an_image_as_its_pixels_do(tmp_path, crop, resize):
    """A JPEG of 1900 x 1300 pixels is decoded at a reduced scale here, and its field is looked for in that."""
    rows, columns = np.mgrid[:1300, :1900]
    lit = (rows - 640) ** 2 + (columns - 910) ** 2 < 620**2
    picture = np.where(lit[..., None], [180, 90, 40], 2).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    options = StoreSettings(96, 128, resize=resize, crop=crop)
    ref = ImageRef(tmp_path / "a.jpg")
    for _ in range(2):  # made, and opened
        facts = ImageStore.build_or_open([ref], tmp_path / "stores", options).facts[0]
        image, _ = read_prepared(ref, options)
        assert facts.decoded == image.pixels.shape[1:] != (1300, 1900)
        assert placement_of(facts, options) == placed(image, options)
    assert placement_of(replace(facts, decoded=None), options) is None


def test_facts_of_an_earlier_version_are_read_and_say_nothing_of_the_place(tmp_path):
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "a.png")
    refs, options = [ImageRef(tmp_path / "a.png")], StoreSettings(4, 4)
    store = ImageStore.build_or_open(refs, tmp_path / "stores", options)
    table = pq.read_table(store.folder / "facts.parquet").drop_columns(["orientation", "decoded", "cropped"])
    pq.write_table(table, store.folder / "facts.parquet")
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(tmp_path / "b.png")
    refs.append(ImageRef(tmp_path / "b.png"))
    old, new = ImageStore.build_or_open(refs, tmp_path / "stores", options).facts
    assert (old.height, old.width, old.orientation, old.decoded, old.cropped) == (9, 7, None, None, None)
    assert (new.orientation, new.decoded, new.cropped) == (1, (5, 8), None)
