"""Images brought onto pictures of another modality, and the fields in files."""

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_dense import Negative, Shifted, predictor_of, write_volume

from modicum.engine.inference.alignment import align, largest_known_displacement
from modicum.engine.run_folder import RunFolder, write_json
from modicum.errors import InputError

RNG = np.random.default_rng(0)
SIZE = 16, 16


def smooth(height=32, width=48) -> np.ndarray:
    return cv2.GaussianBlur(RNG.integers(0, 255, (height, width)).astype(np.uint8), (0, 0), 2)


def test_a_known_shift_is_undone_at_the_files_own_size(tmp_path):
    """One pixel of the network is 2 rows and 3 columns here: 1 down and -2 right are 2 rows and -6 columns."""
    moving = smooth()
    cv2.imwrite(str(tmp_path / "x.png"), moving)
    cv2.imwrite(str(tmp_path / "y.png"), smooth())
    predictor = predictor_of(Shifted(1.0, -2.0))
    done = align(predictor, tmp_path / "x.png", tmp_path / "y.png", tmp_path / "m.png", made_by="made")
    made = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(made[:-2, 6:], moving[2:, :-6])
    field = np.load(tmp_path / "m_field.npz")
    assert field["pixels"].shape == (2, 32, 48)
    assert np.unique(field["pixels"][0]).tolist() == [2.0]
    assert np.unique(field["pixels"][1]).tolist() == [-6.0]
    assert "millimetres" not in field  # a PNG does not say
    assert done.mean == pytest.approx(np.hypot(2, 6), rel=1e-5)
    assert (done.slices, done.folded) == (1, 0.0)


def test_a_volume_is_moved_slice_by_slice_and_its_field_is_in_the_bodys_millimetres(tmp_path):
    voxels = np.stack([smooth(20, 16).astype(np.int16) * 4 - 100 for _ in range(3)], axis=2)
    source = nib.load(write_volume(tmp_path / "x.nii.gz", voxels, zooms=(0.5, 2.0, 3.0)))
    write_volume(tmp_path / "y.nii.gz", voxels[::-1].copy(), zooms=(0.5, 2.0, 3.0))
    predictor = predictor_of(
        Shifted(2.0, 3.0), size=(16, 20)
    )  # slices are 16 rows (front on top), 20 columns
    align(predictor, tmp_path / "x.nii.gz", tmp_path / "y.nii.gz", tmp_path / "m.nii.gz", made_by="made")
    made = nib.load(tmp_path / "m.nii.gz")
    assert made.shape == source.shape
    np.testing.assert_allclose(made.affine, source.affine)
    assert made.get_data_dtype() == np.int16
    # Rows run to the back, which the second axis counts down; columns to the left, as the first axis of LAS does.
    np.testing.assert_allclose(made.get_fdata()[:-3, 2:], source.get_fdata()[3:, :-2], atol=1)
    field = nib.load(tmp_path / "m_field.nii.gz")
    assert field.shape == (20, 16, 3, 1, 3)
    assert field.header.get_intent()[0] == "vector"
    vectors = field.get_fdata().reshape(-1, 3)
    # 3 columns of 0.5 mm to the left, 2 rows of 2 mm to the back; DICOM's axes (LPS).
    np.testing.assert_allclose(vectors, np.broadcast_to([1.5, 4.0, 0.0], vectors.shape), atol=1e-5)


def test_the_vectors_lead_from_the_target_to_the_place_in_the_image(tmp_path):
    """Reading the image at place + vector, in millimetres and through the affine alone, gives the moved image."""
    voxels = np.stack([smooth(16, 16).astype(np.float32) for _ in range(2)], axis=2)
    write_volume(tmp_path / "x.nii", voxels, zooms=(1.5, 2.0, 3.0))
    predictor = predictor_of(Shifted(2.0, -3.0))
    align(predictor, tmp_path / "x.nii", tmp_path / "x.nii", tmp_path / "m.nii", made_by="made")
    image, moved = nib.load(tmp_path / "x.nii"), nib.load(tmp_path / "m.nii").get_fdata()
    vectors = nib.load(tmp_path / "m_field.nii.gz").get_fdata()[:, :, :, 0]
    index = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), -1)
    place = nib.affines.apply_affine(image.affine, index) + vectors * (-1, -1, 1)  # LPS to RAS
    read = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), place)).astype(int)
    inside = ((read >= 0) & (read < voxels.shape)).all(-1)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(moved[inside], voxels[tuple(read[inside].T)], atol=0.02)


def test_npz_of_a_volume_has_pixels_and_millimetres(tmp_path):
    voxels = RNG.integers(0, 9, (16, 16, 4)).astype(np.int16)
    write_volume(tmp_path / "x.nii", voxels, zooms=(0.5, 2.0, 3.0))
    files = [tmp_path / name for name in ("x.nii", "x.nii", "m.nii", "f.npz")]
    done = align(predictor_of(Shifted(1.0, 1.0)), *files, made_by="made")
    field = np.load(done.field)
    assert field["pixels"].shape == field["millimetres"].shape == (4, 2, 16, 16)
    assert field["spacing"].tolist() == [2.0, 0.5]
    np.testing.assert_allclose(field["millimetres"], field["pixels"] * np.array([2.0, 0.5]).reshape(2, 1, 1))


def test_dicom_is_moved_into_a_derived_image(real_images, tmp_path):
    source = real_images("dicom_nifti") / "MR_small.dcm"
    done = align(predictor_of(Shifted(0.0, 0.0)), source, source, tmp_path / "m.dcm", made_by="made")
    made, own = pydicom.dcmread(tmp_path / "m.dcm"), pydicom.dcmread(source)
    values = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
    np.testing.assert_allclose(values, own.pixel_array, atol=0.1)  # nothing is moved, nothing cut off
    assert made.SOPInstanceUID != own.SOPInstanceUID
    assert np.load(done.field)["millimetres"].shape == (2, 64, 64)


def test_without_registration_it_says_so(tmp_path):
    with pytest.raises(InputError, match="learned no registration"):
        align(predictor_of(Negative()), "a.png", "b.png", tmp_path / "m.png", made_by="made")


def test_pictures_that_do_not_fit_each_other_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), smooth()), cv2.imwrite(str(tmp_path / "y.png"), smooth(20, 20))
    write_volume(tmp_path / "v.nii", np.zeros((4, 4, 4), np.int16))
    predictor = predictor_of(Shifted(0.0, 0.0))

    def said(*files):
        with pytest.raises(InputError) as raised:
            align(predictor, *(tmp_path / name for name in files), made_by="made")
        return str(raised.value)

    assert "the image is 32 x 48 pixels" in said("x.png", "y.png", "m.png")
    assert "are not both volumes" in said("x.png", "v.nii", "m.png")
    assert "end it with .png" in said("x.png", "x.png", "m.jpg")
    assert "only of NIfTI volumes" in said("x.png", "x.png", "m.png", "f.nii.gz")
    assert not list(tmp_path.glob(".*"))


def aligned(tmp_path, shift, learned):
    for name in ("x.png", "y.png"):
        cv2.imwrite(str(tmp_path / name), smooth())
    files = [tmp_path / name for name in ("x.png", "y.png", "m.png")]
    return align(predictor_of(Shifted(0.0, shift)), *files, made_by="made", learned=learned)


def test_a_run_that_never_saw_misalignment_says_what_it_can_do(tmp_path):
    done = aligned(tmp_path, 0.01, 0.2)
    assert not done.moved
    assert (
        "this run found displacements of 0.20 pixels at most, so it has learned to move nothing"
        in done.remark
    )
    assert "train on pairs that are misaligned" in done.remark
    assert "learned to move nothing" in aligned(tmp_path, 2.0, 0.2).remark
    assert "it may not find larger ones" in aligned(tmp_path, 0.01, 5.0).remark
    assert aligned(tmp_path, 0.01, None).remark.startswith("to learn registration")
    assert aligned(tmp_path, 2.0, 5.0).remark is None


def test_what_a_run_has_moved_is_read_from_its_own_evaluations(tmp_path):
    folder = RunFolder(tmp_path)
    assert largest_known_displacement(folder) is None
    records = [{"displacement": {"mean": 0.1, "max": 1.5, "folded": 0}}, {"image": "a.png"}]
    write_json(folder.evaluation("val") / "examples" / "examples.json", records)
    write_json(folder.evaluation("other") / "examples" / "examples.json", [{"displacement": {"max": 9.0}}])
    assert largest_known_displacement(folder) == 1.5


@pytest.mark.parametrize(
    ("out", "field", "said"),
    [
        ("x.png", None, r"--out '.*x\.png' is a file that is read: it would be written over"),
        ("y.png", None, r"--out '.*y\.png' is a file that is read"),
        ("link.png", None, r"--out '.*link\.png' is a file that is read"),
        ("m.png", "y.png", r"--field '.*y\.png' is a file that is read"),
        ("m.png", "m.png", r"--field '.*m\.png' is --out too"),
        ("sub/../x.png", None, r"is a file that is read"),
    ],
)
def test_outputs_never_go_over_the_two_images(out, field, said, tmp_path):
    for name in ("x.png", "y.png"):
        cv2.imwrite(str(tmp_path / name), smooth())
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").hardlink_to(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes(), (tmp_path / "y.png").read_bytes()
    to_field = None if field is None else tmp_path / field
    with pytest.raises(InputError, match=said):
        align(
            predictor_of(Shifted(1.0, 1.0)), tmp_path / "x.png", tmp_path / "y.png", tmp_path / out, to_field,
            made_by="made",
        )  # fmt: skip
    assert before == ((tmp_path / "x.png").read_bytes(), (tmp_path / "y.png").read_bytes())
