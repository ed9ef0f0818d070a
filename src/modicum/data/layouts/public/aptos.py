"""APTOS 2019 Blindness Detection, as on Kaggle, and the copy that is divided into three parts."""

import re
from pathlib import Path

from modicum.data.layouts.folder_tables import head_of
from modicum.data.layouts.public.chest_tables import read_lines
from modicum.data.layouts.public.contents import any_name
from modicum.data.layouts.public.graded_rows import GradedPart, Photographs, grade_of, joined, released_table
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows

_COLUMNS = ("id_code", "diagnosis")
# The copy in three parts has grades in all of its tables; the test table of the release has ids alone.
_PARTS = {
    "train": (r"train(_1)?\.csv", "train_images"),
    "val": (r"val(id)?\.csv", "val_images"),
    "test": (r"test\.csv", "test_images"),
}


def is_aptos(folder: Path) -> bool:
    """``train.csv`` with ``id_code`` and ``diagnosis`` (a number) beside ``train_images``."""
    table = released_table(folder, _PARTS["train"][0], _COLUMNS)
    if table is None or not any_name(folder, _PARTS["train"][1]):
        return False
    return all(re.fullmatch(r"\d+(\.0+)?", str(cell)) for cell in head_of(table)["diagnosis"].dropna())


def read_aptos(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads APTOS 2019: the grade of each image; patients and eyes are not published.

    Images to test without grades are left out. Of a copy whose tables for validation and test have grades too, the
    parts are the split.

    Raises:
        InputError: a grade is not in 0..4.
    """
    photographs = Photographs(folder)
    parts = []
    for split, (pattern, where) in _PARTS.items():
        table = released_table(folder, pattern, _COLUMNS)
        if table is None:
            continue
        part = GradedPart(table.name)
        for line in read_lines(table, _COLUMNS, "id_code"):
            image = photographs.path(line["id_code"], line.origin, where)
            grade = grade_of(line["diagnosis"], line.origin)
            part.add({"image": image, "label": grade, "split": split}, line.origin)
        parts.append(part)
    return joined(parts, [photographs])
