"""Names of folders are the last resort: what lies beside the images says more, and the notes say what was gone by."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, format="PNG")
    return folder


def ham(folder: Path) -> Path:
    """HAM10000 as it is downloaded."""
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for n in range(8):
        touch(folder, f"HAM10000_images_part_{1 + n // 4}/ISIC_000{n}.jpg")
        rows.append(f"HAM_{n // 2},ISIC_000{n},{'mel' if n % 3 else 'nv'},histo,50.0,male,back")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(rows))
    return folder


def test_ham10000_as_downloaded_is_read_by_its_table(tmp_path):
    made = load_manifest(ham(tmp_path / "ham"), layout="folder")
    assert made.table["image"].tolist()[3:5] == [
        "HAM10000_images_part_1/ISIC_0003.jpg",
        "HAM10000_images_part_2/ISIC_0004.jpg",
    ]
    assert made.classes() == ["mel", "nv"]
    assert made.table["patient"].tolist() == [f"HAM_{n // 2}" for n in range(8)]
    assert made.notes[0] == "read as the table 'HAM10000_metadata.csv' in the folder"
    assert "label from column 'dx', patient from column 'lesion_id'" in made.notes[1]
    by_layout = load_manifest(tmp_path / "ham").table
    assert by_layout.equals(made.table[by_layout.columns])


def test_kaggle_folders_of_train_and_test_are_read_by_the_table_that_has_labels(tmp_path):
    touch(tmp_path, "train_images/a1.png", "train_images/b2.png", "test_images/c3.png")
    (tmp_path / "train.csv").write_text("id_code,dx\na1,0\nb2,4\n")
    (tmp_path / "test.csv").write_text("id_code\nc3\n")
    (tmp_path / "sample_submission.csv").write_text("id_code,dx\nc3,0\n")
    made = load_manifest(tmp_path)
    assert made.table.to_dict("list") == {
        "image": ["train_images/a1.png", "train_images/b2.png"],
        "label": ["0", "4"],
    }
    assert "not read: sample_submission.csv, test.csv" in made.notes[0]


@pytest.mark.parametrize("place", [".", "..", "metadata"])
def test_a_table_with_columns_of_other_names_is_asked_for(tmp_path, place):
    data = touch(tmp_path / "set", "site A/1.png", "site A/2.png", "site B/3.png")
    table = data / place / "codes.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("scan,tumour\n1.png,yes\n2.png,no\n3.png,yes\n")
    said = r"'codes.csv' names its images in column 'scan'.*--set layout=folder"
    with pytest.raises(InputError, match=said) as refused:
        load_manifest(data)
    if place == "..":  # from there names are not looked for in the folders below
        return
    # What the error says can be typed.
    path, *options = shlex.split(refused.value.remedy.removeprefix("give the table: ").partition(";")[0])
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert given.pop("--label") == "COLUMN"
    columns = {"image": given["--image"], "label": "tumour"}
    by_table = load_manifest(path, columns=columns, images=given["--images"])
    assert by_table.table["label"].tolist() == ["yes", "no", "yes"]
    assert load_manifest(data, layout="folder").classes() == ["site A", "site B"]


def test_a_table_that_repeats_the_folders_names_is_no_reason_to_ask(tmp_path):
    touch(tmp_path, "benign/1.png", "malignant/2.png")
    (tmp_path / "list.csv").write_text("scan,kind\n1.png,benign\n2.png,malignant\n")
    made = load_manifest(tmp_path)
    assert made.classes() == ["benign", "malignant"]
    assert made.notes[0].startswith("classes are the names of the folders (benign, malignant)")


@pytest.mark.parametrize(
    "names",
    [
        ["images_part_1/a.png", "images_part_2/b.png"],
        ["batch-01/a.png", "batch-02/b.png"],
        ["train_images/a.png", "test_images/b.png"],
        ["imagesTr/a.png", "imagesTs/b.png"],
        ["cases/a.png", "cases_mask/b.png"],
    ],
)
def test_folders_that_say_where_files_are_from_are_no_classes(tmp_path, names):
    with pytest.raises(InputError, match="do not look like classes"):
        load_manifest(touch(tmp_path, *names))


@pytest.mark.parametrize(
    "names", [["grade 1", "grade 2"], ["0", "1"], ["normal", "covid"], ["Tag 3", "Tag 4"]]
)
def test_folders_that_may_be_classes_are(tmp_path, names):
    made = load_manifest(touch(tmp_path, *(f"{name}/{n}.png" for name in names for n in range(2))))
    assert sorted(made.classes()) == sorted(names)


@pytest.mark.parametrize(
    ("images", "masks", "split"),
    [
        ("images/{}.png", "masks/{}.png", None),
        ("img/{}.jpg", "GroundTruth/{}_mask.png", None),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", None),
        ("train/images/{}.png", "train/labels/{}.png", "train"),
        ("images/val/{}.png", "annotations/val/{}.png", "val"),
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz", "train"),
    ],
)
def test_images_and_masks_of_common_names_are_pairs(tmp_path, images, masks, split):
    touch(tmp_path, *(form.format(name) for form in (images, masks) for name in ("a", "B2")))
    table = load_manifest(tmp_path).table
    assert sorted(table["image"]) == sorted(images.format(name) for name in ("a", "B2"))
    assert sorted(table["mask"]) == sorted(masks.format(name) for name in ("a", "B2"))
    assert table.get("split", [None, None])[0] == split


def test_images_without_masks_of_a_test_set_are_set_aside(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png", "imagesTs/b_0000.png")
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == ["imagesTr/a_0000.png"]
    assert "left out: 1 image of 'imagesTs', without labels" in made.notes
    touch(tmp_path, "imagesTr/a_0001.png")
    with pytest.raises(InputError, match=r"'a_0001.png' is a further channel"):
        load_manifest(tmp_path)


def test_boxes_in_text_files_are_no_masks(tmp_path):
    touch(tmp_path, "images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert set(load_manifest(tmp_path).table) == {"image"}


def test_a_data_list_wins_over_folders(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "x/b.png")
    document = {"training": [{"image": "x/b.png", "label": "cyst"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == ["x/b.png"]
    assert made.notes == ["read as the data list 'dataset.json' in the folder"]
