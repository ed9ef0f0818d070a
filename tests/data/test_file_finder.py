"""A file that is there is found, or the nearest one is named, however its name is written."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.file_finder import FileFinder
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, format="PNG")
    return folder


NFC, NFD = (unicodedata.normalize(form, "größe_é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("000c1434d8d7", "000c1434d8d7.png"),
        ("a.png", "a.PNG"),
        ("A.JPG", "a.jpeg"),
        (f"{NFC}.png", f"{NFD}.png"),
        (NFD, f"{NFC}.PNG"),
        ("1.2.840.113", "1.2.840.113.dcm"),
        ("sub/x", "Sub/X.tif"),
        ("v", "scans/v.nii.gz"),
        ("my%20scan.png", "my scan.png"),
        ("my%20scan", "b/My Scan.PNG"),
    ],
)
@pytest.mark.parametrize("column", ["image", "image_id"])
def test_tables_and_split_lists_find_files_that_are_written_otherwise(tmp_path, written, file, column):
    touch(tmp_path, file, "other.png")
    (tmp_path / "set.csv").write_text(f"{column},label\n{written},0\nother.png,1\n", encoding="utf-8")
    made = load_manifest(tmp_path / "set.csv")
    assert made.table["image"].tolist() == [file, "other.png"]
    assert f"'{file}'" in made.notes[-1]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").write_text(written, encoding="utf-8")
    (tmp_path / "lists/test.txt").write_text("other", encoding="utf-8")
    listed = load_manifest(tmp_path, split_lists=tmp_path / "lists")
    assert dict(zip(listed.table["image"], listed.table["split"], strict=True))[file] == "train"


@pytest.mark.parametrize(
    ("written", "file", "message"),
    [
        ("a.png", "a.jpg", "'a.jpg' is there, did you mean it"),
        ("a", "a.mha", "'a.mha' is there, of a format that is not read: convert it"),
        ("img_0012.png", "img_00012.png", "'img_00012.png' is there"),
        ("wrong/a.png", "right/a.png", "'right/a.png' is there"),
        ("a", "masks/a.png", "'masks/a.png' is there"),
    ],
)
def test_what_is_not_found_comes_with_the_nearest(tmp_path, written, file, message):
    touch(tmp_path, file, "other.png")
    (tmp_path / "set.csv").write_text(f"image,label\n{written},0\nother.png,1\n")
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path / "set.csv")


@pytest.mark.parametrize(
    ("written", "file"),
    [("7", "007.png"), ("0007.png", "7.PNG"), ("7", "scans/00007.jpg"), ("7.jpeg", "07.jpg")],
)
def test_zeros_in_front_of_a_number_are_nothing(tmp_path, written, file):
    """A spreadsheet takes them away."""
    touch(tmp_path, file, "12.png", "012x.png")
    (tmp_path / "set.csv").write_text(f"image,label\n{written},0\n12.png,1\n")
    made = load_manifest(tmp_path / "set.csv")
    assert made.table["image"].tolist() == [file, "12.png"]
    assert f"('{written}' is '{file}')" in made.notes[-1]


def test_two_numbers_that_differ_by_zeros_are_refused(tmp_path):
    touch(tmp_path, "07.png", "007.png")
    (tmp_path / "set.csv").write_text("image,label\n7,0\n07,1\n")
    with pytest.raises(InputError, match=r"'7' is the name of several files \(007.png, 07.png\)"):
        load_manifest(tmp_path / "set.csv")


def test_a_path_of_another_machine_comes_with_the_file_that_is_there(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "set.csv").write_text("image,label\n/home/someone/a.png,0\n")
    with pytest.raises(InputError, match=r"is outside the data's folder.*'a.png' is there, did you mean it"):
        load_manifest(tmp_path / "set.csv")


def test_a_name_of_several_files_is_refused(tmp_path):
    touch(tmp_path, "one/a.png", "two/a.png")
    (tmp_path / "set.csv").write_text("image,label\na,0\n")
    with pytest.raises(InputError, match=r"set.csv row 2: image 'a' is the name of several files"):
        load_manifest(tmp_path / "set.csv")


def test_masks_are_found_below_folders_of_masks_only(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.PNG")
    (tmp_path / "set.csv").write_text("image,mask\na,a\n")
    table = load_manifest(tmp_path / "set.csv").table
    assert table.iloc[0].tolist() == ["images/a.png", "masks/a.PNG"]


def test_the_name_as_written_goes_before_others():
    finder = FileFinder(["a.png", "A.png", "x/a.PNG", "b.png", "b.jpg"])
    assert finder.find("a.png") == ["a.png"]
    assert finder.find("x/a.png") == ["x/a.PNG"]
    assert finder.find("b") == ["b.png", "b.jpg"]
    assert finder.find("c") == []
