"""What 0 and 1 of translations stand for: found in the training targets, kept with the run."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.tasks import task_from_dict
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.tasks.value_range import ValueRange


def volume(path, low, high):
    """Half of it 0, the rest from low to high in even steps."""
    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[4:] = np.linspace(low, high, 256).reshape(4, 8, 8)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return ImageRef(path)


def test_the_range_is_the_median_over_files(tmp_path):
    refs = [volume(tmp_path / f"{n}.nii", low, low + 100) for n, low in enumerate((10, 20, 60))]
    found = ValueRange.of_files(refs, None, "percentile")
    # The 0.5th and 99.5th percentile of 256 even steps.
    assert (found.low, found.high) == pytest.approx((20.5, 119.5), abs=1e-3)
    assert (found.background, found.rule, found.files, found.units) == (0.0, "percentile", 3, "US")
    assert found.ends == (0.0, found.high)


def test_one_slice_of_each_file_is_looked_at_and_16_files_at_most(tmp_path):
    whole = volume(tmp_path / "v.nii", 1, 2).path
    slices = [ImageRef(whole, axis=2, index=index) for index in range(8)]
    assert ValueRange.of_files(slices, None, "percentile").files == 1
    many = [volume(tmp_path / f"{n}.nii", 1, 2) for n in range(20)]
    assert ValueRange.of_files(many, None, "percentile").files == 16


def test_a_window_that_is_given_is_the_range(tmp_path):
    found = ValueRange.of_files([volume(tmp_path / "v.nii", 10, 90)], (40.0, 60.0), "percentile")
    assert (found.low, found.high, found.rule, found.background) == (10.0, 70.0, "window", None)


def test_pictures_of_8_bits_keep_their_levels_whatever_window_is_given(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    found = ValueRange.of_files([ImageRef(tmp_path / "a.png")], (40.0, 60.0), "file")
    assert (found.low, found.high, found.bits, found.rule) == (0.0, 255.0, 8, "file")


def test_ct_in_dicom_is_in_hounsfield_units(real_images):
    folder = real_images("dicom_nifti")
    ct = ValueRange.of_files([ImageRef(folder / "CT_small.dcm")], (40.0, 400.0), "file")
    assert (ct.low, ct.high, ct.units) == (-160.0, 240.0, "HU")
    assert "-160 to 240 HU (given window)" in ct.described
    assert ValueRange.of_files([ImageRef(folder / "MR_small.dcm")], None, "file").units == "US"


def test_files_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / "broken.nii").write_bytes(b"no")
    refs = [ImageRef(tmp_path / "broken.nii"), volume(tmp_path / "v.nii", 0.5, 3)]
    assert ValueRange.of_files(refs, None, "file").files == 1
    assert ValueRange.of_files(refs[:1], None, "file") is None


def test_the_task_takes_it_from_training_targets_and_keeps_it(tmp_path):
    for number in range(4):
        volume(tmp_path / f"x{number}.nii", 1, 2)
        volume(tmp_path / f"y{number}.nii", 100 * (number + 1), 100 * (number + 1) + 50)
    table = pd.DataFrame(
        {
            "image": [f"x{n}.nii" for n in range(4)],
            "target": [f"y{n}.nii" for n in range(4)],
            "split": ["test", "train", "test", "val"],
        }
    )
    task = ImageToImage.from_manifest(Manifest(table, tmp_path, "made"), {"intensity": "percentile"})
    assert task.value_range.files == 1
    assert 200 < task.value_range.low < 202
    again = task_from_dict(task.to_dict())
    assert again.value_range == task.value_range
    older = {key: value for key, value in task.to_dict().items() if key != "target_range"}
    assert task_from_dict(older).value_range is None


def test_neighbours_count_as_channels_of_the_network_alone():
    task = ImageToImage((1, 1), ImageToImageOptions(adjacent_slices=2))
    assert (task.channels, task.channels_alone, task.num_outputs) == (5, 1, 1)
