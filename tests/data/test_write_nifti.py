"""Volume in, identity out: shape, affine, number type and values, in all 48 orientations, against nibabel."""

import errno
import gzip
import itertools
import os

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.intensity_window import IntensityWindow
from modicum.data.placement import Placement
from modicum.data.resize import fitted
from modicum.data.volumes import nifti_volumes
from modicum.data.writers import nifti_writer
from modicum.errors import InputError, ResourceError

RNG = np.random.default_rng(0)
ORIENTATIONS = [
    np.stack([order, flips], axis=1)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def through_identity(source, path, axis=2, kind="float32", rule="range", **options):
    """Every slice read in [0, 1], "predicted" as it is, and written in the source's units."""
    volume = nifti_volumes(source, axis)[0]
    window = volume.window(rule)
    with nifti_writer(path, source, axis=axis, kind=kind, window=window) as out:
        # In no particular order.
        for index, image in reversed(list(enumerate(volume.images(rule, **options)))):
            out.write(index, window.values(image.pixels)[0])
    return nib.load(path), window


def assert_same_grid(result, source):
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    for name in (
        "sform_code",
        "qform_code",
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
        "quatern_c",
        "quatern_d",
    ):
        np.testing.assert_array_equal(result.header[name], source.header[name])
    np.testing.assert_array_equal(result.header["pixdim"][:4], source.header["pixdim"][:4])
    assert result.header.get_xyzt_units() == source.header.get_xyzt_units()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.integers(0, 2),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.sampled_from([(nib.Nifti1Image, "a.nii"), (nib.Nifti1Image, "a.nii.gz"), (nib.Nifti2Image, "a.nii")]),
    st.tuples(*[st.floats(0.2, 4)] * 3),
    st.booleans(),
)
def test_the_identity_gives_the_volume_back_in_every_orientation(
    tmp_path_factory, turn, axis, shape, form, sides, by_quaternion
):
    folder = tmp_path_factory.mktemp("turned")
    kind, name = form
    affine = np.diag([*sides, 1.0]) @ nib.orientations.inv_ornt_aff(turn, shape)
    stored = nib.apply_orientation(RNG.normal(100, 30, shape).astype(np.float32), turn)
    file = kind(stored, affine)
    if by_quaternion:
        file.set_sform(None, 0)
        file.set_qform(affine, 3)
    nib.save(file, folder / name)
    source = nib.load(folder / name)
    result, _ = through_identity(folder / name, folder / f"out_{name}", axis)
    assert_same_grid(result, source)
    assert type(result) is type(source)
    np.testing.assert_allclose(
        result.get_fdata(), source.get_fdata(), atol=1e-6 * max(np.ptp(stored), 1) + 2e-5
    )


def test_all_48_orientations_come_back_along_every_axis(tmp_path):
    volume = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    for turn in ORIENTATIONS:
        stored = nib.apply_orientation(volume, turn)
        affine = np.diag([1.0, 2, 3, 1]) @ nib.orientations.inv_ornt_aff(turn, volume.shape)
        nib.save(nib.Nifti1Image(stored, affine), tmp_path / "a.nii")
        for axis in range(3):
            result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii", axis)
            np.testing.assert_allclose(result.get_fdata(), stored, atol=1e-5)
            np.testing.assert_array_equal(result.affine, affine)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", ">i2", "f4", ">f4", "f8"])
@pytest.mark.parametrize("factors", [(None, None), (0.5, -100.0), (0.001, 3.0)])
def test_the_source_s_number_type_holds_the_values_to_half_a_step(tmp_path, dtype, factors):
    limits = (-5000, 5000) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    low, high = max(limits[0], -20_000), min(limits[1], 20_000)
    file = nib.Nifti1Image(RNG.integers(low, high, (6, 7, 8)).astype(dtype), np.eye(4))
    file.header.set_slope_inter(*factors)
    nib.save(file, tmp_path / "a.nii.gz")
    source = nib.load(tmp_path / "a.nii.gz")
    result, window = through_identity(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", kind="source")
    assert result.get_data_dtype().newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
    width = window.high - window.low
    if np.dtype(dtype).kind != "f":
        # The values were made of whole steps, and the same scale factors are used.
        assert result.dataobj.slope == source.dataobj.slope
        np.testing.assert_array_equal(result.dataobj.get_unscaled(), source.dataobj.get_unscaled())
    np.testing.assert_allclose(result.get_fdata(), source.get_fdata(), atol=1e-6 * width)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
def test_another_range_is_spread_over_the_source_s_type(tmp_path, dtype):
    """Predictions in [0, 1] on a source of whole numbers: its own steps would make them 0 or 1."""
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype), np.eye(4)), tmp_path / "a.nii")
    values = RNG.random((6, 5, 4)).astype(np.float32)
    with nifti_writer(
        tmp_path / "b.nii", tmp_path / "a.nii", kind="source", window=IntensityWindow(0, 1)
    ) as out:
        for index in range(len(out)):
            out.write(index, values[index])
    result = nib.load(tmp_path / "b.nii")
    assert result.get_data_dtype() == dtype
    step = result.dataobj.slope
    assert step <= 1 / 127
    back = np.stack([image.values()[0] for image in nifti_volumes(tmp_path / "b.nii")[0].images()])
    assert np.abs(back - values).max() <= step / 2 + 1e-6


def test_percentile_windows_bring_background_back_and_cut_outliers(tmp_path):
    volume = RNG.gamma(9, 30, (10, 11, 12)).astype(np.float32)
    volume[:4] = 0
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    result, window = through_identity(tmp_path / "a.nii", tmp_path / "b.nii", rule="percentile")
    expected = np.where(volume == 0, 0, np.clip(volume, window.low, window.high))
    inside = expected != np.float32(window.low)
    inside &= (volume == 0) | (volume > window.low)
    np.testing.assert_allclose(result.get_fdata()[inside], expected[inside], atol=1e-5 * window.high)


def test_not_a_number_in_the_source_is_background_in_the_result(tmp_path):
    volume = RNG.gamma(9, 30, (5, 6, 7)).astype(np.float32)
    volume[..., 2], volume[0, 0] = np.nan, np.nan
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii", rule="percentile", empty=True)
    assert (result.get_fdata()[np.isnan(volume)] == 0).all()


def test_constant_volumes_come_back(tmp_path):
    for kind, dtype in (("float32", "f4"), ("source", "i2"), ("source", "u1")):
        nib.save(nib.Nifti1Image(np.full((3, 4, 5), 7, dtype), np.eye(4)), tmp_path / "a.nii")
        result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii", kind=kind)
        assert (result.get_fdata() == 7).all()


def test_padded_to_the_network_s_size_and_back_the_volume_is_the_same(tmp_path):
    volume = RNG.normal(100, 30, (30, 24, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([-1, 1, 3, 1])), tmp_path / "a.nii.gz")
    (slices,) = nifti_volumes(tmp_path / "a.nii.gz")
    window = slices.window("range")
    place = Placement.of(slices.shape[1:], (30, 30), "pad")
    with nifti_writer(tmp_path / "b.nii.gz", tmp_path / "a.nii.gz") as out:
        for index, image in enumerate(slices.images(window)):
            seen = fitted(image.pixels, 30, 30, "pad")
            out.write(index, window.values(place.restored(seen))[0])
    np.testing.assert_allclose(
        nib.load(tmp_path / "b.nii.gz").get_fdata(), volume, atol=1e-6 * np.ptp(volume) + 2e-5
    )


def test_labels_are_uint8_without_scale_factors(tmp_path):
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([-1, 1, 1, 1]))
    source.header.set_slope_inter(2, 1)
    nib.save(source, tmp_path / "a.nii.gz")
    labels = RNG.integers(0, 256, (6, 5, 4))
    with nifti_writer(tmp_path / "b.nii.gz", tmp_path / "a.nii.gz", kind="labels") as out:
        for index in range(6):
            out.write(index, labels[index])
    result = nib.load(tmp_path / "b.nii.gz")
    assert result.get_data_dtype() == np.uint8
    assert (result.dataobj.slope, result.dataobj.inter) == (1, 0)
    canonical = nib.as_closest_canonical(result).get_fdata()
    np.testing.assert_array_equal(np.flipud(np.fliplr(canonical[:, :, 2].T)), labels[2])


def test_series_and_single_slices_keep_a_sensible_shape(tmp_path):
    for shape, expected in (((4, 5), (4, 5)), ((4, 5, 6, 1), (4, 5, 6, 1)), ((4, 5, 6, 3), (4, 5, 6))):
        nib.save(nib.Nifti1Image(RNG.random(shape, np.float32), np.eye(4)), tmp_path / "a.nii")
        result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii")
        assert result.shape == expected


def test_free_text_and_extensions_of_the_source_are_left_behind(tmp_path):
    file = nib.Nifti1Image(RNG.random((4, 5, 6), np.float32), np.eye(4))
    file.header["descrip"], file.header["db_name"], file.header["aux_file"] = b"Doe^Jane", b"DOE", b"jane.txt"
    file.header["intent_name"] = b"Jane"
    file.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient Doe, Jane"))
    nib.save(file, tmp_path / "a.nii")
    result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii")
    assert not result.header.extensions
    data = (tmp_path / "b.nii").read_bytes()
    assert b"ane" not in data[:352]
    assert b"D" + b"OE" not in data[:352]


def test_the_same_slices_make_the_same_bytes_and_no_scratch_stays(tmp_path):
    nib.save(nib.Nifti1Image(RNG.random((8, 9, 10), np.float32), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "out").mkdir()
    for name in ("b.nii.gz", "c.nii.gz"):
        through_identity(tmp_path / "a.nii", tmp_path / "out" / name)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.nii.gz", "c.nii.gz"]
    first, second = ((tmp_path / "out" / name).read_bytes() for name in ("b.nii.gz", "c.nii.gz"))
    assert first == second
    assert len(gzip.decompress(first)) == 352 + 8 * 9 * 10 * 4


def test_an_error_or_a_missing_slice_leaves_what_was_there(tmp_path):
    nib.save(nib.Nifti1Image(RNG.random((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(b"before")
    with (
        pytest.raises(InputError, match="5 of its 6 slices are missing, the first is 1"),
        nifti_writer(tmp_path / "b.nii", tmp_path / "a.nii") as out,
    ):
        out.write(0, np.zeros((5, 4), np.float32))
    with pytest.raises(KeyboardInterrupt), nifti_writer(tmp_path / "b.nii", tmp_path / "a.nii"):
        raise KeyboardInterrupt
    assert (tmp_path / "b.nii").read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "b.nii"]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    """A memory-mapped file that runs out of disk ends the process (SIGBUS): the place is taken beforehand."""
    nib.save(nib.Nifti1Image(RNG.random((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(ResourceError, match="disk is full"),
        nifti_writer(tmp_path / "b.nii", tmp_path / "a.nii"),
    ):
        pytest.fail("nothing may be asked for")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


def test_pages_given_back_in_between_are_mapped_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.data.writers.nifti._MAPPED", 100)
    volume = RNG.random((4, 5, 6), np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    for axis in range(3):
        result, _ = through_identity(tmp_path / "a.nii", tmp_path / "b.nii", axis)
        np.testing.assert_allclose(result.get_fdata(), volume, atol=1e-6)


@pytest.mark.parametrize(
    ("index", "values", "kind", "said"),
    [
        (6, np.zeros((5, 4)), "float32", "has no slice 6; use 0 to 5"),
        (0, np.zeros((4, 5)), "float32", "slice 0 of 'b.nii' is 4 x 5, the volume's slices are 5 x 4"),
        (0, np.full((5, 4), np.nan), "float32", "20 of 20 predicted values are NaN"),
        (0, np.full((5, 4), 0.5), "labels", "use whole numbers from 0 to 255"),
        (0, np.full((5, 4), 256), "labels", "use whole numbers from 0 to 255"),
    ],
)
def test_slices_that_do_not_fit_are_refused(tmp_path, index, values, kind, said):
    nib.save(nib.Nifti1Image(RNG.random((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a.nii")
    with (
        pytest.raises(InputError) as raised,
        nifti_writer(tmp_path / "b.nii", tmp_path / "a.nii", kind=kind) as out,
    ):
        out.write(index, values)
    assert said in str(raised.value)


def test_what_cannot_be_written(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.nii")
    for name, options, said in (
        ("b.png", {}, "is not the name of a NIfTI file"),
        ("b.nii", {"axis": 3}, "axis=3"),
        ("b.nii", {"kind": "source"}, "pass the window"),
    ):
        with (
            pytest.raises(InputError, match=said),
            nifti_writer(tmp_path / name, tmp_path / "a.nii", **options),
        ):
            pass


@pytest.mark.parametrize("axis", [0, 2])
def test_a_real_volume_comes_back(real_images, tmp_path, axis):
    source = real_images("dicom_nifti") / "patient07_T2.nii.gz"
    original = nib.load(source)
    values = original.get_fdata()
    result, _ = through_identity(source, tmp_path / "out.nii", axis)
    assert_same_grid(result, original)
    assert result.get_data_dtype() == original.get_data_dtype()
    np.testing.assert_allclose(result.get_fdata(), values, atol=1e-6 * np.ptp(values))
