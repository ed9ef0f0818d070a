"""No cell of a table that is written is a formula to a spreadsheet, numbers stay, and reports read what was meant."""

import csv

import pandas as pd
import pytest

from modicum.data.table_cells import as_written, safe_cells, spreadsheet_safe
from modicum.engine.inference.evaluation import write_table
from modicum.engine.inference.prediction import TableWriter
from modicum.engine.inputs.preparation import write_broken
from modicum.errors import BrokenImageError
from modicum.report.files import _table

FORMULAS = [
    "=1+1",
    "+cmd|'/C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\tx",
    "\rx",
    '=HYPERLINK("x")',
    "-",
    "+",
    "＝1+1",
    "'=1",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_gets_an_apostrophe_that_is_taken_away_again(cell):
    assert spreadsheet_safe(cell) == "'" + cell
    assert as_written("'" + cell) == cell


@pytest.mark.parametrize(
    "cell", ["-1.5", "+2", "1e-3", "-inf", "", "a=b", "x-1", "'quoted'", "image.png", "-0.000"]
)
def test_numbers_and_other_texts_stay(cell):
    assert spreadsheet_safe(cell) == cell
    assert as_written(cell) == cell


def test_every_table_of_predictions_is_safe(tmp_path):
    table = pd.DataFrame(
        {
            "image": ["=a.png", "b.png"],
            "@x": ["+evil", "-1"],
            "p_=c": [-0.25, 1e-9],
            "n": pd.array([-1, None], "Int64"),
        }
    )
    write_table(tmp_path / "a.csv", table)
    with TableWriter(tmp_path / "b.csv", list(table)) as writer:
        writer.write(table[:1])
        writer.write(table[1:])
    for name in ("a.csv", "b.csv"):
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows == [
            ["image", "'@x", "p_=c", "n"],
            ["'=a.png", "'+evil", "-0.25", "-1"],
            ["b.png", "-1", "1e-09", ""],
        ]
    read = _table(tmp_path / "a.csv", [])
    assert read["image"].tolist() == ["=a.png", "b.png"]
    assert read["@x"].tolist() == ["+evil", "-1"]
    assert table["image"].tolist() == ["=a.png", "b.png"]  # the caller's stays


def test_parquet_has_no_formulas_and_stays_as_it_is(tmp_path):
    table = pd.DataFrame({"image": ["=a.png"]})
    write_table(tmp_path / "a.parquet", table)
    assert pd.read_parquet(tmp_path / "a.parquet")["image"].tolist() == ["=a.png"]


def test_images_set_aside_are_listed_safely_and_once(tmp_path):
    path = tmp_path / "broken.csv"
    for _ in range(2):
        write_broken(path, [BrokenImageError("=a.png", "truncated"), BrokenImageError("b.png", "- odd")])
    rows = list(csv.reader(path.open(newline="")))
    assert rows == [["image", "reason"], ["'=a.png", "truncated"], ["b.png", "'- odd"]]


def test_safe_tables_keep_their_types():
    table = pd.DataFrame({"a": [1, -2], "b": [0.5, -0.5], "c": [True, False], "d": ["x", None]})
    pd.testing.assert_frame_equal(safe_cells(table), table)
