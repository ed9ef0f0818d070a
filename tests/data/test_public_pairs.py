"""Pairs of images: which is which is said by the caller, and what has no partner is said by the reader."""

from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image
from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.settings import DataSettings
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def volume(path: Path, values, spacing: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, np.float32), np.diag([spacing] * 3 + [1])), path)
    return path


def body(*shares: float) -> np.ndarray:
    """A volume of 10 x 10 voxels a slice, of which each slice has this share other than 0, some of it negative."""
    slices = np.zeros((10, 10, len(shares)))
    for at, share in enumerate(shares):
        flat = np.zeros(100)
        flat[: round(100 * share)] = np.where(np.arange(round(100 * share)) % 2, -5.0, 7.0)
        slices[..., at] = flat.reshape(10, 10)
    return slices


def pairs_of(manifest) -> list[tuple[str, str]]:
    return list(zip(manifest.table["image"], manifest.table["target"], strict=True))


def test_two_folders_of_equal_names(tmp_path):
    touch(tmp_path, *(f"T1/z{n:03}.png" for n in (1, 2, 10)), *(f"T2/z{n:03}.png" for n in (2, 10, 11)))
    made = load_manifest(tmp_path, pairs=("T1", "T2"))
    assert pairs_of(made) == [("T1/z002.png", "T2/z002.png"), ("T1/z010.png", "T2/z010.png")]
    assert made.notes == [
        "left out: 1 image of 'T1' without a pair (z001)",
        "left out: 1 image of 'T2' without a pair (z011)",
    ]
    assert pairs_of(load_manifest(tmp_path, pairs=("T2", "T1")))[0] == ("T2/z002.png", "T1/z002.png")


def test_under_folders_of_patients_and_splits(tmp_path):
    touch(
        tmp_path,
        "train/p1/T1/a.png",
        "train/p1/T2/a.png",
        "test/p2/T1/a.jpg",
        "test/p2/T2/a.png",
        "train/p1/FLAIR/a.png",
    )
    table = load_manifest(tmp_path, pairs=("T1", "T2")).table
    assert table["patient"].tolist() == ["p2", "p1"]
    assert table["split"].tolist() == ["test", "train"]
    assert table["target"].tolist() == ["test/p2/T2/a.png", "train/p1/T2/a.png"]


def test_patients_below_the_two_folders(tmp_path):
    touch(tmp_path, "A/train/p1/x.png", "B/train/p1/x.png", "A/val/p2/x.png", "B/val/p2/x.png")
    table = load_manifest(tmp_path, pairs=("A", "B")).table
    assert table["patient"].tolist() == ["p1", "p2"]
    assert table["split"].tolist() == ["train", "val"]


def test_real_slices_of_two_patients(real_images):
    made = load_manifest(real_images("mr_brain"), pairs=("T1", "T2"))
    assert Counter(made.table["patient"]) == {"patient07": 96, "patient19": 96}
    assert pairs_of(made)[0] == ("patient07/T1/z040.png", "patient07/T2/z040.png")
    image, target = read_image(made.refs()[50]), read_image(made.refs("target")[50])
    # One head: what is body in one is body in the other.
    assert ((image.pixels > 0) == (target.pixels > 0)).mean() > 0.98


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("T1", "T3"), r"contains no pairs of 'T1' and 'T3' \(it has T1, T2\); pass two folders"),
        (("T1", "t1"), "source and target are both 'T1'"),
    ],
)
def test_pairs_that_are_not_there(tmp_path, pair, message):
    touch(tmp_path, "T1/a.png", "T2/b.png")
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path, pairs=pair)
    with pytest.raises(InputError, match="contains no pairs of 'T1' and 'T2'"):
        load_manifest(tmp_path, pairs=("T1", "T2"))


def test_pairs_need_a_folder_and_no_columns(tmp_path):
    touch(tmp_path, "T1/a.png", "T2/a.png")
    with pytest.raises(InputError, match="is not a folder"):
        load_manifest(tmp_path / "T1" / "a.png", pairs=("T1", "T2"))
    for pair in (("T1",), ("T1", ""), ("T1", "T2", "FLAIR")):
        with pytest.raises(InputError, match="are not two names; pass the names of image and target"):
            load_manifest(tmp_path, pairs=pair)
    with pytest.raises(InputError, match="both a layout and columns are given"):
        load_manifest(tmp_path, pairs=("T1", "T2"), columns={"image": "file"})


# Pools ---------------------------------------------------------------------------------------------------------


def test_unpaired_pools_stand_side_by_side_and_lose_the_rest_of_the_larger(tmp_path):
    touch(tmp_path, *(f"trainA/horse{n}.jpg" for n in range(5)), *(f"trainB/zebra{n}.jpg" for n in range(3)))
    touch(tmp_path, "testA/horse9.jpg", "testB/zebra9.jpg", "testB/zebra10.jpg")
    made = load_manifest(tmp_path)
    assert pairs_of(made)[2] == ("trainA/horse2.jpg", "trainB/zebra2.jpg")
    assert Counter(made.table["split"]) == {"train": 3, "test": 1}
    assert "left out: the last 2 images of trainA, the larger pool" in made.notes
    assert "left out: the last 1 image of testB, the larger pool" in made.notes
    assert any("not paired" in note for note in made.notes)
    assert pairs_of(load_manifest(tmp_path, pairs=("B", "A")))[0] == (
        "trainB/zebra0.jpg",
        "trainA/horse0.jpg",
    )


def test_pools_of_any_names_need_no_equal_file_names_where_rows_need_not_belong_together(tmp_path):
    touch(tmp_path, *(f"usable/{n}.jpg" for n in "abc"), *(f"good/{n}.jpg" for n in "defgh"))
    with pytest.raises(InputError, match="add --set pairing=shuffled"):
        load_manifest(tmp_path, pairs=("usable", "good"))
    data = DataSettings(source=str(tmp_path), pairs=("usable", "good"))
    with pytest.raises(InputError, match="add --set pairing=shuffled"):
        read_manifest(data, "image-to-image", {"pairing": "rows"})
    made = read_manifest(data, "image-to-image", {"pairing": "shuffled"})
    assert pairs_of(made) == [(f"usable/{a}.jpg", f"good/{b}.jpg") for a, b in ("ad", "be", "cf")]
    assert "patient" not in made.table
    assert "left out: the last 2 images of good, the larger pool" in made.notes
    touch(tmp_path, *(f"good/{n}.jpg" for n in "abc"))
    again = read_manifest(data, "image-to-image", {"pairing": "shuffled"})
    assert pairs_of(again)[0] == ("usable/a.jpg", "good/a.jpg")


def test_paired_pools_keep_to_their_names_when_one_is_missing(tmp_path):
    touch(tmp_path, *(f"trainA/{n}_A.jpg" for n in (1, 2, 3, 4)), *(f"trainB/{n}_B.jpg" for n in (1, 3, 4)))
    made = load_manifest(tmp_path)
    assert pairs_of(made) == [(f"trainA/{n}_A.jpg", f"trainB/{n}_B.jpg") for n in (1, 3, 4)]
    assert "left out: 1 image of 'trainA' without a pair (2)" in made.notes


# Volumes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "pair", "patient"),
    [
        (("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"), ("T1w", "T2w"), "sub-01"),
        (
            ("sub-01/ses-2/sub-01_ses-2_T1w.nii", "sub-01/ses-2/sub-01_ses-2_T2w.nii"),
            ("T1w", "T2w"),
            "sub-01",
        ),
        (
            ("HGG/Brats18_x/Brats18_x_t1.nii.gz", "HGG/Brats18_x/Brats18_x_t2.nii.gz"),
            ("T1", "T2"),
            "Brats18_x",
        ),
        (("c/BraTS-GLI-0-000-t1n.nii.gz", "c/BraTS-GLI-0-000-t2w.nii.gz"), ("t1n", "t2w"), "BraTS-GLI-0-000"),
        (("p7/T1.nii.gz", "p7/T2.nii.gz"), ("T1", "T2"), "p7"),
        (("p7/T1/head.nii.gz", "p7/T2/head.nii.gz"), ("T1", "T2"), "p7"),
    ],
)
def test_volumes_become_slices_with_enough_of_the_body(tmp_path, names, pair, patient):
    volume(tmp_path / names[0], body(0.5, 0.04, 0.06, 0.0))
    volume(tmp_path / names[1], body(0.5, 0.5, 0.05, 0.9))
    volume(tmp_path / "p0" / "p0_t1ce.nii.gz", body(0.5, 0.5, 0.5, 0.5))  # ends like none of them
    made = load_manifest(tmp_path, pairs=pair)
    assert pairs_of(made) == [tuple(f"{name}#axis=2&index={at}" for name in names) for at in (0, 2)]
    assert set(made.table["patient"]) == {patient}
    assert "left out: 2 of 4 slices with less than 5% of voxels other than 0" in made.notes
    assert len(load_manifest(tmp_path, pairs=pair, layout_options={"least_foreground": 0})) == 4
    assert len(load_manifest(tmp_path, pairs=pair, layout_options={"least_foreground": 0, "axis": 0})) == 10


def test_volumes_of_other_sizes_or_places_are_no_pair(tmp_path):
    volume(tmp_path / "p_T1.nii.gz", body(0.5, 0.5))
    volume(tmp_path / "p_T2.nii.gz", body(0.5, 0.5, 0.5))
    with pytest.raises(InputError, match=r"differ in shape .*: 2 x 10 x 10 and 3 x 10 x 10"):
        load_manifest(tmp_path, pairs=("T1", "T2"))
    volume(tmp_path / "p_T2.nii.gz", body(0.5, 0.5), spacing=2.0)
    with pytest.raises(InputError, match="have different positions"):
        load_manifest(tmp_path, pairs=("T1", "T2"))
    volume(tmp_path / "p_T2.nii.gz", body(0.01, 0.0))
    with pytest.raises(
        InputError, match=r"no slice of 1 pair of volumes has enough foreground .*least_foreground to 0"
    ):
        load_manifest(tmp_path, pairs=("T1", "T2"))


def test_a_volume_without_a_partner_is_left_out(tmp_path):
    for name in ("p1_T1", "p1_T2", "p2_T1"):
        volume(tmp_path / f"{name}.nii.gz", body(0.5))
    made = load_manifest(tmp_path, pairs=("T1", "T2"))
    assert len(made) == 1
    assert "left out: 1 volume without a pair (p2_T1.nii.gz)" in made.notes


def test_real_volumes_side_by_side(real_images):
    folder = real_images("dicom_nifti")
    made = load_manifest(folder, pairs=("T1", "T2"))
    shape = nib.load(folder / "patient07_T1.nii.gz").shape
    slices = np.asarray(nib.load(folder / "patient07_T1.nii.gz").dataobj)
    other = np.asarray(nib.load(folder / "patient07_T2.nii.gz").dataobj)
    assert all(code in "RLAPIS" for code in nib.aff2axcodes(nib.load(folder / "patient07_T1.nii.gz").affine))
    enough = [min((slices[..., z] != 0).mean(), (other[..., z] != 0).mean()) >= 0.05 for z in range(shape[2])]
    assert len(made) == sum(enough)
    assert set(made.table["patient"]) == {"patient07"}
