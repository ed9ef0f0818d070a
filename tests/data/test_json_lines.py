"""Tables as JSON lines, and spreadsheets that are not read."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.table import table_columns
from modicum.errors import InputError


def images(folder, count=6):
    names = [f"part{n % 2}/{n}.png" for n in range(count)]
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), n).save(folder / name)
    return names


def lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return path


def test_a_folder_of_hugging_face_is_read_by_its_metadata(tmp_path):
    rows = [
        {"file_name": name, "label": "ab"[n > 2], "ill": n > 2} for n, name in enumerate(images(tmp_path))
    ]
    path = lines(tmp_path / "metadata.jsonl", rows)
    made = load_manifest(tmp_path)
    assert (made.classes(), made.source) == (["a", "b"], "metadata.jsonl")
    assert table_columns(path) == ["file_name", "label", "ill"]
    assert load_manifest(path, columns={"image": "file_name", "label": "ill"}).classes() == ["0", "1"]


def test_lists_and_missing_cells(tmp_path):
    names = images(tmp_path, 3)
    rows = [
        {"image": names[0], "labels": ["a", "b"]},
        {"image": names[1], "labels": []},
        {"image": names[2], "labels": ["a"]},
    ]
    made = load_manifest(lines(tmp_path / "t.jsonl", rows))
    assert made.findings == ["a", "b"]
    assert made.table[["labels:a", "labels:b"]].to_numpy().tolist() == [[1, 1], [0, 0], [1, 0]]
    assert made.describe_row(1) == "t.jsonl line 2"


@pytest.mark.parametrize("line", ["[1, 2]", "{", "7", '"a.png"'])
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    (tmp_path / "t.jsonl").write_text('{"image": "a.png"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"t\.jsonl line 2 is no JSON object"):
        load_manifest(tmp_path / "t.jsonl")


def test_a_spreadsheet_beside_folders_of_classes_is_named(tmp_path):
    for n, name in enumerate(("benign", "malignant") * 2):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (4, 4), n).save(tmp_path / name / f"{n}.png")
    (tmp_path / "clinical.xlsx").write_bytes(b"PK")
    notes = load_manifest(tmp_path).notes
    assert "not read: 1 file (1 .xlsx); if they describe the images, save them as CSV and give that" in notes


def test_an_empty_list_in_parquet_says_that_nothing_is_there(tmp_path):
    names = images(tmp_path, 3)
    table = pd.DataFrame({"image": names, "labels": [["a", "b"], [], None]})
    table.to_parquet(tmp_path / "t.parquet")
    made = load_manifest(tmp_path / "t.parquet", unlabelled="keep")
    values = made.table[["labels:a", "labels:b"]].to_numpy()
    np.testing.assert_array_equal(values, [[1, 1], [0, 0], [np.nan, np.nan]])
