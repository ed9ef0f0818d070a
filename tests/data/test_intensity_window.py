"""Intensity windows: the way there and back, and the rules against NumPy's percentiles of whole volumes."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modicum.data.intensity_window import IntensityWindow
from modicum.data.readers import intensity, nifti, read_dicom_values, read_image
from modicum.data.writers import write_tiff
from modicum.errors import BrokenImageError, InputError

RNG = np.random.default_rng(0)
ends = st.floats(-1e4, 1e4)


def brain(shape=(20, 24, 10)):
    """A volume as skull-stripped MR has it: zeros around, positive inside, a few very bright voxels."""
    volume = RNG.gamma(9, 30, shape).astype(np.float32)
    volume[:4], volume[:, :5], volume[..., 0] = 0, 0, 0
    volume[10, 10, 5] = 50_000
    return volume


@pytest.fixture
def saved(tmp_path):
    def save(volume, name="a.nii.gz"):
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / name)
        return tmp_path / name

    return save


@settings(max_examples=100, deadline=None)
@given(ends, st.floats(1, 1e4), st.sampled_from(["f4", "f8"]), st.lists(st.floats(0, 1), min_size=1))
def test_values_inside_come_back_to_a_millionth_of_the_width(low, width, dtype, shares):
    window = IntensityWindow(low, low + width)
    values = (low + np.array(shares) * width).astype(dtype)
    back = window.values(window.unit(values))
    assert back.dtype == np.dtype(dtype)
    # float32 itself holds no more than this of a value far from zero.
    resolution = np.abs(values).max() * np.finfo(dtype).eps
    assert np.abs(back.astype(np.float64) - values).max() <= 1e-6 * width + resolution


def test_the_window_cuts_off_and_not_a_number_becomes_zero():
    window = IntensityWindow.centred(40, 400)
    np.testing.assert_array_equal(
        window.unit(np.array([-1000, -160, 40, 240, 3000, np.nan, np.inf, -np.inf])),
        [0, 0, 0.5, 1, 1, 0, 1, 0],
    )


def test_a_window_of_no_width_makes_zeros_that_come_back_as_the_constant():
    window = IntensityWindow(7, 7)
    unit = window.unit(np.full((3, 3), 7, np.int16))
    assert not unit.any()
    assert (window.values(unit) == 7).all()


def test_the_background_is_exactly_zero_and_comes_back():
    window = IntensityWindow(50, 450, background=0)
    values = np.array([0, 50.5, 250, 450], np.float32)
    np.testing.assert_allclose(window.unit(values), [0, 0.00125, 0.5, 1], atol=1e-7)
    np.testing.assert_allclose(window.values(window.unit(values)), values, rtol=1e-6)
    # Also where it lies in the middle, as in volumes that were normalised to mean 0.
    np.testing.assert_allclose(IntensityWindow(-2, 2, 0).unit(np.array([-1.0, 0, 1])), [0.25, 0, 0.75])


def test_a_window_without_finite_ends_is_refused():
    with pytest.raises(InputError, match="is not finite; use for instance IntensityWindow"):
        IntensityWindow(float("nan"), 1)
    with pytest.raises(InputError, match="width 0 is not above zero"):
        IntensityWindow.centred(40, 0)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "i2", "u1"])
def test_percentiles_are_those_of_the_non_zero_voxels_of_the_whole_volume(saved, name, dtype):
    volume = np.clip(brain(), 0, 250 if dtype == "u1" else 30_000).astype(dtype)
    path = saved(volume, name)
    low, high = np.percentile(volume[volume != 0].astype(np.float64), [0.5, 99.5])
    for index in (1, 5, 9):
        image = read_image(f"{path}#axis=2&index={index}", intensity="percentile")
        assert image.value_range == pytest.approx((low, high))
        values = np.flipud(np.fliplr(volume[:, :, index].T))
        np.testing.assert_allclose(image.pixels[0], np.clip((values - low) / (high - low), 0, 1), atol=1e-6)
        assert (image.pixels[0][values == 0] == 0).all()
    empty = read_image(f"{path}#axis=2&index=0", intensity="percentile")
    assert not empty.pixels.any(), "a slice of background stays background"


def test_percentiles_of_a_large_volume_are_found_in_slabs_of_evenly_spaced_voxels(saved, monkeypatch):
    volume = brain((40, 40, 40))
    expected = np.percentile(volume[volume != 0], [0.5, 99.5])
    monkeypatch.setattr(nifti, "_SLAB_VOXELS", 3000)
    monkeypatch.setattr(nifti, "KEEP_BYTES", 10)
    exact = read_image(saved(volume, "b.nii"), intensity="percentile").value_range
    assert exact == pytest.approx(expected)
    monkeypatch.setattr(intensity, "MOST_VOXELS", 16_000)
    sampled = read_image(saved(volume, "c.nii"), intensity="percentile").value_range
    assert sampled == pytest.approx(expected, rel=0.15)
    assert sampled != exact


def test_zeros_in_signed_volumes_are_background_too(saved):
    volume = RNG.normal(0, 1, (20, 20, 20)).astype(np.float32)
    volume[:10] = 0
    image = read_image(saved(volume), intensity="percentile")
    assert image.value_range == pytest.approx(tuple(np.percentile(volume[10:], [0.5, 99.5])))
    assert (image.pixels[0] == 0).sum() >= 200


def test_a_mask_and_an_empty_volume_have_percentiles_that_show_them(saved):
    mask = np.zeros((9, 9, 9), np.uint8)
    assert read_image(saved(mask), intensity="percentile").value_range == (0, 1)
    mask[4, 4, 4] = 3
    image = read_image(saved(mask, "b.nii.gz"), intensity="percentile")
    assert image.value_range == (0, 3)
    assert sorted(np.unique(image.pixels)) == [0, 1]


def test_a_constant_volume_reads_as_zeros_and_states_its_value(saved):
    for rule in ("range", None):
        image = read_image(saved(np.full((4, 4, 4), 7, np.int16)), intensity=rule)
        assert not image.pixels.any()
        assert image.value_range[0] == 7
        assert (image.values() == 7).all()


def test_not_a_number_is_background_and_an_empty_slice_needs_to_be_allowed(saved):
    volume = brain()
    volume[..., 3] = np.nan
    volume[0, 0] = np.nan
    expected = np.percentile(volume[np.isfinite(volume) & (volume != 0)], [0.5, 99.5])
    path = saved(volume)
    image = read_image(f"{path}#axis=2&index=5", intensity="percentile")
    assert image.value_range == pytest.approx(tuple(expected))
    assert image.pixels[0, -1, -1] == 0
    with pytest.raises(BrokenImageError, match="only NaN"):
        read_image(f"{path}#axis=2&index=3", intensity="percentile")
    allowed = read_image(f"{path}#axis=2&index=3", intensity="percentile", empty=True)
    assert not allowed.pixels.any()
    for name in ("b.nii", "b.nii.gz"):
        for rule in (None, "range", "percentile"):
            with pytest.raises(BrokenImageError, match="only NaN"):
                read_image(saved(volume * np.nan, name), intensity=rule, empty=True)


def test_a_fixed_window_is_the_same_as_by_centre_and_width(saved):
    path = saved(brain())
    fixed = read_image(path, intensity=IntensityWindow.centred(200, 100))
    np.testing.assert_array_equal(fixed.pixels, read_image(path, window=(200, 100)).pixels)
    assert fixed.value_range == (150, 250)
    np.testing.assert_array_equal(read_image(path, intensity="range").pixels, read_image(path).pixels)


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_percentiles_of_16_bit_pictures(tmp_path, name):
    values = np.clip(RNG.gamma(9, 30, (50, 60)), 1, 60_000).astype(np.uint16)
    values[:20] = 0
    Image.fromarray(values).save(tmp_path / name)
    image = read_image(tmp_path / name, intensity="percentile")
    assert image.value_range == pytest.approx(tuple(np.percentile(values[20:], [0.5, 99.5])))
    assert not image.pixels[0, :20].any()


def test_percentiles_of_float_pictures(tmp_path):
    values = RNG.normal(0, 5, (1, 30, 40)).astype(np.float32)
    values[0, :10] = 0
    write_tiff(tmp_path / "a.tiff", values)
    image = read_image(tmp_path / "a.tiff", intensity="percentile")
    assert image.value_range == pytest.approx(tuple(np.percentile(values[0, 10:], [0.5, 99.5])))
    assert (image.pixels[0, :10] == 0).all()


def test_pictures_of_8_bits_and_in_colour_have_no_window(tmp_path):
    values = RNG.integers(50, 100, (20, 20, 3), dtype=np.uint8)
    for name, picture in (("a.png", values), ("b.png", values[..., 0])):
        Image.fromarray(picture).save(tmp_path / name)
        for rule in ("range", "percentile", IntensityWindow(60, 70)):
            assert read_image(tmp_path / name, intensity=rule).value_range == (0, 255)


def test_an_mr_frame_by_the_rules_instead_of_its_own_window(real_images):
    path = real_images("dicom_nifti") / "MR_small.dcm"
    values = read_dicom_values(path)
    seen = values[values != 0]
    image = read_image(path, intensity="percentile")
    assert image.value_range == pytest.approx(tuple(np.percentile(seen, [0.5, 99.5])))
    assert (image.pixels[0][values == 0] == 0).all()
    assert read_image(path, intensity="range").value_range == (values.min(), values.max())


def test_a_ct_has_no_percentiles_as_its_zero_is_water(real_images):
    path = real_images("dicom_nifti") / "CT_small.dcm"
    with pytest.raises(BrokenImageError, match="zero is water"):
        read_image(path, intensity="percentile")
    values = read_dicom_values(path)
    np.testing.assert_allclose(
        read_image(path, intensity="range").values()[0],
        np.nan_to_num(values, nan=np.nanmin(values)),
        atol=0.01,
    )


def test_real_volumes_keep_their_background(real_images):
    path = real_images("dicom_nifti") / "patient07_T1.nii.gz"
    volume = nib.load(path).get_fdata()
    image = read_image(f"{path}#axis=2&index=90", intensity="percentile")
    assert image.value_range == pytest.approx(tuple(np.percentile(volume[volume != 0], [0.5, 99.5])))
    window = IntensityWindow.of(image, "percentile")
    picture = np.flipud(np.fliplr(nib.as_closest_canonical(nib.load(path)).dataobj[:, :, 90].T))
    assert (image.pixels[0][picture == 0] == 0).all()
    back = window.values(image.pixels)[0]
    inside = (picture == 0) | ((picture > window.low) & (picture < window.high))
    np.testing.assert_allclose(back[inside], picture[inside], atol=1e-6 * (window.high - window.low))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"intensity": "percentil"}, "did you mean 'percentile'"),
        ({"intensity": "range", "window": (1, 2)}, "leave out one of the two"),
        ({"intensity": IntensityWindow(3, 3)}, "is empty; pass a lower and a higher value"),
    ],
)
def test_what_cannot_be_asked(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        read_image(tmp_path / "a.png", **options)
