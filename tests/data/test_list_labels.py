"""Lists with labels, as the comparisons of radiographs publish them: what they say, and where they are wrong."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.public.nih import NIH_ORDER
from modicum.errors import InputError


def images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, "PNG")
    return folder


def lists(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def fourteen(*found: str) -> str:
    return " ".join(str(int(name in found)) for name in NIH_ORDER)


def test_fourteen_labels_a_line_are_those_of_chestx_ray14(tmp_path):
    data = images(tmp_path / "all_classes", "00000001_000.png", "00000001_001.png", "00000002_000.png")
    given = lists(
        tmp_path / "lists",
        train_list=f"00000001_000.png {fourteen('Mass', 'Hernia')}\n00000001_001.png {fourteen()} \n",
        test_list=f"00000002_000.png {fourteen('Atelectasis')}",
    )
    made = load_manifest(data, split_lists=given)
    assert made.findings == list(NIH_ORDER)
    found = made.table[["labels:Atelectasis", "labels:Mass", "labels:Hernia"]].to_numpy()
    np.testing.assert_array_equal(found, [[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    assert made.table["split"].tolist() == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("train", "test", "more"),
    [
        ("a.png 1\nb.png 0", "a.png 0\nc.png 1", {"overlaps": "keep"}),  # in two lists that are both kept
        ("a.png 1\nb.png 0\na.png 0", "c.png 1", {}),  # twice in one list
        (
            "./a.png benign\nb.png benign",
            "a malignant\nc.png benign",
            {"overlaps": "keep"},
        ),  # spelled otherwise
        ("a.png 1 0\nb.png 0 0", "a.png 1 1\nc.png 0 1", {"overlaps": "keep"}),  # findings
    ],
)
def test_two_labels_of_one_image_are_refused_with_both_lines(tmp_path, train, test, more):
    data = images(tmp_path / "data", "a.png", "b.png", "c.png")
    given = lists(tmp_path / "lists", train=train, test=test)
    with pytest.raises(
        InputError,
        match=r"image '\S*a\S*' has two labels: '.*' in t\w+.txt row . and '.*' in train.txt row .",
    ):
        load_manifest(
            data, split_lists=given, layout_options=more, classes=["x", "y"] if "1 0" in train else None
        )


def test_the_label_of_a_dropped_line_does_not_count_and_is_said(tmp_path):
    """The test list keeps the image; the label of the list read last used to win."""
    data = images(tmp_path / "data", "a.png", "b.png", "c.png", "d.png")
    given = lists(
        tmp_path / "lists",
        train="a.png benign\nb.png malignant\nd.png benign",
        val="a.png malignant",
        test="c.png benign\nb.png malignant",
    )
    made = load_manifest(data, split_lists=given, layout_options={"overlaps": "drop"})
    found = made.table.set_index("image")
    assert found.loc["a.png", ["label", "split"]].tolist() == ["malignant", "val"]
    assert found.loc["b.png", ["label", "split"]].tolist() == ["malignant", "test"]
    (caution,) = [note for note in made.notes if note.startswith("caution: 1 image had other labels")]
    assert "val.txt row 1" in caution


def test_one_image_in_two_lists_with_one_label_or_none_in_one_of_them_is_no_contradiction(tmp_path):
    data = images(tmp_path / "data", "a.png", "b.png", "c.png")
    given = lists(tmp_path / "lists", train="a.png  x\nb.png y", test="a.png\nc.png,y\nc.png y")
    made = load_manifest(data, split_lists=given, layout_options={"overlaps": "keep"})
    assert set(zip(made.table["image"], made.table["label"], strict=True)) == {
        ("a.png", "x"), ("b.png", "y"), ("c.png", "y"),
    }  # fmt: skip
    assert not any(note.startswith("caution") for note in made.notes)


def test_five_labels_a_line_are_those_of_chexpert(tmp_path):
    name = "train/patient08465/study1/view2_lateral.jpg"
    data = images(tmp_path / "CheXpert-v1.0-small", name)
    given = lists(tmp_path / "lists", train_list=f"CheXpert-v1.0-small/{name} 0 0 1 0 1\n")
    for source in (data, tmp_path):
        table = load_manifest(source, split_lists=given).table
        assert table.filter(like="labels:").iloc[0].to_dict() == {
            "labels:Atelectasis": 0,
            "labels:Cardiomegaly": 0,
            "labels:Consolidation": 1,
            "labels:Edema": 0,
            "labels:Pleural Effusion": 1,
        }


def test_other_numbers_of_labels_need_names(tmp_path):
    data = images(tmp_path / "data", "a.png", "b.png")
    given = lists(tmp_path / "lists", train="a.png 1 0 1\nb.png 0 0 0\n")
    with pytest.raises(
        InputError,
        match="the lists in 'lists' have 3 labels a line; pass the 3 names of the findings in order",
    ):
        load_manifest(data, split_lists=given)
    made = load_manifest(data, split_lists=given, classes=["x", "y", "z"])
    assert made.findings == ["x", "y", "z"]
    with pytest.raises(InputError, match="have 3 labels a line, for 2 classes"):
        load_manifest(data, split_lists=given, classes=["x", "y"])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "a.png 1 0 1 0 1\nb.png 0 0 0 0\n",
            r"train.txt row 2 has 4 labels, train.txt row 1 has 5; write 5 labels in each line",
        ),
        ("a.png 1 0 1 0 1\n\nb.png\n", r"train.txt row 3 has 0 labels, train.txt row 1 has 5"),
        (
            "a.png\nb.png 1\n",
            r"train.txt row 1 has 0 labels, train.txt row 2 has 1; write 1 label in each line",
        ),
        ("a.png 1\nb.png\n", r"train.txt row 2 has 0 labels, train.txt row 1 has 1"),
        (
            "a.png 1\nb.png 1 0 0 1 1\n",
            r"train.txt row 2 has 5 labels, train.txt row 1 has 1; write 1 label in each line",
        ),
        ("a.png 1 0 1 0 1\nb.png 0 0 0 0 2\n", r"train.txt row 2: label 5 is '2'; write 1 or 0"),
        ("a.png 1 0 1 0 1\nb.png 0 0 0 0 -1\n", r"train.txt row 2: label 5 is '-1'"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, train, message):
    data = images(tmp_path / "data", "a.png", "b.png")
    with pytest.raises(InputError, match=message):
        load_manifest(data, split_lists=lists(tmp_path / "lists", train=train))


def test_findings_of_a_table_stay(tmp_path):
    data = images(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_text("image,labels\na.png,x=1|y=0\n")
    made = load_manifest(data, split_lists=lists(tmp_path / "lists", train="a.png 0 0 0 0 0\n"))
    assert made.findings == ["x", "y"]
    assert "findings are those of labels.csv, not of 'lists'" in made.notes


def test_the_whole_list_is_read_beside_shares_of_it_and_shares_by_name(tmp_path):
    data = images(tmp_path / "data", *(f"{n}.png" for n in range(6)))
    texts = {
        "train_1": "0.png 1\n",
        "train_10": "0.png 1\n1.png 0\n",
        "train_list": "0.png 1\n1.png 0\n2.png 1\n",
    }
    given = lists(tmp_path / "lists", **texts, val_list="3.png 0\n", test_list="4.png 1\n5.png 0\n")
    whole = load_manifest(data, split_lists=given)
    assert Counter(whole.table["split"]) == {"train": 3, "val": 1, "test": 2}
    assert any("train is the whole of train_list.txt" in note for note in whole.notes)
    few = load_manifest(
        data, split_lists=[given / name for name in ("train_10.txt", "val_list.txt", "test_list.txt")]
    )
    assert Counter(few.table["split"]) == {"train": 2, "val": 1, "test": 2}
    with pytest.raises(InputError, match=r"'train_1.txt, train_10.txt' has two lists for train"):
        load_manifest(data, split_lists=[given / "train_1.txt", given / "train_10.txt"])
    with pytest.raises(InputError, match=r"split list '.*train_5.txt' does not exist"):
        load_manifest(data, split_lists=[given / "train_5.txt", given / "val_list.txt"])


def test_a_list_may_leave_the_ending_of_a_name_out_where_that_is_clear(tmp_path):
    data = images(tmp_path / "data", "x/1.2.840.1.png", "y/1.2.840.2.jpg", "z/1.2.840.2.png")
    made = load_manifest(data, split_lists=lists(tmp_path / "one", train="1.2.840.1"))
    assert made.table["image"].tolist() == ["x/1.2.840.1.png"]
    with pytest.raises(InputError, match=r"'1.2.840.2' is the name of several images"):
        load_manifest(data, split_lists=lists(tmp_path / "two", train="1.2.840.2\n"))


def test_labels_that_no_class_has_are_named_by_the_lists_line(tmp_path):
    data = images(tmp_path / "data", "a.png", "b.png")
    given = lists(tmp_path / "lists", train="a.png mild\nb.png sever\n")
    with pytest.raises(InputError, match=r"train.txt row 2: label 'sever' is not in mild, severe"):
        load_manifest(data, split_lists=given, classes=["mild", "severe"])
    made = load_manifest(
        data, split_lists=given, classes=["mild", "severe"], layout_options={"relabel": {"sever": "severe"}}
    )
    assert made.table["label"].tolist() == ["mild", "severe"]


RSNA = {"train_list": "stage_2_train_images/a.dcm 0 \nstage_2_train_images/b.dcm 1 \n"}


def test_lists_of_bare_folders_bring_the_labels_that_the_folders_do_not_say(tmp_path):
    """RSNA Pneumonia without its table: the folders are parts, not classes."""
    data = images(
        tmp_path / "rsna",
        *(
            f"stage_2_{part}_images/{name}.dcm"
            for part, name in (("train", "a"), ("train", "b"), ("test", "t"))
        ),
    )
    made = load_manifest(
        data, split_lists=lists(tmp_path / "lists", **RSNA, test_list="stage_2_test_images/t.dcm 1 ")
    )
    assert made.classes() == ["0", "1"]
    assert dict(zip(made.table["image"], made.table["label"], strict=True)) == {
        "stage_2_test_images/t.dcm": "1",
        "stage_2_train_images/a.dcm": "0",
        "stage_2_train_images/b.dcm": "1",
    }
    assert "names of folders (stage_2_test_images, stage_2_train_images) are not used as labels" in made.notes


def test_names_of_folders_are_labels_where_lists_do_not_say_otherwise(tmp_path):
    data = images(tmp_path / "data", "mild/a.png", "severe/b.png")
    given = lists(tmp_path / "lists", train="mild/a.png mild\n", test="severe/b.png\n")
    assert load_manifest(data, split_lists=given).table["label"].tolist() == ["mild", "severe"]


@pytest.mark.parametrize("labels", ["1\n", "1 0 1 0 1\n"])
def test_labels_of_an_array_file_are_no_names_of_folders(tmp_path, labels):
    np.savez(tmp_path / "set.npz", images=np.zeros((1, 4, 4)), labels=np.array([3]))
    given = lists(tmp_path / "lists", train="set.npz#array=images&index=0 " + labels)
    made = load_manifest(tmp_path / "set.npz", split_lists=given)
    assert made.findings == []
    assert made.table["label"].tolist() == ["3"]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("stage_2_test_images/t.dcm 7 ", r"test_list.txt row 1: label '7' is not in 0..1; correct the line"),
        ("stage_2_train_images/c.dcm -1", r"test_list.txt row 1: label '-1' is not in 0..1"),
        ("stage_2_test_images/t.dcm 1\nstage_2_train_images/c.dcm ", r"test_list.txt row 2 has 0 labels"),
    ],
)
@pytest.mark.parametrize("has_table", [False, True])
def test_lists_of_rsna_say_1_or_0(tmp_path, test, message, has_table):
    data = images(
        tmp_path / "rsna",
        *(f"stage_2_train_images/{name}.dcm" for name in "abc"),
        "stage_2_test_images/t.dcm",
    )
    if has_table:
        rows = ["a,,,,,0", "b,1,1,2,2,1", "c,,,,,0"]
        (data / "stage_2_train_labels.csv").write_text(
            "\n".join(["patientId,x,y,width,height,Target", *rows])
        )
    with pytest.raises(InputError, match=message):
        load_manifest(data, split_lists=lists(tmp_path / "lists", **RSNA, test_list=test))


def test_lists_of_siim_say_1_or_0(tmp_path):
    data = images(tmp_path / "siim", "dicom-images-train/x/u.1.dcm", "dicom-images-train/y/u.2.dcm")
    given = lists(tmp_path / "lists", train="u.1 1\nu.2 2\n")
    with pytest.raises(InputError, match=r"train.txt row 2: label '2' is not in 0..1"):
        load_manifest(data, split_lists=given)
    (data / "train-rle.csv").write_text("ImageId, EncodedPixels\nu.1, 0 2\nu.2, -1\n")
    with pytest.raises(InputError, match=r"train.txt row 2: label '2' is not in 0..1"):
        load_manifest(data, split_lists=given)
    lists(tmp_path / "lists", train="u.1\nu.2\n")
    assert load_manifest(data, split_lists=given).table["label"].tolist() == ["1", "0"]


def test_labels_of_binary_lists_can_be_given_names(tmp_path):
    data = images(tmp_path / "rsna", "stage_2_train_images/a.dcm", "stage_2_train_images/b.dcm")
    made = load_manifest(
        data,
        split_lists=lists(tmp_path / "lists", **RSNA),
        layout_options={"relabel": {"0": "clear", "1": "pneumonia"}},
    )
    assert made.table["label"].tolist() == ["clear", "pneumonia"]


def test_lists_of_grades_and_of_names_with_blanks(tmp_path):
    data = images(tmp_path / "data", "a.png", "b.png", "c.png")
    graded = load_manifest(data, split_lists=lists(tmp_path / "one", train="a.png 0\nb.png 7\nc.png 2\n"))
    assert graded.classes() == ["0", "2", "7"]
    texts = lists(tmp_path / "two", train="a.png No DR\nb.png mild\n", test="c.png\n")
    named = load_manifest(data, split_lists=texts, classes=["No DR", "mild"], unlabelled="keep")
    assert named.table["label"].tolist()[:2] == ["No DR", "mild"]
