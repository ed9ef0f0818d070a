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
        InputError, match="the lists in 'lists' have 3 labels a line; name the findings in their order"
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
            r"train.txt row 2 has 4 labels, the first line 5; complete the line",
        ),
        ("a.png 1 0 1 0 1\n\nb.png\n", r"train.txt row 3 has 0 labels, the first line 5"),
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
    with pytest.raises(InputError, match=r"split list '.*train_5.txt' is not there"):
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
