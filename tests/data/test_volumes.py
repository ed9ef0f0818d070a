"""Volumes as slices in order, whatever the files' names and axes; what makes no volume is refused."""

import itertools

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from modicum.data.image import ImageRef
from modicum.data.readers import read_image
from modicum.data.volumes import dicom_volume, find_volumes, nifti_volumes, require_same_grid
from modicum.errors import BrokenImageError, InputError

RNG = np.random.default_rng(0)


def write_slice(path, index, stored, series="1.2.3", **changed):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    values = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": series,
        "Modality": "MR",
        "PatientName": "Doe^Jane",
        "InstanceNumber": index + 1,
        "ImagePositionPatient": [-10.0, -20.0, 5.0 + 2.5 * index],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.75],
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": stored.astype("<u2").tobytes(),
    } | changed
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path):
    """Six slices whose names are in another order than their places."""

    def make(**changed):
        stored = RNG.integers(1, 1000, (6, 8, 9))
        names = ["d", "a", "f", "b", "e", "c"]
        return stored, [
            write_slice(
                tmp_path / f"{name}.dcm",
                index,
                stored[index],
                **{key: value(index) if callable(value) else value for key, value in changed.items()},
            )
            for index, name in enumerate(names)
        ]

    return make


def said(paths):
    with pytest.raises((InputError, BrokenImageError)) as raised:
        dicom_volume(paths)
    return str(raised.value)


def test_slices_are_sorted_by_their_place_along_the_normal(series):
    stored, paths = series(InstanceNumber=lambda index: 6 - index)
    volume = dicom_volume(sorted(paths))
    assert [ref.path for ref in volume.refs] == paths
    assert volume.shape == (6, 8, 9)
    assert volume.spacing == pytest.approx((2.5, 0.5, 0.75))
    for expected, image in zip(stored, volume.images("range"), strict=True):
        np.testing.assert_allclose(image.values()[0], expected, atol=1e-3)


def test_oblique_slices_are_sorted_along_their_own_normal(series):
    """Sagittal slices (rows along the body's depth, columns down): the normal is the left-right axis."""
    _, paths = series(
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=lambda index: [3 * index, 7, 7]
    )
    volume = dicom_volume(paths)
    # rows x columns = (0, 1, 0) x (0, 0, -1) = (-1, 0, 0): towards the patient's right.
    assert [ref.path for ref in volume.refs] == paths[::-1]
    assert volume.spacing[0] == pytest.approx(3)


def test_the_affine_is_that_of_the_standard(series):
    """C.7.6.2.1.1: position + column index x column spacing x row direction + ..., in LPS; here in RAS."""
    _, paths = series()
    affine = dicom_volume(paths).affine
    slice_, row, column = 3, 2, 5
    lps = np.array([-10 + 0.75 * column, -20 + 0.5 * row, 5 + 2.5 * slice_])
    np.testing.assert_allclose(affine @ [slice_, row, column, 1], [-lps[0], -lps[1], lps[2], 1])


def tilted(degrees, step=2.5):
    """Positions of a CT with its gantry tilted: the table moves along z, while the slices' normal leans."""
    angle = np.radians(degrees)
    return {
        "ImageOrientationPatient": [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))],
        "ImagePositionPatient": lambda index: [-10.0, -20.0, 5 + step * index],
    }


SHEARED = {
    "a tilt of 20 degrees": tilted(20),
    "a tilt the other way": tilted(-15),
    "a slant across the columns": {"ImagePositionPatient": lambda k: [-10 + 0.8 * k, -20.0, 5 + 2.5 * k]},
    "sagittal, sliding down": {
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
        "ImagePositionPatient": lambda k: [-3.0 * k, 7.0, 7 - 1.5 * k],
    },
    "steps of 0.625 mm rounded to a tenth": {
        "ImagePositionPatient": lambda k: [-10.0, -20.0, round(0.625 * k, 1)]
    },
    "from head to foot": {"ImagePositionPatient": lambda k: [-10.0, -20.0, -2.5 * k]},
    "slices of a microscope": {
        "PixelSpacing": [1e-5, 1e-5],
        "ImagePositionPatient": lambda k: [0.0, 0.0, 5e-5 * k],
    },
    "far from the origin": {"ImagePositionPatient": lambda k: [1e5, -1e5, 1e5 + 2.5 * k]},
    "rounded to a tenth": {"ImagePositionPatient": lambda k: [-10.0, round(-20 + 0.43 * k, 1), 5 + 2.5 * k]},
}


@pytest.mark.parametrize("name", SHEARED)
def test_every_slice_lies_where_its_own_header_says(series, name):
    """The affine of a sheared series puts the first pixel of each slice at its ImagePositionPatient."""
    _, paths = series(**SHEARED[name])
    volume = dicom_volume(paths)
    for index, ref in enumerate(volume.refs):
        position = np.array(pydicom.dcmread(ref.path).ImagePositionPatient, float)
        ras = (volume.affine @ [index, 0, 0, 1])[:3]
        np.testing.assert_allclose(ras * [-1, -1, 1], position, atol=0.06 if "rounded" in name else 1e-6)
        np.testing.assert_allclose(read_image(ref).plane.origin, ras * [-1, -1, 1], atol=0.06)


NO_GRID = {
    "one slice aside": lambda k: [-10 + 1.5 * (k == 3), -20.0, 5 + 2.5 * k],
    "a bend": lambda k: [-10.0, -20 + 0.3 * k * k, 5 + 2.5 * k],
    "zigzag": lambda k: [-10 + 0.6 * (k % 2), -20.0, 5 + 2.5 * k],
}


# What one series is not, of what people have in one folder under one SeriesInstanceUID.
NO_SERIES = {
    "two echoes": ({"ImagePositionPatient": lambda k: [0, 0, 3.0 * (k // 2)]}, "at the same position"),
    "three phases": ({"ImagePositionPatient": lambda k: [0, 0, 3.0 * (k % 2)]}, "at the same position"),
    "positions all 0": ({"ImagePositionPatient": [0, 0, 0]}, "at the same position"),
    "two stacks of discs": (
        {"ImagePositionPatient": lambda k: [0, 0, 3.0 * (k % 3) + 40 * (k // 3)]},
        "10 slices are missing",
    ),
    "a fan": (
        {
            "ImageOrientationPatient": lambda k: [float(np.cos(k)), float(np.sin(k)), 0, 0, 0, -1],
            "ImagePositionPatient": [0, 0, 0],
        },
        "different orientation",
    ),
    "half dense, half coarse": (
        {"ImagePositionPatient": lambda k: [0, 0, float([0, 1, 2, 4, 6, 8][k])]},
        "not evenly spaced",
    ),
}


@pytest.mark.parametrize("name", NO_SERIES)
def test_what_makes_no_volume_is_refused_with_the_reason(series, name):
    changed, reason = NO_SERIES[name]
    _, paths = series(**changed)
    assert reason in said(paths)


@pytest.mark.parametrize("name", NO_GRID)
def test_slices_that_are_no_grid_are_refused_by_name(series, name):
    _, paths = series(ImagePositionPatient=NO_GRID[name])
    message = said(paths)
    assert "from its place in a regular grid" in message
    assert "mm are allowed" in message
    assert ".dcm" in message
    assert "Jane" not in message


def test_small_errors_of_each_step_may_not_add_up(tmp_path):
    """No two neighbours are more than a tenth from the usual step, yet the slices of the middle are far off."""
    depths = np.cumsum(np.r_[0, np.repeat([2.3, 2.7], 8)])
    paths = [
        write_slice(tmp_path / f"{at}.dcm", at, np.ones((4, 4)), ImagePositionPatient=[0, 0, float(depth)])
        for at, depth in enumerate(depths)
    ]
    assert "along their normal from its place" in said(paths)


@pytest.mark.parametrize(
    "directions", [[2, 0, 0, 0, 2, 0], [1, 0, 0, 0.5, 1, 0], [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0]]
)
def test_directions_that_are_no_unit_vectors_are_named(series, directions):
    _, paths = series(ImageOrientationPatient=directions)
    assert "ImageOrientationPatient is no pair of unit vectors" in said(paths)


def test_directions_that_are_all_0_are_none(series):
    _, paths = series(ImageOrientationPatient=[0] * 6)
    volume = dicom_volume(sorted(paths))
    assert [ref.path for ref in volume.refs] == paths
    assert volume.affine is None


def test_without_positions_the_instance_number_orders(series):
    _, paths = series(ImagePositionPatient=None)
    volume = dicom_volume(sorted(paths))
    assert [ref.path for ref in volume.refs] == paths
    assert volume.spacing is None


def test_missing_and_double_slices_are_named(series, tmp_path):
    _, paths = series()
    message = said(paths[:2] + paths[4:])
    assert "2 slices are missing" in message
    assert "a.dcm" in message
    assert "e.dcm" in message
    assert "1 slice is missing" in said(paths[:3] + paths[4:])
    copy = write_slice(tmp_path / "copy.dcm", 2, np.ones((8, 9)))
    assert "are at the same position" in said([*paths, copy])


def test_missing_and_double_numbers_are_named(series, tmp_path):
    _, paths = series(ImagePositionPatient=None)
    assert "their InstanceNumbers are 2 and 4" in said(paths[:2] + paths[3:])
    copy = write_slice(tmp_path / "copy.dcm", 2, np.ones((8, 9)), ImagePositionPatient=None)
    assert "the same InstanceNumber, 3" in said([*paths, copy])
    nameless = write_slice(
        tmp_path / "x.dcm", 2, np.ones((8, 9)), ImagePositionPatient=None, InstanceNumber=None
    )
    assert "neither a position nor an InstanceNumber" in said([*paths, nameless])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"series": "9.9"}, "are of different series"),
        ({"stored": np.ones((8, 10))}, "different sizes, 8 x 9 and 8 x 10"),
        ({"PixelSpacing": [0.5, 0.8]}, "different pixel spacings"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "different orientation (a localiser among them?)"),
        ({"ImagePositionPatient": None}, "has no position"),
        ({"ImagePositionPatient": [0, 0, 5 + 2.5 * 6.4]}, "not evenly spaced"),
    ],
)
def test_a_slice_that_does_not_belong_is_named(series, tmp_path, changed, expected):
    _, paths = series()
    changed = {"stored": np.ones((8, 9))} | changed
    other = write_slice(tmp_path / "other.dcm", 6, **changed)
    message = said([*paths, other])
    assert expected in message
    assert "other.dcm" in message
    assert "Jane" not in message


def test_what_is_no_dicom_image_is_named(series, tmp_path):
    _, paths = series()
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3)), np.eye(4)), tmp_path / "a.nii")
    assert "a.nii: is not a DICOM file but NIFTI" in said([*paths, tmp_path / "a.nii"])
    report = pydicom.dcmread(paths[0])
    del report.Rows, report.Columns
    report.save_as(tmp_path / "report.dcm")
    assert "without an image" in said([*paths, tmp_path / "report.dcm"])


def test_the_window_is_that_of_the_whole_series(series):
    stored, paths = series(RescaleSlope=2, RescaleIntercept=-2)
    volume = dicom_volume(paths)
    values = stored * 2.0 - 2
    low, high = np.percentile(values[values != 0], [0.5, 99.5])
    window = volume.window("percentile")
    assert (window.low, window.high, window.background) == pytest.approx((low, high, 0))
    assert {image.value_range for image in volume.images("percentile")} == {(window.low, window.high)}
    assert volume.window("range").low == values.min()
    with pytest.raises(InputError, match="unknown"):
        volume.window("ranges")


def test_a_ct_series_has_no_percentiles(series):
    _, paths = series(Modality="CT")
    with pytest.raises(InputError, match="zero is water"):
        dicom_volume(paths).window("percentile")


def test_a_folder_of_two_series_a_volume_and_pictures(series, tmp_path):
    _, paths = series()
    for index in range(3):
        write_slice(tmp_path / f"second{index}", index, np.ones((4, 4)), series="1.2.4")
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5, 2)), np.eye(4)), tmp_path / "s.nii.gz")
    (tmp_path / "notes.txt").write_text("x")
    found = find_volumes([tmp_path])
    assert sorted(volume.shape for volume in found) == [(3, 4, 4), (5, 4, 3), (5, 4, 3), (6, 8, 9)]
    frames = [volume.refs[0].frame for volume in found if volume.format == "nifti"]
    assert frames == [0, 1]
    assert [ref.path for ref in find_volumes(paths)[0].refs] == paths


def test_no_volume_is_an_error_with_a_name(tmp_path):
    with pytest.raises(InputError, match="no volume was found"):
        find_volumes([tmp_path])
    with pytest.raises(InputError, match="does not exist"):
        find_volumes([tmp_path / "none.nii"])
    (tmp_path / "a.nii").write_text("no volume")
    with pytest.raises(BrokenImageError, match=r"a\.nii: is a text file"):
        find_volumes([tmp_path])
    with pytest.raises(InputError, match="axis=3"):
        nifti_volumes(tmp_path / "a.nii", axis=3)


def test_several_frames_in_one_file_are_a_volume(series, tmp_path):
    stored = RNG.integers(0, 1000, (5, 8, 9))
    path = write_slice(
        tmp_path / "many.dcm", 0, stored[0], NumberOfFrames=5, PixelData=stored.astype("<u2").tobytes()
    )
    (volume,) = find_volumes([path])
    assert volume.shape == (5, 8, 9)
    for expected, image in zip(stored, volume.images(), strict=True):
        np.testing.assert_allclose(image.values()[0], expected, atol=0.02)
    _, paths = series()
    assert "cannot be a slice of a series" in said([*paths, path])


def test_nifti_slices_in_every_orientation_lie_where_the_affine_says(tmp_path):
    """A voxel's value tells its place in RAS+ millimetres, however the file is turned."""
    shape = (4, 5, 6)
    ras = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ [1.0, 10.0, 100.0]
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turn = np.stack([order, flips], axis=1)
            affine = nib.orientations.inv_ornt_aff(turn, shape)
            nib.save(nib.Nifti1Image(nib.apply_orientation(ras, turn), affine), tmp_path / "a.nii")
            for axis in range(3):
                (volume,) = nifti_volumes(tmp_path / "a.nii", axis)
                assert volume.shape[0] == shape[axis]
                values = np.stack([image.values()[0] for image in volume.images()])
                assert values.shape == volume.shape
                where = np.argwhere(np.ones(volume.shape))
                places = np.c_[where, np.ones(len(where))] @ volume.affine.T
                np.testing.assert_allclose(values.ravel(), places[:, :3] @ [1, 10, 100], atol=1e-3)
                counted = places[:, axis].reshape(volume.shape)[:, 0, 0]
                np.testing.assert_allclose(counted, np.arange(shape[axis]), atol=1e-9)


def test_pairs_in_other_orientations_match_and_other_grids_do_not(tmp_path):
    affine = np.diag([1.0, 2, 3, 1])
    moved = affine.copy()
    moved[0, 3] = 0.5
    volume = np.ones((4, 5, 6), np.float32)
    paths = {}
    for name, turned, own in (
        ("a", volume, affine),
        ("flipped", volume, affine @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], (4, 5, 6))),
        ("shifted", volume, moved),
        ("small", volume[:, :, :5], affine),
    ):
        paths[name] = tmp_path / f"{name}.nii"
        nib.save(nib.Nifti1Image(turned, own), paths[name])
    first, flipped, shifted, small = (
        nifti_volumes(paths[n])[0] for n in ("a", "flipped", "shifted", "small")
    )
    require_same_grid(first, flipped)
    with pytest.raises(InputError, match=r"corners are 0\.5 mm apart; resample"):
        require_same_grid(first, shifted)
    with pytest.raises(InputError, match=r"differ in shape .*: 6 x 5 x 4 and 5 x 5 x 4"):
        require_same_grid(first, small)


def test_real_pairs_lie_on_one_grid(real_images):
    folder = real_images("dicom_nifti")
    volumes = [nifti_volumes(folder / f"patient07_{name}.nii.gz")[0] for name in ("T1", "T2", "lesions")]
    assert volumes[0].shape == (182, 218, 182)
    assert volumes[0].spacing == (1, 1, 1)
    for other in volumes[1:]:
        require_same_grid(volumes[0], other)


def test_a_real_slice_alone_is_a_volume_of_one(real_images):
    path = real_images("dicom_nifti") / "CT_small.dcm"
    volume = dicom_volume([path])
    assert len(volume) == 1
    assert volume.modality == "CT"
    assert volume.refs == (ImageRef(path),)
    np.testing.assert_array_equal(next(volume.images()).pixels, read_image(path).pixels)


def test_datasets_without_anything_are_refused(tmp_path):
    with pytest.raises(InputError, match="without files; pass at least one"):
        dicom_volume([])
    Dataset().save_as(tmp_path / "a.dcm", implicit_vr=True, little_endian=True)
    with pytest.raises(BrokenImageError):
        dicom_volume([tmp_path / "a.dcm"])
