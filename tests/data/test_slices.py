"""Which slices of volumes become images: none is chosen without a word, and all of a volume stay together."""

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from modicum.console.inspection import inspect_data
from modicum.data.image import ImageRef
from modicum.data.image_facts import facts_of
from modicum.data.layouts import load_manifest
from modicum.data.layouts.given_images import GivenReading, given_images
from modicum.data.readers import read_image
from modicum.data.slice_notes import middle_note, slice_notes
from modicum.data.slices import check_slices, with_slices
from modicum.data.splits import ensure_splits
from modicum.errors import InputError

SLICES, LESION = 6, {1: 3, 2: 4}


def volume(path, value=None, shape=(8, 8, SLICES)):
    """A volume whose value is the number of the slice; with ``value``, a mask of a lesion in two slices."""
    voxels = np.broadcast_to(np.arange(shape[2]), shape).astype(np.int16).copy()
    if value is not None:
        voxels[:] = 0
        for index, size in LESION.items():
            voxels[:size, :size, index] = value
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), path)
    return path.name


@pytest.fixture
def table(tmp_path):
    """Six volumes of three patients with their lesions, one row each."""
    rows = ["image,mask,label,patient"]
    for at in range(6):
        image, mask = volume(tmp_path / f"v{at}.nii.gz"), volume(tmp_path / f"m{at}.nii.gz", 1)
        rows.append(f"{image},{mask},{at % 2},p{at // 2}")
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data.csv"


@pytest.mark.parametrize(
    ("words", "indices"),
    [
        ("middle", [None]),
        ("all", [0, 1, 2, 3, 4, 5]),
        ("labelled", [1, 2]),
        ("every:2", [0, 2, 4]),
        ("every:3", [1, 4]),
        ("every:1", [0, 1, 2, 3, 4, 5]),
        ("every:9", [2]),
    ],
)
def test_each_way_of_choosing_slices(table, words, indices):
    made = load_manifest(table, slices=words)
    refs = made.refs()
    assert [ref.index for ref in refs[: len(indices)]] == indices
    assert len(made) == 6 * len(indices)
    assert [ref.index for ref in made.refs("mask")] == [ref.index for ref in refs]
    if words == "middle":
        assert made.content_hash() == load_manifest(table).content_hash()
    else:
        number = 1 if len(indices) > 1 else 0
        assert read_image(refs[number]).values()[0, 0, 0] == indices[number]
        assert made.describe_row(number).endswith(f"row 2, slice {indices[number]}")
        assert made.describe_row(len(made) - 1).endswith(f"row 7, slice {indices[-1]}")
        assert f"6 volumes of 36 slices became {len(made)} images (--slices {words})" in made.notes[-1]


@pytest.mark.parametrize(
    "words", ["", "every", "every:0", "every:-1", "every:x", "al", "every:1.5", "Middle"]
)
def test_other_words_are_refused_with_those_that_are_known(words):
    with pytest.raises(InputError, match="middle, labelled or every:N"):
        check_slices(words)


def test_slices_of_a_volume_are_of_one_patient_and_in_one_split(table):
    made = ensure_splits(load_manifest(table, columns={"patient": ""}, slices="all"), (0.5, 0.25, 0.25), 0)
    of_volume = made.table.assign(volume=[ref.path.name for ref in made.refs()])
    assert len(set(made.patients())) == 6
    assert (of_volume.groupby("volume")["split"].nunique() == 1).all()
    named = ensure_splits(load_manifest(table, slices="all"), (0.5, 0.25, 0.25), 0)
    assert (named.table.groupby("patient")["split"].nunique() == 1).all()


def test_labelled_counts_every_mask_and_names_what_has_none(tmp_path):
    names = [volume(tmp_path / f"{name}.nii") for name in "abc"]
    volume(tmp_path / "empty.nii", 0)
    volume(tmp_path / "lesion.nii", 3)
    other = np.zeros((8, 8, SLICES), np.uint8)
    other[2, 2, 5] = 1
    nib.save(nib.Nifti1Image(other, np.diag([1.0, 1, 2, 1])), tmp_path / "other.nii")
    (tmp_path / "data.csv").write_text(
        f"image,masks:x,masks:y\n{names[0]},lesion.nii,other.nii\n{names[1]},empty.nii,\n{names[2]},,other.nii\n"
    )
    made = load_manifest(tmp_path / "data.csv", slices="labelled")
    assert [(ref.path.stem, ref.index) for ref in made.refs()] == [("a", 1), ("a", 2), ("a", 5), ("c", 5)]
    assert "1 volume without a labelled slice left out" in made.notes[-1]
    with pytest.raises(InputError, match=r"no slice of 1 volume is labelled.*--slices all"):
        with_slices(load_manifest(tmp_path / "data.csv").subset([1]), "labelled")


def test_what_does_not_fit_is_refused_by_row(table, tmp_path):
    volume(tmp_path / "m3.nii.gz", 1, (8, 8, 5))
    with pytest.raises(InputError, match="row 5: its mask has 5 slices, the image 6"):
        load_manifest(table, slices="labelled")
    with pytest.raises(InputError, match="no column 'mask' says which"):
        load_manifest(table, columns={"mask": ""}, slices="labelled")


def test_rows_that_name_a_slice_and_pictures_stay_as_they_are(tmp_path):
    volume(tmp_path / "a.nii")
    volume(tmp_path / "one.nii", shape=(8, 8, 1))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "p.png")
    (tmp_path / "data.csv").write_text(
        "image,label\na.nii#axis=0&index=3,0\none.nii,0\np.png,1\na.nii#axis=1,1\n"
    )
    made = load_manifest(tmp_path / "data.csv", slices="all")
    texts = [str(ref) for ref in made.refs()]
    assert texts[:3] == ["a.nii#axis=0&index=3", "one.nii", "p.png"]
    assert texts[3:] == [f"a.nii#axis=1&index={index}" for index in range(8)]


def test_pages_of_a_tiff_are_slices_too(tmp_path):
    """A stack of pages of one size; the pages of a pyramid are one image at several scales."""
    pages = [Image.fromarray(np.full((9, 9), 10 * at, np.uint8)) for at in range(4)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[pages[1].resize((4, 4))])
    (tmp_path / "data.csv").write_text("image,label\nstack.tif,0\npyramid.tif,1\n")
    made = load_manifest(tmp_path / "data.csv", slices="every:2")
    assert [str(ref) for ref in made.refs()] == ["stack.tif#frame=0", "stack.tif#frame=2", "pyramid.tif"]
    assert read_image(made.refs()[1]).values().max() == 20


@pytest.mark.parametrize("name", ["s.gif", "s.webp", "s.tif"])
def test_pictures_of_an_animation_are_slices_as_the_note_says(tmp_path, name):
    pages = [Image.fromarray(np.full((9, 9), 60 * at, np.uint8)).convert("RGB") for at in range(4)]
    lossless = {"lossless": True} if name == "s.webp" else {}
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], **lossless)
    (tmp_path / "data.csv").write_text(f"image,label\n{name},0\n")
    made = load_manifest(tmp_path / "data.csv", slices="all")
    assert [str(ref) for ref in made.refs()] == [f"{name}#frame={at}" for at in range(4)]
    assert [int(read_image(ref).values().max()) for ref in made.refs()] == [0, 60, 120, 180]


def test_series_of_volumes_say_that_the_first_one_is_read(tmp_path):
    """A diffusion series or a film of the heart: seven volumes, of which six are left out."""
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 3, 7), np.int16), np.eye(4)), tmp_path / "dwi.nii.gz")
    (tmp_path / "data.csv").write_text("image,label\ndwi.nii.gz,0\ndwi.nii.gz#frame=3,1\n")
    said = []
    for words in ("middle", "all"):
        made = load_manifest(tmp_path / "data.csv", slices=words)
        said.append(
            " ".join(slice_notes(made, [facts_of(read_image(ref), str(ref), "", 0) for ref in made.refs()]))
        )
    for text in said:
        assert "1 file hold series of volumes (7 together), of which the first one" in text
        assert "#frame=1" in text


def test_masks_are_cut_along_the_axis_of_their_image(tmp_path):
    volume(tmp_path / "a.nii")
    volume(tmp_path / "m.nii", 1)
    (tmp_path / "data.csv").write_text("image,mask\na.nii#axis=0,m.nii\n")
    made = load_manifest(tmp_path / "data.csv", slices="labelled")
    assert [(ref.axis, ref.index) for ref in made.refs("mask")] == [(0, at) for at in range(4)]
    assert [(ref.axis, ref.index) for ref in made.refs()] == [(0, at) for at in range(4)]


def test_a_slice_in_a_row_of_its_own_is_not_taken_twice(tmp_path):
    volume(tmp_path / "a.nii")
    (tmp_path / "data.csv").write_text("image,label\na.nii,0\na.nii#axis=2&index=3,1\n")
    with pytest.raises(InputError, match=r"is in 2 rows: data\.csv row 2, slice 3 and data\.csv row 3"):
        load_manifest(tmp_path / "data.csv", slices="all")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (None, ["v.nii"]),
        ("all", [f"v.nii#axis=2&index={at}" for at in range(SLICES)]),
        ("every:3", ["v.nii#axis=2&index=1", "v.nii#axis=2&index=4"]),
        ("middle", ["v.nii"]),
    ],
)
@pytest.mark.parametrize("given", ["file", "table", "folder"])
def test_predictions_are_of_the_slices_that_are_asked_for(tmp_path, given, words, names):
    volume(tmp_path / "v.nii")
    if given == "table":
        (tmp_path / "data.csv").write_text("image\nv.nii\n")
    source = {"file": "v.nii", "table": "data.csv", "folder": ""}[given]
    images = given_images([tmp_path / source], GivenReading(slices=words))
    assert [name.removeprefix(f"{tmp_path}/") for name in images.names] == names
    assert [ref.index for ref in images.refs] == [ImageRef.parse(name).index for name in names]


def test_slices_of_an_image_alone_that_nothing_labels(tmp_path):
    volume(tmp_path / "v.nii")
    with pytest.raises(InputError, match="nothing says which slices"):
        given_images([tmp_path / "v.nii"], GivenReading(slices="labelled"))
    assert middle_note(0, 9) == []
    assert "2 images of 9 hold several slices" in middle_note(2, 9)[0]


def test_frames_of_a_dicom_file_are_slices_too(tmp_path):
    stored = np.arange(5).repeat(16).astype(np.uint8)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.3"
    ds = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 8, 8, 7, 5
    ds.PixelData = stored.tobytes()
    ds.save_as(tmp_path / "many", enforce_file_format=True)  # scanners' files have no ending
    (tmp_path / "data.csv").write_text("image,label\nmany,0\nmany#frame=1,1\n")
    made = load_manifest(tmp_path / "data.csv", slices="every:2")
    assert [str(ref) for ref in made.refs()] == [
        "many#frame=0",
        "many#frame=2",
        "many#frame=4",
        "many#frame=1",
    ]
    assert read_image(made.refs()[1]).values().max() == 2


def test_inspect_says_what_is_read_and_what_segmentation_learns_from(table, tmp_path):
    def said(**reading):
        inspect_data(str(table), reading, tmp_path / "f.json", 0)
        return " ".join(json.loads((tmp_path / "f.json").read_text())["notes"])

    assert "6 volumes of 36 slices became 12 images (--slices labelled)" in said()
    assert "6 images of 6 hold several slices (36 together), of which one each is read" in said(
        slices="middle"
    )
    assert "hold several slices" not in said(slices="all")
    assert "(--slices labelled)" not in said(columns={"mask": ""})


def test_pictures_say_nothing_of_slices(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "p.png")
    (tmp_path / "data.csv").write_text("image,label\np.png,0\n")
    made = load_manifest(tmp_path / "data.csv")
    assert slice_notes(made, [None]) == []
    assert with_slices(made, "all") is made
