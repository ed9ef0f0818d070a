"""Real volumes and series through the way out: MR of a patient, and DICOM slices made into a series."""

import nibabel as nib
import numpy as np
import pydicom
from made_dense import Negative, Shifted, predictor_of

from modicum.data.layouts.given_images import images_of
from modicum.engine.inference.alignment import align
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput
from modicum.tasks.value_range import ValueRange

MR = ValueRange(30.0, 970.0, "percentile", background=0.0, files=1)


def test_a_patients_volume_keeps_its_grid_its_number_type_and_its_background(real_images, tmp_path):
    source = real_images("dicom_nifti") / "patient07_T1.nii.gz"
    predictor = predictor_of(Negative(), MR, size=(64, 64), intensity="percentile", adjacent_slices=1)
    names, refs = images_of([source])
    done = DenseOutput(predictor, tmp_path, "made").write(planned([source], names, refs))
    before, after = nib.load(source), nib.load(tmp_path / "patient07_T1_predicted.nii.gz")
    assert done.predicted == before.shape[2] == 182
    assert after.shape == before.shape
    np.testing.assert_allclose(after.affine, before.affine)
    np.testing.assert_allclose(after.header.get_zooms(), before.header.get_zooms())
    assert after.get_data_dtype() == before.get_data_dtype()
    old, new = np.asarray(before.dataobj), np.asarray(after.dataobj)
    assert 0 <= new.min() <= new.max() <= 970
    outside = old == 0
    assert (new[outside] == 0).mean() > 0.99  # but for holes in the brain
    assert (new[~outside] > 0).mean() > 0.98
    assert np.corrcoef(old[~outside], new[~outside])[0, 1] < -0.6


def test_the_two_contrasts_of_a_patient_lie_on_one_grid_and_align(real_images, tmp_path):
    folder = real_images("dicom_nifti")
    pair = folder / "patient07_T1.nii.gz", folder / "patient07_T2.nii.gz"
    predictor = predictor_of(Shifted(0.0, 0.0), size=(64, 64))
    done = align(predictor, *pair, tmp_path / "m.nii.gz", tmp_path / "f.nii.gz", made_by="made")
    assert (done.slices, done.max, done.folded) == (182, 0.0, 0.0)
    moved, own = nib.load(tmp_path / "m.nii.gz"), nib.load(pair[0])
    np.testing.assert_allclose(
        np.asarray(moved.dataobj), np.asarray(own.dataobj), atol=0.2
    )  # nothing cut off


def test_a_dicom_series_is_moved_into_a_series(real_images, tmp_path):
    header = pydicom.dcmread(real_images("dicom_nifti") / "MR_small.dcm")
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for kind in "xy":
        (tmp_path / kind).mkdir()
        for number in range(3):
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = (
                f"1.2.{ord(kind)}.{number + 1}"
            )
            header.SeriesInstanceUID = f"1.2.{ord(kind)}"
            header.ImagePositionPatient = [0, 0, 3.0 * number]
            header.save_as(tmp_path / kind / f"{number}.dcm")
    done = align(
        predictor_of(Shifted(1.0, 0.0)), tmp_path / "x", tmp_path / "y", tmp_path / "m", made_by="made"
    )
    made = [pydicom.dcmread(path) for path in sorted((tmp_path / "m").iterdir())]
    assert len({one.SOPInstanceUID for one in made}) == 3
    assert {one.SeriesInstanceUID for one in made} == {made[0].SeriesInstanceUID} != {"1.2.120"}
    assert [one.ImagePositionPatient[2] for one in made] == [0, 3, 6]
    values = made[0].pixel_array * float(made[0].RescaleSlope) + float(made[0].RescaleIntercept)
    np.testing.assert_allclose(values[:-4], header.pixel_array[4:], atol=0.1)  # a pixel of 16 is 4 of 64
    field = np.load(done.field)
    assert field["pixels"].shape == (3, 2, 64, 64)
