"""NIfTI slices against nibabel, and the layout against its definition."""

import gzip
import itertools
import re

import nibabel as nib
import numpy as np
import pytest

from modicum.data.readers import nifti, read_image
from modicum.errors import BrokenImageError

VOLUME = np.random.default_rng(0).normal(100, 20, (5, 6, 7)).astype(np.float32)


def reason(ref, **options):
    with pytest.raises(BrokenImageError) as raised:
        read_image(ref, **options)
    return raised.value.reason


def as_shown(canonical, axis, index):
    """A slice of an RAS+ volume with front or head on top, and the right (or the front) on the left."""
    picture = np.take(canonical, index, axis)
    return np.flipud(np.fliplr(picture.T))


@pytest.fixture
def saved(tmp_path):
    def save(volume=VOLUME, affine=None, name="a.nii.gz", kind=nib.Nifti1Image):
        nib.save(kind(volume, np.eye(4) if affine is None else affine), tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", ["patient07_T1", "patient07_T2", "patient07_lesions"])
def test_real_volumes_have_the_values_nibabel_gives(real_images, name):
    path = real_images("dicom_nifti") / f"{name}.nii.gz"
    file = nib.load(path)
    canonical = nib.as_closest_canonical(file).get_fdata()
    for axis, index in ((0, 60), (1, 100), (2, 90), (2, None)):
        ref = f"{path}#axis={axis}&index={index}" if index is not None else path
        image = read_image(ref)
        expected = as_shown(canonical, axis, canonical.shape[2] // 2 if index is None else index)
        np.testing.assert_allclose(image.values()[0], expected, atol=1e-4 * canonical.max())
        assert image.value_range == (canonical.min(), canonical.max())
        assert image.source.orientation == "LAS"
        assert image.spacing == (1, 1)
        assert image.source.slices == canonical.shape[axis]


def test_every_orientation_is_shown_alike(saved):
    """All 48 ways to order and flip the axes of one body; nibabel says how each is turned."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(VOLUME, np.diag([1, 2, 3, 1]))).get_fdata()
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turn = np.stack([order, flips], axis=1)
            to_file = nib.orientations.inv_ornt_aff(turn, VOLUME.shape)
            stored = nib.apply_orientation(VOLUME, turn)
            affine = np.diag([1, 2, 3, 1]) @ to_file
            path = saved(stored, affine, "turned.nii")
            for axis, spacing in ((0, (3, 2)), (1, (3, 1)), (2, (2, 1))):
                image = read_image(f"{path}#axis={axis}&index=1")
                np.testing.assert_allclose(image.values()[0], as_shown(canonical, axis, 1), atol=1e-3)
                assert image.spacing == spacing
                assert image.source.orientation == "".join(nib.aff2axcodes(affine))


def test_sides_are_where_radiologists_expect_them(saved):
    marks = np.zeros((9, 9, 9), np.uint8)  # in RAS+: the first axis grows to the right, and so on
    marks[8, 4, 4], marks[4, 8, 4], marks[4, 4, 8] = 100, 150, 200  # right, front, head
    path = saved(marks)
    axial, coronal, sagittal = (read_image(f"{path}#axis={axis}&index=4").values()[0] for axis in (2, 1, 0))
    assert axial[4, 0] == 100, "the patient's right is on the left"
    assert axial[0, 4] == 150, "the front is on top"
    assert coronal[4, 0] == 100
    assert coronal[0, 4] == 200, "the head is on top"
    assert sagittal[4, 0] == 150, "the front is on the left"
    assert sagittal[0, 4] == 200


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_number_types_versions_and_compression(saved, dtype, kind, name):
    volume = VOLUME.astype(dtype)
    image = read_image(saved(volume, kind=kind, name=name))
    np.testing.assert_allclose(image.values()[0], as_shown(volume, 2, 3), atol=1e-3)
    assert image.value_range == (volume.min(), volume.max())
    assert image.source.mode == np.dtype(dtype).newbyteorder("=").name


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_scale_factors_are_honoured(saved, name):
    file = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(5, 6, 7), np.eye(4))
    file.header.set_slope_inter(2.5, -100)
    path = saved(name=name)
    nib.save(file, path)
    expected = nib.load(path).get_fdata()
    assert expected.max() == 209 * 2.5 - 100
    np.testing.assert_allclose(read_image(path).values()[0], as_shown(expected, 2, 3), atol=1e-3)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_series_and_single_slices(saved, name):
    series = np.stack([VOLUME, VOLUME * 2], axis=-1)
    path = saved(series, name=name)
    np.testing.assert_allclose(read_image(path).values()[0], as_shown(VOLUME, 2, 3), atol=1e-3)
    second = read_image(f"{path}#frame=1&axis=1&index=2")
    np.testing.assert_allclose(second.values()[0], as_shown(VOLUME * 2, 1, 2), atol=1e-3)
    assert reason(f"{path}#frame=2") == "frame 2 was requested, but it has 2 (0 to 1)"
    single = read_image(saved(VOLUME[..., 0], name="flat.nii"))
    np.testing.assert_allclose(single.values()[0], as_shown(VOLUME[..., :1], 2, 0), atol=1e-3)


def test_slices_of_a_volume_share_their_range_and_a_window_overrides_it(saved):
    path = saved()
    ranges = {read_image(f"{path}#axis=2&index={index}").value_range for index in range(7)}
    assert ranges == {(float(VOLUME.min()), float(VOLUME.max()))}
    image = read_image(path, window=(100, 20))
    np.testing.assert_allclose(image.pixels[0], np.clip((as_shown(VOLUME, 2, 3) - 90) / 20, 0, 1), atol=1e-5)


def test_a_mask_of_few_voxels_stays_zero_and_one(saved):
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[3, 4, 10] = 1
    assert sorted(np.unique(read_image(saved(mask)).pixels)) == [0, 1]


def test_not_a_number(saved):
    volume = VOLUME.copy()
    volume[0, 0], volume[..., 5] = np.nan, np.nan
    image = read_image(saved(volume))
    assert np.isfinite(image.pixels).all()
    assert image.pixels[0, -1, -1] == 0
    assert "only NaN" in reason(f"{saved(volume)}#axis=2&index=5")
    assert "only NaN" in reason(saved(volume * np.nan, name="none.nii"))


def test_colour_volumes(saved):
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(5, 6, 7)
    image = read_image(saved(stored))
    for channel in range(3):
        np.testing.assert_allclose(image.values()[channel], as_shown(colours[..., channel], 2, 3), atol=1e-4)
    assert image.source.mode == "RGB"


def test_units_of_spacing(saved):
    file = nib.Nifti1Image(VOLUME, np.diag([500, 250, 100, 1]))
    file.header.set_xyzt_units("micron")
    path = saved()
    nib.save(file, path)
    assert read_image(path).spacing == (0.25, 0.5)


def test_only_the_slice_of_an_uncompressed_volume_is_read(saved, monkeypatch):
    volume = np.zeros((64, 64, 200), np.float32)
    path = saved(volume, name="large.nii")
    voxels = []
    read = nifti.OpenVolume._read
    monkeypatch.setattr(nifti.OpenVolume, "_read", lambda *given: voxels.append(read(*given)) or voxels[-1])
    read_image(path, window=(0, 1))
    assert [part.size for part in voxels] == [64 * 64]


def test_the_range_of_a_large_volume_is_found_in_slabs(saved, monkeypatch):
    monkeypatch.setattr(nifti, "_SLAB_VOXELS", 60)
    monkeypatch.setattr(nifti, "KEEP_BYTES", 10)
    for name in ("a.nii", "a.nii.gz"):
        image = read_image(saved(name=name))
        assert image.value_range == (VOLUME.min(), VOLUME.max())
        np.testing.assert_allclose(image.values()[0], as_shown(VOLUME, 2, 3), atol=1e-3)


def test_a_volume_is_decompressed_once_and_again_when_it_changes(saved, monkeypatch):
    calls = []
    decompress = nifti.OpenVolume._decompress
    monkeypatch.setattr(nifti.OpenVolume, "_decompress", lambda self: calls.append(1) or decompress(self))
    monkeypatch.setattr("modicum.data.readers.recent.time.time_ns", lambda: 2**62)  # long after
    path = saved()
    for index in range(7):
        read_image(f"{path}#axis=2&index={index}")
    assert len(calls) == 1
    changed = read_image(saved(VOLUME + 1000))
    np.testing.assert_allclose(changed.values()[0], as_shown(VOLUME + 1000, 2, 3), atol=1e-3)


def test_what_the_reference_may_ask(saved):
    path = saved()
    assert reason(f"{path}#axis=3") == "axis 3 was requested, but it has 3 (0 to 2)"
    assert reason(f"{path}#axis=0&index=5") == "index 5 was requested, but it has 5 (0 to 4)"
    assert "does not apply" in reason(f"{path}#array=x")


def test_broken_volumes(saved, tmp_path):
    path = saved(name="a.nii")
    data = path.read_bytes()
    for length in (400, len(data) - 1):
        path.write_bytes(data[:length])
        assert "truncated" in reason(path)
    packed = gzip.compress(data)
    for length in (len(packed) // 2, len(packed) - 1, len(packed) - 9):
        (tmp_path / "b.nii.gz").write_bytes(packed[:length])
        assert "truncated" in reason(tmp_path / "b.nii.gz")
    # Stored without compression a changed voxel shows in gzip's checksum alone.
    stored = bytearray(gzip.compress(data, compresslevel=0))
    stored[1000] ^= 1
    (tmp_path / "c.nii.gz").write_bytes(stored)
    assert "damaged" in reason(tmp_path / "c.nii.gz")
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(b"no volume" * 100))
    assert reason(tmp_path / "d.nii.gz") == "is a gzip file that holds no NIfTI volume"
    assert reason(saved(VOLUME.astype(np.complex64), name="e.nii")).startswith("holds complex numbers")
    nib.save(nib.Nifti1Pair(VOLUME, np.eye(4)), tmp_path / "pair.img")
    assert "two-file NIfTI" in reason(tmp_path / "pair.hdr")


def test_bombs_are_refused_by_their_header(saved, tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30_000, 30_000, 30_000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(10_000)))
    assert reason(tmp_path / "a.nii.gz").startswith("declares 30000 x 30000 x 30000")
    assert reason(saved(), max_pixels=209).startswith("declares 5 x 6 x 7 = 210 pixels")


def test_a_singular_orientation_is_refused(saved):
    file = nib.Nifti1Image(VOLUME, np.eye(4))
    file.header["sform_code"], file.header["srow_x"] = 1, 0
    file.header["vox_offset"] = 352
    path = saved(name="a.nii")
    path.write_bytes(file.header.binaryblock + bytes(4) + VOLUME.tobytes(order="F"))
    assert "orientation" in reason(path) or "pixels" in reason(path)


def with_header(path, **fields):
    """Rewrites fields of a header as no library would."""
    data = path.read_bytes()
    kind, size = (nib.Nifti2Header, 540) if data[4:7] == b"n+2" else (nib.Nifti1Header, 348)
    header = kind(data[:size], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + data[size:])
    return path


def test_a_connectivity_matrix_is_refused_as_that(tmp_path):
    # As Connectome Workbench writes a .dconn.nii: a brain model on both axes, intent 3001.
    mask = np.ones((2, 2, 2), bool)
    axis = nib.cifti2.BrainModelAxis.from_mask(mask, affine=np.eye(4), name="thalamus_left")
    nib.save(nib.Cifti2Image(np.eye(8, dtype=np.float32), (axis, axis)), tmp_path / "a.dconn.nii")
    said = reason(tmp_path / "a.dconn.nii")
    assert "connectivity (CIFTI)" in said
    assert "not of an image" in said
    (tmp_path / "b.dconn.nii.gz").write_bytes(gzip.compress((tmp_path / "a.dconn.nii").read_bytes()))
    assert reason(tmp_path / "b.dconn.nii.gz") == said


@pytest.mark.parametrize(
    ("intent", "said"),
    [
        ("pointset", "points"),
        ("triangle", "triangles of a surface"),
        ("vector", "vectors or displacements"),
        ("symmetric matrix", "matrices"),
        ("node index", "node numbers"),
        ("fnirt cubic spline coef", "coefficients of a deformation"),
        ("ConnDenseScalar", "CIFTI"),
    ],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_intents_that_are_no_image_are_refused_by_kind(saved, intent, said, kind):
    path = with_header(saved(kind=kind, name="a.nii"), intent_code=nib.nifti1.intent_codes.code[intent])
    assert said in reason(path)


def test_values_of_nodes_are_no_image_but_a_series_of_volumes_is(saved):
    path = saved(np.zeros((9, 1, 1, 4), np.float32), name="a.nii")
    assert "values on a surface" in reason(with_header(path, intent_code=2001))
    path = with_header(saved(np.stack([VOLUME] * 3, 3), name="a.nii"), intent_code=2001)
    assert read_image(path).pixels.shape[1:] == read_image(saved()).pixels.shape[1:]


@pytest.mark.parametrize("intent", ["t test", "z score", "p value", "estimate", "label", "dimensionless"])
def test_statistics_and_labels_are_images(saved, intent):
    path = with_header(saved(name="a.nii"), intent_code=nib.nifti1.intent_codes.code[intent])
    assert np.array_equal(read_image(path).pixels, read_image(saved()).pixels)


def test_dimensions_beyond_time_are_refused_unless_they_are_one(saved):
    assert "has 5 dimensions (5 x 6 x 7 x 1 x 3)" in reason(saved(np.stack([VOLUME] * 3, 3)[:, :, :, None]))
    assert np.array_equal(read_image(saved(VOLUME[..., None, None])).pixels, read_image(saved()).pixels)
    assert "has 6 dimensions" in reason(saved(np.stack([VOLUME] * 2, 3)[:, :, :, None, None]))
    assert "dimensions; 1 to 7 are allowed" in reason(
        with_header(saved(name="a.nii"), dim=[9, 5, 6, 7, 1, 1, 1, 1])
    )


@pytest.mark.parametrize("offset", [0, 16, 348, -352, 352.5, np.nan, np.inf])
def test_voxels_do_not_begin_inside_the_header(saved, offset):
    assert "or behind" in reason(with_header(saved(name="a.nii"), vox_offset=offset))


def test_an_offset_of_nifti_2_and_one_beyond_the_header(saved):
    assert "544 or behind" in reason(with_header(saved(name="a.nii", kind=nib.Nifti2Image), vox_offset=352))
    path = saved(name="a.nii")
    data = path.read_bytes()
    path.write_bytes(data[:352] + bytes(64) + data[352:])
    assert np.array_equal(
        read_image(with_header(path, vox_offset=416)).values(), read_image(saved()).values()
    )


def test_a_scaling_without_its_second_half_is_named(saved):
    assert "scl_inter is nan" in reason(with_header(saved(name="a.nii"), scl_slope=2, scl_inter=np.nan))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datatype": 0}, "of data type 0, which is not known"),
        ({"datatype": 999}, "of data type 999, which is not known"),
        ({"xyzt_units": 7}, r"its unit of length or time is not known \(xyzt_units 7\)"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 2.0}, "its quaternion is not that of a rotation"),
        ({"scl_slope": np.inf}, "its scl_slope is infinite"),
    ],
)
def test_values_outside_what_the_format_allows_are_named(saved, changes, said):
    assert re.search(said, reason(with_header(saved(name="a.nii"), **changes)))


def test_a_line_of_values_is_no_image(saved):
    """As FreeSurfer saves what lies on a surface, without any intent."""
    assert "is a line of 2,562 values" in reason(saved(np.zeros((2562, 1, 1), np.float32) + 1, name="a.nii"))
    assert read_image(saved(np.arange(9.0).reshape(9, 1, 1), name="b.nii")).pixels.size == 9
    assert read_image(saved(np.arange(2562.0).reshape(1281, 2, 1), name="c.nii")).pixels.size == 2562


@pytest.mark.parametrize("sizes", [[0, 0, 0], [1, np.nan, 1], [np.inf, 1, 1], [1, 1, 0]])
def test_sizes_that_are_not_there_are_not_one_millimetre(saved, sizes):
    path = with_header(saved(name="a.nii"), sform_code=0, qform_code=1, pixdim=[1, *sizes, 0, 0, 0, 0])
    image = read_image(path)
    assert (image.spacing, image.plane, image.source.spacing_from) == (None, None, None)
    # An sform says the sizes too, and goes before.
    known = with_header(saved(name="b.nii"), pixdim=[1, *sizes, 0, 0, 0, 0])
    assert read_image(known).spacing is not None
