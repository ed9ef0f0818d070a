"""Image and mask of one slice where only one of the two names it."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image
from modicum.errors import InputError

COUNT = 5


def stack(path, count=COUNT):
    """Page k holds k everywhere."""
    pages = [Image.fromarray(np.full((9, 9), at, np.uint8)) for at in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def nifti(path, affine=(1.0, 1, 2, 1)):
    voxels = np.broadcast_to(np.arange(COUNT), (6, 7, COUNT)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels.copy(), np.diag(affine)), path)


@pytest.fixture
def load(tmp_path):
    stack(tmp_path / "s.tif")
    stack(tmp_path / "m.tif")
    stack(tmp_path / "m.gif")
    stack(tmp_path / "short.tif", 3)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "one.png")
    nifti(tmp_path / "v.nii")
    nifti(tmp_path / "m.nii.gz")

    def made(image, beside, column="mask", **options):
        (tmp_path / "data.csv").write_text(f"image,{column}\n{image},{beside}\n")
        return load_manifest(tmp_path / "data.csv", **options)

    return made


@pytest.mark.parametrize(
    ("image", "beside", "column", "pair"),
    [
        ("s.tif#frame=2", "m.tif", "mask", ("s.tif#frame=2", "m.tif#frame=2")),
        ("s.tif", "m.tif#frame=3", "mask", ("s.tif#frame=3", "m.tif#frame=3")),
        ("s.tif#frame=2", "m.tif", "target", ("s.tif#frame=2", "m.tif#frame=2")),
        ("s.tif#frame=1", "m.tif", "masks:lesion", ("s.tif#frame=1", "m.tif#frame=1")),
        ("s.tif#frame=4", "m.gif", "fov", ("s.tif#frame=4", "m.gif#frame=4")),
        ("v.nii#axis=2&index=1", "m.nii.gz", "mask", ("v.nii#axis=2&index=1", "m.nii.gz#axis=2&index=1")),
        ("v.nii#axis=0&index=4", "m.nii.gz", "mask", ("v.nii#axis=0&index=4", "m.nii.gz#axis=0&index=4")),
        ("v.nii", "m.nii.gz#axis=1&index=6", "mask", ("v.nii#axis=1&index=6", "m.nii.gz#axis=1&index=6")),
        ("v.nii#axis=2&index=3", "s.tif", "mask", ("v.nii#axis=2&index=3", "s.tif#frame=3")),
    ],
)
def test_what_leaves_the_slice_open_takes_that_of_the_other(load, image, beside, column, pair):
    """Of a stack of pages the first one would be read, of a volume the middle one, beside any slice of the image."""
    made = load(image, beside, column)
    assert (str(made.refs()[0]), str(made.refs(column)[0])) == pair
    assert "read at the slice that the" in made.notes[-1]


@pytest.mark.parametrize(
    ("image", "beside"),
    [
        ("s.tif", "m.tif"),
        ("s.tif#frame=2", "m.tif#frame=1"),
        ("s.tif#frame=2", "one.png"),
        ("v.nii", "m.nii.gz"),
        ("v.nii#axis=2&index=1", "one.png"),
    ],
)
def test_what_says_it_itself_or_has_one_slice_stays(load, image, beside):
    made = load(image, beside)
    assert (str(made.refs()[0]), str(made.refs("mask")[0])) == (image, beside)
    assert not any("read at the slice" in note for note in made.notes)


def test_other_numbers_of_slices_are_refused_by_row_but_not_where_masks_do_not_matter(load):
    with pytest.raises(
        InputError, match=r"row 2: its mask and the image have different numbers of slices \(3 and 5\)"
    ):
        load("s.tif#frame=2", "short.tif")
    assert str(load("s.tif#frame=2", "short.tif", missing="keep").refs("mask")[0]) == "short.tif"


def test_volumes_that_are_resampled_are_looked_at_as_wholes(load):
    made = load("v.nii#axis=2&index=1", "m.nii.gz", align_geometry="resample")
    assert read_image(made.refs("mask")[0], empty=True).values().max() == 1
