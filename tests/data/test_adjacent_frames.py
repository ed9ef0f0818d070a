"""Which slices lie beside a slice: of volumes, of series, and by names."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from modicum.data.adjacent_slices import AdjacentSlices, require_adjacent_slices
from modicum.data.image import ImageRef
from modicum.errors import InputError


@pytest.fixture
def near():
    return AdjacentSlices()


def test_of_a_nifti_volume_with_its_ends_repeated(tmp_path, near):
    path = tmp_path / "v.nii"
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.float32), np.eye(4)), path)

    def indices(index, axis, count):
        return [ref.index for ref in near.around(ImageRef(path, axis=axis, index=index), count)]

    assert indices(3, 2, 2) == [1, 2, 3, 4, 5]
    assert indices(0, 2, 1) == [0, 0, 1]
    assert indices(4, 0, 2) == [2, 3, 4, 4, 4]
    assert [ref.index for ref in near.around(ImageRef(path), 1)] == [
        2,
        3,
        4,
    ]  # the reader's slice is the middle one
    assert near.around(ImageRef(path), 0) == (ImageRef(path),)


def test_by_the_last_number_of_names_gaps_included(tmp_path, near):
    names = ["p7_9.png", "p7_10.png", "p7_12.png", "p8_11.png", "p7_11.jpg", "other.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    found = near.around(ImageRef(tmp_path / "p7_10.png"), 1)
    assert [ref.path.name for ref in found] == ["p7_9.png", "p7_10.png", "p7_12.png"]
    assert len(set(near.around(ImageRef(tmp_path / "other.png"), 2))) == 1


def test_of_a_dicom_series_by_place_and_not_by_name(real_images, tmp_path, near):
    header = pydicom.dcmread(real_images("dicom_nifti") / "MR_small.dcm")
    places = {"c.dcm": 0, "a.dcm": 1, "b.dcm": 2}
    for name, place in places.items():
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{place + 1}"
        header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3.0 * place]
        header.save_as(tmp_path / name)
    header.SeriesInstanceUID, header.ImagePositionPatient = "1.9", [0, 0, 1.5]
    header.save_as(tmp_path / "b2.dcm")
    found = near.around(ImageRef(tmp_path / "a.dcm"), 1)
    assert [ref.path.name for ref in found] == ["c.dcm", "a.dcm", "b.dcm"]


def test_a_target_is_never_a_neighbour():
    slices = [ImageRef(path) for path in (Path("s1_t1.png"), Path("s1_t2.png"))]
    with pytest.raises(InputError, match=r"'s1_t2.png' would be an adjacent slice of 's1_t1.png'"):
        require_adjacent_slices([(slices[0], slices[0], slices[1])], {slices[1]})
    with pytest.raises(InputError, match="no image has an adjacent slice"):
        require_adjacent_slices([(slices[0],) * 3], set())
