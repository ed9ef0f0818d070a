"""Whatever a data set is on disk becomes the same table, and what is wrong with it is named by row, value, remedy."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.layouts import images_manifest, load_manifest
from modicum.data.layouts.table import table_columns
from modicum.data.manifest import Manifest
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    """Real (tiny) images, so that nothing depends on what is checked when."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, format="PNG")
    return folder


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def missing(series: pd.Series) -> list[bool]:
    return series.isna().tolist()


# Tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image,label,patient\na.png,mild,007\nb.png,größer,8\n", "utf-8"),
        ("image,label,patient\r\na.png,mild,007\r\nb.png,größer,8\r\n", "utf-8-sig"),
        ("image;label;patient\r\na.png;mild;007\r\n\r\nb.png;größer;8", "cp1252"),
        ("image\tlabel\tpatient\na.png\tmild\t007\nb.png\tgrößer\t8\n", "utf-16"),
        ('"image","label","patient"\r"a.png"," mild ",007\rb.png,größer,8,,\r,,\r', "utf-8"),
        (" Image ,Label,PATIENT\na.png,mild,007\nb.png,größer,8\n", "utf-8"),
    ],
)
def test_tables_as_people_and_programs_write_them(tmp_path, text, encoding):
    touch(tmp_path, "a.png", "b.png")
    table = load_manifest(write(tmp_path / "set.csv", text, encoding)).table
    assert table.to_dict("list") == {
        "image": ["a.png", "b.png"],
        "label": ["mild", "größer"],
        "patient": ["007", "8"],
    }


def test_a_line_that_is_not_utf8_leaves_the_others_as_they_are(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    rows = ["image,größe", "a.png,Blähung", "b.png,Erguß"]
    encodings = ["cp1252", "utf-8", "cp1252"]
    lines = [row.encode(encoding) for row, encoding in zip(rows, encodings, strict=True)]
    (tmp_path / "set.csv").write_bytes(b"\n".join(lines))
    assert table_columns(tmp_path / "set.csv") == ["image", "größe"]
    manifest = load_manifest(tmp_path / "set.csv", columns={"label": "größe"})
    assert manifest.table["label"].tolist() == ["Blähung", "Erguß"]
    assert manifest.notes == ["set.csv: 2 lines are not UTF-8 and were read as Windows-1252 (lines 1, 3)"]


def test_tables_that_pandas_writes(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    frame = pd.DataFrame(
        {"image": ["a.png", "b.png", "c.png"], "label": [1, 0, None], "patient": ["007", None, "9"]}
    )
    frame.to_csv(tmp_path / "set.csv")
    frame.to_csv(tmp_path / "set.tsv", sep="\t", index=False)
    frame.to_parquet(tmp_path / "set.parquet")
    for name in ("set.csv", "set.tsv", "set.parquet"):
        made = load_manifest(tmp_path / name, unlabelled="keep")
        assert made.table["label"].tolist()[:2] == ["1", "0"], name
        assert missing(made.table["label"]) == [False, False, True]
        assert made.table["patient"].tolist()[0] == "007"
        assert missing(made.table["patient"]) == [False, True, False]


def test_columns_take_their_roles_and_others_stay(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    write(tmp_path / "set.csv", "file,label,dr_grade,subject,age\na.png,x,0,007,60\nb.png,y,3,008,61\n")
    columns = {"image": "file", "label": "dr_grade", "patient": "subject"}
    table = load_manifest(tmp_path / "set.csv", columns=columns).table
    assert table["label"].tolist() == ["0", "3"]
    assert table["patient"].tolist() == ["007", "008"]
    assert table["file_label"].tolist() == ["x", "y"]
    assert table["age"].tolist() == ["60", "61"]
    assert set(table) == {"image", "label", "patient", "file_label", "age"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "dr_grad"}, "set.csv: no column 'dr_grad'; did you mean 'dr_grade'"),
        ({"lable": "dr_grade"}, "'lable' is not a role of a column; did you mean 'label'"),
        ({}, "set.csv: no column 'image'; did you mean 'file'"),
    ],
)
def test_columns_that_are_not_there_bring_a_suggestion(tmp_path, columns, message):
    touch(tmp_path, "a.png")
    write(tmp_path / "set.csv", "file,dr_grade\na.png,0\n")
    with pytest.raises(InputError) as raised:
        load_manifest(tmp_path / "set.csv", columns=columns)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "set.csv is empty"),
        ("image,label\n", "set.csv has no rows"),
        ("image,label\na.png,1\nb.png,1,2\n", "set.csv row 3 has 3 cells, the header has 2"),
        ("image,label,label\na.png,1,2\n", "set.csv has two columns 'label'"),
        ("image,label\na.png,1\n,0\n", "set.csv row 3 names no image"),
        ("image,label\na.png,\nb.png,\n", "set.csv: no row has a label"),
        (
            "image,label\na.png,0\n\nb.png,1\n./a.png,1\n",
            "image 'a.png' is in 2 rows: set.csv row 2 and set.csv row 5",
        ),
    ],
)
def test_tables_with_something_wrong_are_refused(tmp_path, text, message):
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(InputError) as raised:
        load_manifest(write(tmp_path / "set.csv", text))
    assert message in str(raised.value)


def test_a_label_outside_the_classes_is_named_with_its_row(tmp_path):
    touch(tmp_path, *(f"{n}.png" for n in range(16)))
    rows = "".join(f"{n}.png,{5 if n == 15 else n % 5}\n" for n in range(16))
    write(tmp_path / "labels.csv", "image,label\n" + rows)
    with pytest.raises(InputError) as raised:
        load_manifest(tmp_path, classes=["0", "1", "2", "3", "4"])
    assert str(raised.value) == (
        "labels.csv row 17: label '5' is not in 0..4; fix the row, leave its label blank (it is then left out), or train "
        "with --classes 0,1,2,3,4,5"
    )
    assert load_manifest(tmp_path, classes=["0", "1", "2", "3", "4", "5"]).classes() == list("012345")


def test_rows_without_a_label_are_left_out_with_a_note_or_kept(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    write(tmp_path / "set.csv", "image,label\na.png,1\nb.png,\nc.png,NA\n")
    made = load_manifest(tmp_path / "set.csv")
    assert made.table["image"].tolist() == ["a.png"]
    assert made.notes == ["left out: 2 images without a label"]
    assert len(load_manifest(tmp_path / "set.csv", unlabelled="keep")) == 3


def test_eyes_and_splits_in_their_one_way_of_writing(tmp_path):
    touch(tmp_path, *(f"{n}.png" for n in range(5)))
    rows = ["0.png,OD,training", "1.png,left,Valid", "2.png,os,dev", "3.png,,TEST", "4.png,-,testing"]
    made = load_manifest(write(tmp_path / "set.csv", "\n".join(["image,eye,split", *rows])))
    assert made.table["eye"].tolist()[:3] == ["R", "L", "L"]
    assert missing(made.table["eye"]) == [False, False, False, True, True]
    assert made.table["split"].tolist() == ["train", "val", "val", "test", "test"]
    assert "set.csv row 6: eye '-' is neither L nor R" in made.notes[0]


def test_cells_may_be_long(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    before = csv.field_size_limit()
    report = "No effusion. " * 20_000
    write(tmp_path / "set.csv", f"image,label,report\na.png,1,{report}\nb.png,0,Clear.\n")
    made = load_manifest(tmp_path / "set.csv")
    assert made.table["report"].tolist() == [report.strip(), "Clear."]
    made.save(tmp_path / "saved.csv")
    pd.testing.assert_frame_equal(Manifest.read_saved(tmp_path / "saved.csv", tmp_path).table, made.table)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('image,report\na.png,clear\nb.png,"effusion\nc.png,clear\n', 3),
        ('image,report\na.png,"two\nlines"\nb.png,"', 3),
        ('image,"report\na.png,clear\n', 1),
    ],
)
def test_a_quotation_mark_that_nothing_closes_is_named(tmp_path, text, row):
    """It would take all rows after it into one cell."""
    touch(tmp_path, "a.png", "b.png", "c.png")
    with pytest.raises(InputError, match=rf"set.csv row {row} has an unclosed quotation mark"):
        load_manifest(write(tmp_path / "set.csv", text))


def test_a_split_column_can_be_ignored(tmp_path):
    touch(tmp_path, "a.png")
    write(tmp_path / "set.csv", "image,split\na.png,fold3\n")
    table = load_manifest(tmp_path / "set.csv", columns={"split": ""}).table
    assert table.to_dict("list") == {"image": ["a.png"], "file_split": ["fold3"]}


# Findings ------------------------------------------------------------------------------------------------------


def test_one_column_a_finding_with_unknowns(tmp_path):
    touch(tmp_path, "a.png", "b.png", "c.png")
    write(tmp_path / "set.csv", "image,Edema,Effusion\na.png,1.0,0\nb.png,-1.0,\nc.png,,1\n")
    made = load_manifest(tmp_path / "set.csv", columns={"labels": ["Effusion", "Edema"]}, unlabelled="keep")
    assert made.findings == ["Effusion", "Edema"]
    values = made.table[["labels:Effusion", "labels:Edema"]].to_numpy()
    np.testing.assert_array_equal(values, [[0, 1], [np.nan, np.nan], [1, np.nan]])
    # A row of which nothing is known teaches nothing.
    assert len(load_manifest(tmp_path / "set.csv", columns={"labels": ["Effusion", "Edema"]})) == 2


@pytest.mark.parametrize("mark", ["|", ";"])
def test_findings_as_words(tmp_path, mark):
    touch(tmp_path, *(f"{n}.png" for n in range(4)))
    rows = [f"0.png,b {mark} a", "1.png,c", "2.png,", "3.png,No Finding"]
    write(tmp_path / "set.csv", "\n".join(["image,labels", *rows]))
    made = load_manifest(tmp_path / "set.csv", columns={"labels": ["labels"]}, unlabelled="keep")
    assert made.findings == ["a", "b", "c"]
    nan = np.nan
    expected = [[1, 1, 0], [0, 0, 1], [nan, nan, nan], [0, 0, 0]]
    np.testing.assert_array_equal(made.table[["labels:a", "labels:b", "labels:c"]].to_numpy(), expected)
    named = load_manifest(tmp_path / "set.csv", classes=["c", "b", "a", "No Finding"])
    assert named.findings == ["c", "b", "a", "No Finding"]
    assert named.table["labels:No Finding"].tolist() == [0, 0, 1]


def test_findings_with_values(tmp_path):
    touch(tmp_path, "0.png", "1.png", "2.png")
    write(tmp_path / "set.csv", "image,labels\n0.png,a=1|b=0|c=-1\n1.png,a|c\n2.png,c=1\n")
    values = load_manifest(tmp_path / "set.csv").table[["labels:a", "labels:b", "labels:c"]].to_numpy()
    np.testing.assert_array_equal(values, [[1, 0, np.nan], [1, 0, 1], [np.nan, np.nan, 1]])


def test_findings_that_make_no_sense_are_named(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    write(tmp_path / "set.csv", "image,labels,Edema\n0.png,a=2,1\n1.png,b,7\n")
    with pytest.raises(InputError, match="row 2: finding 'a' is '2'; write 1, 0, -1 or leave the cell blank"):
        load_manifest(tmp_path / "set.csv")
    with pytest.raises(InputError, match="row 3: finding 'Edema' is '7'"):
        load_manifest(tmp_path / "set.csv", columns={"labels": ["Edema"]})
    write(tmp_path / "set.csv", "image,labels\n0.png,a\n1.png,z\n")
    with pytest.raises(InputError, match="row 3: finding 'z' is not in a, b"):
        load_manifest(tmp_path / "set.csv", classes=["a", "b"])


def test_a_label_asked_for_by_name_overrules_findings(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    write(tmp_path / "set.csv", "image,labels,grade\n0.png,a|b,0\n1.png,b,1\n")
    made = load_manifest(tmp_path / "set.csv", columns={"label": "grade"})
    assert made.findings == []
    assert made.classes() == ["0", "1"]


def test_numbers_under_labels_are_one_label_a_row(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    made = load_manifest(write(tmp_path / "set.csv", "image,labels\n0.png,0\n1.png,3\n"))
    assert (made.findings, made.classes()) == ([], ["0", "3"])
    assert "read as 'label'" in made.notes[0]


# Files ---------------------------------------------------------------------------------------------------------


def test_images_in_the_folder_beside_or_in_one_that_is_given(tmp_path):
    touch(tmp_path / "set", "images/a.png", "masks/a.png", "other/a.png")
    touch(tmp_path / "far", "a.png")
    table = write(tmp_path / "set" / "set.csv", "image,mask\na.png,a.png\n")
    made = load_manifest(table)
    assert made.table.iloc[0].to_dict() == {"image": "images/a.png", "mask": "masks/a.png"}
    assert "relative to the folder 'images/'" in made.notes[0]
    assert load_manifest(table, images=Path("other")).table["image"].tolist() == ["other/a.png"]
    write(table, "image\na.png\n")
    far = load_manifest(table, images=tmp_path / "far")
    assert [ref.path for ref in far.refs()] == [tmp_path / "far" / "a.png"]
    with pytest.raises(InputError, match="folder of images 'nowhere' does not exist"):
        load_manifest(table, images=Path("nowhere"))


def test_missing_files_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path, "0.png")
    write(tmp_path / "set.csv", "image\n" + "".join(f"{n}.png\n" for n in range(7)))
    with pytest.raises(InputError) as raised:
        load_manifest(tmp_path / "set.csv")
    assert "6 files not found (row 3: image '1.png', row 4: image '2.png'," in str(raised.value)
    assert len(load_manifest(tmp_path / "set.csv", missing="keep")) == 7


@pytest.mark.parametrize(
    "form",
    [
        "../out.png",
        "sub/../../out.png",
        "..\\out.png",
        "{folder}/out.png",
        "link.png",
        "linked/out.png",
        "C:\\out.png",
    ],
)
@pytest.mark.parametrize("column", ["image", "mask"])
def test_references_outside_the_folder_are_refused(tmp_path, form, column):
    touch(tmp_path, "out.png")
    root = touch(tmp_path / "set", "in.png", "sub/in.png")
    (root / "link.png").symlink_to(tmp_path / "out.png")
    (root / "linked").symlink_to(tmp_path)
    text = form.format(folder=tmp_path)
    row = text if column == "image" else f"sub/in.png,{text}"
    header = "image" if column == "image" else "image,mask"
    first = "in.png" if column == "image" else "in.png,in.png"
    write(root / "set.csv", f"{header}\n{first}\n{row}\n")
    with pytest.raises(InputError) as raised:
        load_manifest(root / "set.csv", missing="keep")
    assert f"set.csv row 3: {column} '{text}' is outside the data's folder; move it there" in str(
        raised.value
    )
    if not text.startswith("C:"):
        made = load_manifest(root / "set.csv", allow_outside=True)
        assert (made.root / made.table[column].iloc[1]).samefile(tmp_path / "out.png")


def test_roundabout_references_inside_are_straightened(tmp_path):
    root = touch(tmp_path / "set", "a.png", "sub/b.png", "sub/c.png", "sub/d.png")
    rows = ["./a.png", "sub\\b.png", f"{root}/sub/c.png", "sub/../sub//d.png"]
    write(root / "set.csv", "\n".join(["image", *rows]))
    assert load_manifest(root / "set.csv").table["image"].tolist() == [
        "a.png",
        "sub/b.png",
        "sub/c.png",
        "sub/d.png",
    ]


def test_slices_of_one_volume_are_different_images(tmp_path):
    touch(tmp_path, "v.nii")
    write(tmp_path / "set.csv", "image\nv.nii#axis=2&index=1\nv.nii#axis=2&index=2\n")
    assert len(load_manifest(tmp_path / "set.csv")) == 2


# Folders -------------------------------------------------------------------------------------------------------


def test_a_folder_a_class(tmp_path):
    touch(
        tmp_path,
        "10/b.png",
        "2/a10.png",
        "2/a9.png",
        "2/deep/x.png",
        ".hidden/h.png",
        "__MACOSX/2/m.png",
        "2/.a.png",
    )
    write(tmp_path / "2" / "notes.txt", "no image")
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == ["2/a9.png", "2/a10.png", "2/deep/x.png", "10/b.png"]
    assert made.table["label"].tolist() == ["2", "2", "2", "10"]
    assert made.classes() == ["2", "10"]
    assert "split" not in made.table
    assert made.name == tmp_path.name


def test_a_folder_a_class_with_splits(tmp_path):
    touch(
        tmp_path,
        "training/ill/a.png",
        "training/well/b.png",
        "valid/ill/c.png",
        "Testing/d.png",
        "other/e.png",
    )
    made = load_manifest(tmp_path, unlabelled="keep")
    table = made.table.set_index("image")
    assert table["split"].to_dict() == {
        "training/ill/a.png": "train",
        "training/well/b.png": "train",
        "valid/ill/c.png": "val",
        "Testing/d.png": "test",
    }
    assert table["label"].dropna().to_dict() == {
        "training/ill/a.png": "ill",
        "training/well/b.png": "well",
        "valid/ill/c.png": "ill",
    }
    assert any("everything else in it is left out" in note for note in made.notes)


def test_a_plain_folder_has_just_images(tmp_path):
    touch(tmp_path / "plain", "img10.png", "img9.png")
    assert load_manifest(tmp_path / "plain").table.to_dict("list") == {"image": ["img9.png", "img10.png"]}
    touch(tmp_path / "held", "images/a.png", "sketches/a.png")
    held = load_manifest(tmp_path / "held")
    assert held.table.to_dict("list") == {"image": ["images/a.png"]}
    assert "left out: sketches" in held.notes[0]
    frame = load_manifest(f"{tmp_path}/plain/img9.png#frame=0")
    assert (len(frame), frame.refs()[0].frame) == (1, 0)
    one = load_manifest(tmp_path / "plain" / "img9.png")
    assert [ref.path for ref in one.refs()] == [tmp_path / "plain" / "img9.png"]


def test_images_named_one_by_one(tmp_path, monkeypatch):
    touch(tmp_path, "x/a.png", "y/b.png")
    monkeypatch.chdir(tmp_path / "x")
    made = images_manifest(["a.png", "../y/b.png#frame=0"])
    assert made.root == tmp_path
    assert made.table["image"].tolist() == ["x/a.png", "y/b.png#frame=0"]


def test_a_folder_that_leads_into_itself_is_read_once(tmp_path):
    touch(tmp_path, "well/a.png", "ill/b.png")
    (tmp_path / "ill" / "loop").symlink_to(tmp_path / "ill")
    assert len(load_manifest(tmp_path)) == 2


def test_an_odd_file_name_survives(tmp_path):
    touch(tmp_path, "a#frame=3.png", "b#index=1", "c, d.png")
    (tmp_path / "b#index=1").rename(tmp_path / "b.png#frame=1")
    made = load_manifest(tmp_path)
    assert all(ref.path.is_file() for ref in made.refs())


def test_the_table_of_a_folder_is_found(tmp_path):
    touch(tmp_path, "images/a.png")
    write(tmp_path / "notes.csv", "who,what\nx,y\n")
    write(tmp_path / "set.csv", "image,label\na.png,1\n")
    made = load_manifest(tmp_path)
    assert (made.source, made.name) == ("set.csv", tmp_path.name)
    write(tmp_path / "other.csv", "image,label\na.png,1\n")
    with pytest.raises(InputError, match=r"several tables \(other.csv, set.csv\); pass one of them"):
        load_manifest(tmp_path)
    write(tmp_path / "labels.csv", "image,label\na.png,1\n")
    assert load_manifest(tmp_path).source == "labels.csv"


def test_what_the_file_system_refuses_is_one_line(tmp_path, monkeypatch):
    write(tmp_path / "set.csv", "image\na.png\n")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"set.csv' cannot be read \(Permission denied\)"):
        load_manifest(tmp_path / "set.csv")


@pytest.mark.parametrize("name", ["nowhere", "readme.md", "empty"])
def test_sources_that_are_no_data_are_refused(tmp_path, name):
    write(tmp_path / "readme.md", "text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        load_manifest(tmp_path / name)


# Data lists and arrays -----------------------------------------------------------------------------------------


def test_monai_data_list(tmp_path):
    touch(tmp_path, *(f"img/{n}.png" for n in range(5)), "seg/0.nii.gz")
    document = {
        "name": "a set",
        "training": [{"image": "./img/0.png", "label": 2, "fold": 0}, {"image": "img/1.png", "label": "0"}],
        "validation": [{"image": ["img/2.png"], "label": 1}],
        "test": ["img/3.png"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    made = load_manifest(tmp_path, unlabelled="keep")
    assert made.table["image"].tolist() == [f"img/{n}.png" for n in range(4)]
    assert made.table["split"].tolist() == ["train", "train", "val", "test"]
    assert made.table["label"].tolist()[:3] == ["2", "0", "1"]
    assert made.table["fold"].tolist()[0] == "0"
    masks = {"training": [{"image": "img/0.png", "label": "seg/0.nii.gz"}, {"image": "img/1.png"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(masks))
    masked = load_manifest(tmp_path / "dataset.json").table
    assert masked["mask"].tolist()[0] == "seg/0.nii.gz"
    assert missing(masked["mask"]) == [False, True]
    assert "label" not in masked


def test_monai_data_list_with_findings(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    rows = [{"image": "0.png", "label": [1, 0, -1]}, {"image": "1.png", "label": [0, 1, 1]}]
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": rows, "labels": {"0": "Edema", "1": "Mass", "2": "Hernia"}}))
    made = load_manifest(path)
    assert made.findings == ["Edema", "Mass", "Hernia"]
    values = made.table[[f"labels:{name}" for name in made.findings]].to_numpy()
    np.testing.assert_array_equal(values, [[1, 0, np.nan], [0, 1, 1]])
    path.write_text(
        json.dumps(
            {"training": [{"image": "0.png", "label": ["Mass", "Edema"]}, {"image": "1.png", "label": []}]}
        )
    )
    worded = load_manifest(path)
    np.testing.assert_array_equal(worded.table[["labels:Edema", "labels:Mass"]].to_numpy(), [[1, 1], [0, 0]])


def test_findings_of_minus_one_in_a_data_list_are_said_to_be_unknown(tmp_path):
    touch(tmp_path, "0.png", "1.png", "2.png")
    entries = [{"image": f"{n}.png", "label": [1, -1 if n else 0]} for n in range(3)]
    (tmp_path / "list.json").write_text(json.dumps({"labels": {"0": "a", "1": "b"}, "training": entries}))
    manifest = load_manifest(tmp_path / "list.json")
    assert manifest.notes == ["-1 (uncertain) counts as unknown: b in 2 rows"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a data list"),
        ('{"training": []}', "lists no images"),
        ('{"training": [{"label": 1}]}', r"training\[0\] names no image"),
        ('{"training": [{"image": ["a", "b"]}]}', r"training\[0\] has 2 images"),
        ('{"training": [{"image": "a.png", "label": {"x": 1}}]}', r"training\[0\] has .* as its label"),
    ],
)
def test_monai_data_lists_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_manifest(write(tmp_path / "list.json", text))


def test_arrays_as_medmnist_writes_them(tmp_path):
    path = tmp_path / "setmnist.npz"
    parts = {"train": 5, "val": 3, "test": 2}
    arrays = {f"{part}_images": np.zeros((n, 8, 8, 3), np.uint8) for part, n in parts.items()}
    arrays |= {f"{part}_labels": np.arange(n, dtype=np.uint8)[:, None] for part, n in parts.items()}
    np.savez_compressed(path, **arrays)
    made = load_manifest(path)
    assert made.table.iloc[5].to_dict() == {
        "image": "setmnist.npz#array=val_images&index=0",
        "label": "0",
        "split": "val",
    }
    assert Counter(made.table["split"]) == parts
    assert (made.refs()[6].array, made.refs()[6].index) == ("val_images", 1)
    assert made.name == "setmnist"


def test_arrays_with_findings_and_ids(tmp_path):
    path = tmp_path / "set.npz"
    labels = np.array([[1, 0], [0, -1]])
    np.savez(path, images=np.zeros((2, 4, 4)), labels=labels, patient=np.array(["007", "008"]))
    table = load_manifest(path).table
    np.testing.assert_array_equal(table[["labels:0", "labels:1"]].to_numpy(), [[1, 0], [0, np.nan]])
    assert table["patient"].tolist() == ["007", "008"]
    assert "split" not in table


def test_arrays_that_cannot_be_used(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.zeros((2, 4, 4)), labels=np.zeros(3))
    with pytest.raises(InputError, match=r"set.npz labels has shape \(3,\) for 2 images"):
        load_manifest(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(InputError, match="contains no array of images"):
        load_manifest(path)
    np.savez(path, images=np.zeros((2, 4, 4)), labels=np.array([{}, {}]))
    with pytest.raises(InputError, match="cannot be read as an array file"):
        load_manifest(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read as an array file"):
        load_manifest(path)


# Split lists ---------------------------------------------------------------------------------------------------


def test_split_lists_set_the_split_and_drop_the_rest(tmp_path):
    touch(tmp_path, "images/a.png", "images/b c.png", "images/d.png", "images/e.png")
    write(tmp_path / "lists_train.txt", "a.png 1\nb c.png 0\n\n")
    write(tmp_path / "lists_val.txt", "images/d.png\n")
    write(tmp_path / "readme.txt", "no list")
    made = load_manifest(tmp_path, split_lists=tmp_path, unlabelled="keep")
    assert made.table["image"].tolist() == ["images/a.png", "images/b c.png", "images/d.png"]
    assert made.table["split"].tolist() == ["train", "train", "val"]
    assert made.table["label"].tolist()[:2] == ["1", "0"]
    assert any("left out: 1 image not listed" in note for note in made.notes)


def test_split_lists_with_something_wrong_are_refused(tmp_path):
    data = touch(tmp_path / "data", "a.png", "b.png")
    lists = tmp_path / "lists"
    with pytest.raises(InputError, match="does not exist"):
        load_manifest(data, split_lists=lists)
    lists.mkdir()
    with pytest.raises(InputError, match="has no split lists"):
        load_manifest(data, split_lists=lists)
    write(lists / "train.txt", "a.png\nb.png\nz.png\n")
    with pytest.raises(InputError, match=r"1 listed image not found in data \(train.txt row 3: 'z.png'\)"):
        load_manifest(data, split_lists=lists)
    assert len(load_manifest(data, split_lists=lists, missing="keep")) == 2
    write(lists / "train.txt", "a.png\n")
    write(lists / "val.txt", "b.png\na.png\n")
    with pytest.raises(InputError, match=r"'a.png' is in two splits: train.txt row 1 and val.txt row 2"):
        load_manifest(data, split_lists=lists)
    write(lists / "val_other.txt", "b.png\n")
    with pytest.raises(InputError, match=r"two lists for val \(val.txt, val_other.txt\)"):
        load_manifest(data, split_lists=lists)


def test_a_list_must_say_which_of_two_images_it_means(tmp_path):
    data = touch(tmp_path / "data", "x/a.png", "y/a.png")
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists" / "test.txt", "a.png\n")
    with pytest.raises(InputError, match=r"'a.png' is the name of several images"):
        load_manifest(data, split_lists=tmp_path / "lists")
    write(tmp_path / "lists" / "test.txt", "y/a.png\n")
    assert load_manifest(data, split_lists=tmp_path / "lists").table["image"].tolist() == ["y/a.png"]


# Real data sets, with the counts that their own descriptions give ------------------------------------------------


def counts(manifest, split: str) -> dict[str, int]:
    return dict(Counter(manifest.part(split).table["label"]))


def test_fundus_dr_grading(real_images):
    made = load_manifest(real_images("fundus_dr_grading"), columns={"label": "dr_grade"})
    assert counts(made, "train") == {"0": 138, "1": 51, "2": 83, "3": 15, "4": 11}
    assert counts(made, "val") == {"0": 29, "1": 8, "2": 17, "3": 4, "4": 2}
    assert counts(made, "test") == {"0": 26, "1": 11, "2": 16, "3": 1, "4": 4}
    assert len(set(made.patients())) == 208
    # One photograph is called Patient254-R.jpg, so that its eye is '-' in the table.
    assert Counter(made.table["eye"].dropna()) == {"L": 208, "R": 207}


@pytest.mark.parametrize(
    ("task", "train", "val", "test"),
    [
        ("covid1", {"1": 233, "0": 74}, {"1": 28, "0": 16}, {"1": 53, "0": 37}),
        ("viral1", {"1": 244, "0": 24}, {"1": 37, "0": 4}, {"1": 57, "0": 8}),
        ("viral5", {"1": 246, "0": 26}, {"1": 36, "0": 6}, {"1": 56, "0": 4}),
    ],
)
def test_cxr_covid_with_its_lists(real_images, task, train, val, test):
    folder = real_images("cxr_covid")
    made = load_manifest(folder, columns={"label": task[:-1]}, split_lists=folder / "lists" / task)
    assert (counts(made, "train"), counts(made, "val"), counts(made, "test")) == (train, val, test)


def test_cxr_covid_without_lists_leaves_out_what_is_not_in_the_task(real_images):
    made = load_manifest(real_images("cxr_covid"), columns={"label": "viral"})
    assert len(made) == 374
    assert "left out: 67 images without a label" in made.notes


def test_cxr_covid_with_the_published_lists_names_what_is_not_here(real_images):
    folder = real_images("cxr_covid")
    options = {"columns": {"label": "viral"}, "split_lists": folder / "official_lists" / "viral1"}
    with pytest.raises(InputError, match=r"52 listed images not found in labels.csv"):
        load_manifest(folder, **options)
    made = load_manifest(folder, missing="keep", **options)
    assert (len(made.part("train")), len(made.part("val")), len(made.part("test"))) == (268, 41, 65)
    # The published test list has a slip, label '11' for '1'; the table's label counts.
    assert made.classes() == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "columns", "sizes", "classes"),
    [
        ("fundus_hrf", {"label": "class"}, {"train": 24, "val": 6}, 3),
        ("skin_ham10000", {"label": "dx", "patient": "lesion_id"}, {"train": 76, "test": 24}, 7),
        ("octa_vessels", {"image": "file", "patient": "subject"}, {"train": 140, "val": 10}, 0),
        ("vessels", {"patient": "group"}, {"train": 40, "val": 10}, 0),
        ("cxr_pneumoniamnist", None, {"train": 2428, "val": 270}, 2),
    ],
)
def test_other_real_sets(real_images, name, columns, sizes, classes):
    made = load_manifest(real_images(name), columns=columns)
    assert Counter(made.table["split"]) == sizes
    assert len(made.classes()) == classes
    assert made.name == name
    assert all(ref.path.is_file() for ref in made.refs()[:: max(1, len(made) // 50)])


def test_dicom_and_nifti_files_in_a_plain_folder(real_images):
    made = load_manifest(real_images("dicom_nifti"))
    assert list(made.table) == ["image"]
    assert len(made) == 6
