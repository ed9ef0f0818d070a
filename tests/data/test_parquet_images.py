"""Parquet tables with the images inside, as Hugging Face writes them."""

import base64
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from modicum.data.layouts import load_manifest
from modicum.data.layouts.given_images import given_images
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError


def encoded(value, form="PNG"):
    data = io.BytesIO()
    Image.new("L", (6, 5), value).save(data, form)
    return data.getvalue()


def cells(kind):
    pictures = [encoded(10 * n, "JPEG" if n % 2 else "PNG") for n in range(5)]
    if kind == "struct":
        return [{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(pictures)]
    return pa.array(pictures, pa.large_binary() if kind == "large" else pa.binary())


@pytest.mark.parametrize("kind", ["struct", "binary", "large"])
@pytest.mark.parametrize("source", [".", "train-00000-of-00001.parquet"])
def test_images_inside_a_table_are_read(tmp_path, kind, source):
    table = pa.table({"image": cells(kind), "label": [0, 1, 0, 1, 1], "patient": list("aabbc")})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet", row_group_size=2)
    made = load_manifest(tmp_path / source)
    assert made.table["image"].iloc[3] == "train-00000-of-00001.parquet#array=image&index=3"
    assert made.table["label"].tolist() == ["0", "1", "0", "1", "1"]
    for n, ref in enumerate(made.refs()):
        image = read_image(ref)
        assert image.pixels.shape == (1, 5, 6)
        np.testing.assert_allclose(image.pixels, 10 * n / 255, atol=0.005)
        assert image.source.format == ("jpeg" if n % 2 else "png")
        assert not image.source.mislabelled
    assert made.patients()[4] == "patient:c"


def test_images_in_a_column_of_another_name(tmp_path):
    pq.write_table(pa.table({"scan": cells("struct"), "grade": list("01011")}), tmp_path / "set.parquet")
    made = load_manifest(tmp_path / "set.parquet", columns={"image": "scan", "label": "grade"})
    assert read_image(made.refs()[4]).source.format == "png"
    assert len(set(made.patients())) == 5


def test_a_cell_with_a_path_alone_is_the_file(tmp_path):
    Image.new("L", (6, 5), 7).save(tmp_path / "0.png")
    rows = [{"bytes": None, "path": "0.png"}, {"bytes": encoded(3), "path": None}]
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "set.parquet")
    assert load_manifest(tmp_path / "set.parquet").table["image"].tolist() == [
        "0.png",
        "set.parquet#array=image&index=1",
    ]


def test_what_is_not_an_image_is_named(tmp_path):
    rows = [{"bytes": b"", "path": None}, {"bytes": b"no image", "path": None}]
    pq.write_table(pa.table({"image": rows, "n": [0, 1]}), tmp_path / "set.parquet")
    path = tmp_path / "set.parquet"
    for part, reason in (
        ("#array=image&index=0", "is empty in this row"),
        ("#array=image&index=1", "is a text file, not an image"),
        ("#array=image&index=2", "index 2 was requested"),
        ("#array=n&index=0", "column 'n' holds no images"),
        ("#array=x&index=0", "has no column 'x'"),
    ):
        with pytest.raises(BrokenImageError, match=reason):
            read_image(f"{path}{part}")


def test_a_row_without_an_image_is_named(tmp_path):
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": None}, {"bytes": encoded(1), "path": None}]}),
        tmp_path / "set.parquet",
    )
    with pytest.raises(InputError, match=r"set.parquet row 1 names no image"):
        load_manifest(tmp_path / "set.parquet")


def written(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


SHARDS = {
    "data/": [
        *("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        "data/test-00000-of-00001.parquet",
    ],
    "beside each other": ["train.parquet", "validation.parquet", "test.parquet"],
    "folders of splits": ["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"],
    "converted": ["default/train/0000.parquet", "default/test/0000.parquet"],
    "hashed": ["train-00000-of-00001-0123456789abcdef.parquet", "test-00000-of-00001-0123456789abcdef.parquet"],
}  # fmt: skip


@pytest.mark.parametrize("name", SHARDS)
def test_a_data_set_in_several_files_is_one_table_with_its_split(tmp_path, name):
    for file in SHARDS[name]:
        written(tmp_path / file, image=cells("struct")[:3], label=[0, 1, 0])
    made = load_manifest(tmp_path)
    assert len(made) == 3 * len(SHARDS[name])
    assert {str(ref).partition("#")[0] for ref in made.refs()} == set(SHARDS[name])
    splits = set(made.table["split"])
    assert splits == ({"train", "val", "test"} if name == "beside each other" else {"train", "test"})
    for ref, split in zip(made.refs(), made.table["split"], strict=True):
        assert {"validation": "val"}.get(split, split)[:2] in str(ref)
        assert read_image(ref).pixels.shape == (1, 5, 6)
    assert f"read as one table of {len(SHARDS[name])} Parquet files" in made.notes[0]
    assert ".parquet row 1" in made.describe_row(0)
    assert [str(ref) for ref in given_images([tmp_path]).refs] == [str(ref) for ref in made.refs()]
    assert given_images([tmp_path]).tables  # predictions are not written over them


@pytest.mark.parametrize(
    "names", [["a.parquet", "b.parquet"], ["train.parquet", "notes.parquet"], ["manifest.parquet", "train.parquet"]]
)  # fmt: skip
def test_tables_that_are_no_parts_are_told_apart(tmp_path, names):
    for name in names:
        written(tmp_path / name, image=cells("struct"), label=list("01011"))
    if "manifest.parquet" in names:
        assert len(load_manifest(tmp_path)) == 5
        return
    with pytest.raises(InputError, match="contains several tables"):
        load_manifest(tmp_path)


def test_a_table_beside_the_parts_goes_before(tmp_path):
    written(tmp_path / "data" / "train-00000-of-00001.parquet", image=cells("struct"), label=list("01011"))
    Image.new("L", (6, 5), 7).save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("image,label\na.png,x\n")
    assert load_manifest(tmp_path).table["image"].tolist() == ["a.png"]


def test_parts_with_other_columns_are_named(tmp_path):
    written(tmp_path / "train.parquet", image=cells("struct"), label=list("01011"))
    written(tmp_path / "test.parquet", image=cells("struct"), grade=list("01011"))
    with pytest.raises(InputError, match=r"'train.parquet' and 'test.parquet' differ in column 'grade'"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["img", "images", "jpg", "picture", "pixel_values"])
def test_the_only_column_of_images_is_the_one(tmp_path, name):
    """Also in a folder, where no cell names a file."""
    written(tmp_path / "set.parquet", **{name: cells("struct"), "label": list("01011")})
    made = load_manifest(tmp_path)
    assert read_image(made.refs()[1]).source.format == "jpeg"
    assert f"the images are those in column '{name}'" in made.notes


@pytest.mark.parametrize("mask", ["label", "annotation", "segmentation", "gt"])
@pytest.mark.parametrize("image", ["image", "pixels"])
def test_images_called_labels_are_masks_and_no_classes(tmp_path, image, mask):
    """Segmentation sets on the hub call the mask ``label`` or ``annotation``: not five classes of one image each."""
    written(tmp_path / "set.parquet", **{image: cells("struct"), mask: cells("binary")})
    made = load_manifest(tmp_path / "set.parquet")
    assert "label" not in made.table
    assert made.refs("mask")[3].array == mask
    assert made.refs()[3].array == image


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_texts_written_as_bytes_are_texts(tmp_path, kind):
    labels = pa.array([b"benign", b"malignant", b"benign", b"benign", b"malignant"], pa.binary()).cast(kind)
    written(tmp_path / "set.parquet", image=cells("struct"), label=labels)
    made = load_manifest(tmp_path / "set.parquet")
    assert made.table["label"].tolist() == ["benign", "malignant", "benign", "benign", "malignant"]


@pytest.mark.parametrize("kind", ["fixed", "view", "large struct"])
def test_every_type_of_bytes_can_hold_images(tmp_path, kind):
    one = encoded(70)
    column = {
        "fixed": lambda: pa.array([one, one], pa.binary(len(one))),
        "view": lambda: pa.array([one, one], pa.binary()).cast(pa.binary_view()),
        "large struct": lambda: pa.array(
            [{"bytes": one, "path": None}] * 2,
            pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]),
        ),
    }[kind]()
    written(tmp_path / "set.parquet", image=column, label=[0, 1])
    for ref in load_manifest(tmp_path / "set.parquet").refs():
        np.testing.assert_allclose(read_image(ref).pixels, 70 / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([[{"bytes": encoded(3), "path": None}]] * 2, "column 'image' holds lists of images"),
        ([[[1, 2], [3, 4]]] * 2, "column 'image' holds lists of numbers, not image files"),
        ([[0.5, 0.25]] * 2, "column 'image' holds lists of numbers"),
        (["data:image/png;base64,AAAA"] * 2, "holds images as text (base64)"),
        ([base64.b64encode(encoded(3)).decode()] * 2, "holds images as text (base64)"),
    ],
)
def test_images_in_another_form_are_named_and_never_printed(tmp_path, column, said):
    written(tmp_path / "set.parquet", image=column, label=[0, 1])
    with pytest.raises(InputError) as raised:
        load_manifest(tmp_path / "set.parquet")
    assert said in raised.value.problem
    assert len(str(raised.value)) < 250


def test_names_of_classes_that_the_file_holds_are_said(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"names": ["no DR", "mild"], "_type": "ClassLabel"}}
    table = pa.table({"image": cells("struct"), "label": [0, 1, 0, 1, 1]})
    said = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(said), tmp_path / "set.parquet")
    made = load_manifest(tmp_path / "set.parquet")
    assert "column 'label': 0 is no DR, 1 is mild" in made.notes
    assert set(made.table["label"]) == {"0", "1"}  # their order is that of the grades


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_volume_in_a_cell_is_read(tmp_path, name):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name)
    written(tmp_path / "set.parquet", image=[(tmp_path / name).read_bytes()] * 2, label=[0, 1])
    image = read_image(load_manifest(tmp_path / "set.parquet").refs()[1])
    np.testing.assert_array_equal(image.pixels, read_image(tmp_path / name).pixels)


@pytest.mark.parametrize("name", ["CT_small", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm"])
def test_a_dicom_file_in_a_cell_is_read_by_every_decoder(tmp_path, name):
    path = get_testdata_file(f"{name}.dcm", download=False)
    if name != "CT_small":
        pytest.importorskip("gdcm", reason="needs the extra 'dicom'")
    written(tmp_path / "set.parquet", image=[Path(path).read_bytes()], label=[0])
    image = read_image(load_manifest(tmp_path / "set.parquet").refs()[0])
    np.testing.assert_array_equal(image.pixels, read_image(path).pixels)
