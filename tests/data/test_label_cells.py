"""One cell, several labels: seen, read and said; what may be either is refused; what is no class is cautioned of."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.label_cells import label_cautions
from modicum.errors import InputError


def table(folder, labels, column="label"):
    for n in range(len(labels)):
        Image.new("L", (4, 4)).save(folder / f"{n}.png")
    images = [f"{n}.png" for n in range(len(labels))]
    pd.DataFrame({"image": images, column: labels}).to_csv(folder / "set.csv", index=False)
    return folder / "set.csv"


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["['effusion', 'loc basal']", "['effusion']", "[]"], "as lists"),
        (['["effusion", "loc basal"]', '["effusion"]', "[]"], "as lists"),
        (["['effusion' 'loc basal']", "['effusion']", "[]"], "as lists"),
        (["{'loc basal', 'effusion'}", "('effusion',)", "()"], "as lists"),
        (["effusion|loc basal", "effusion", "none"], "between '|'"),
        (["effusion; loc basal", "effusion", "None"], "between ';'"),
        (["effusion, loc basal", "effusion", "no finding"], None),
        (["effusion, loc basal", "loc basal,effusion", "none"], "between ','"),
    ],
)
@pytest.mark.parametrize("column", ["label", "labels"])
def test_several_labels_of_a_cell_are_findings(tmp_path, cells, how, column):
    path = table(tmp_path, cells, column)
    if how is None and column == "label":
        with pytest.raises(InputError, match=r"'effusion, loc basal' may be one class or several.*--labels"):
            load_manifest(path)
        path = table(tmp_path, [*cells, "loc basal"])
        how = "between ','"
    made = load_manifest(path)
    assert made.findings == ["effusion", "loc basal"]
    values = made.table[["labels:effusion", "labels:loc basal"]].to_numpy()[:3]
    second = [1, 1] if "loc basal,effusion" in cells else [1, 0]
    np.testing.assert_array_equal(values, [[1, 1], second, [0, 0]])
    if column == "label":
        assert f"column 'label' holds up to 2 labels a row, {how}: read as findings" in made.notes


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["{'a', 'b'}", "set()", "{'a'}"], "as lists"),
        (
            ["array(['a', 'b'], dtype=object)", "array([], dtype=object)", "array(['a'], dtype='<U1')"],
            "as lists",
        ),
        (["frozenset({'b', 'a'})", "frozenset()", "['a']"], "as lists"),
        (["a+b", "a", "b"], "between '+'"),
        (["a / b", "b", "a"], "between '/'"),
        (["a & b", "b", "a"], "between '&'"),
        (["a\tb", "b", "a"], "between '\\t'"),
        (["a\nb", "b", "a"], "between '\\n'"),
    ],
)
def test_other_ways_to_write_several_labels(tmp_path, cells, how):
    made = load_manifest(table(tmp_path, cells))
    assert made.findings == ["a", "b"]
    assert made.table[["labels:a", "labels:b"]].iloc[0].tolist() == [1, 1]
    assert made.table[["labels:a", "labels:b"]].iloc[1].sum() == (0 if how == "as lists" else 1)
    assert f"column 'label' holds up to 2 labels a row, {how}: read as findings" in made.notes


@pytest.mark.parametrize(
    "cells", [["ER+", "ER-"], ["4/5", "1/2"], ["T1/T2", "T1"], ["R&D", "R"], ["and/or", "or"]]
)
def test_signs_within_names_of_classes_stay(tmp_path, cells):
    assert load_manifest(table(tmp_path, cells * 2)).classes() == sorted(cells)


def test_sentences_between_commas_are_cautioned_of(tmp_path):
    cells = [
        f"the heart is {size} in size, lungs {state}"
        for size in ("normal", "small")
        for state in ("clear", "hazy")
    ]
    notes = load_manifest(table(tmp_path, cells * 3)).notes
    assert any(
        "some of them read like sentences ('the heart is" in note and "--report" in note for note in notes
    )


def test_signs_that_nobody_sees_are_cautioned_of():
    cautions = label_cautions(["Mild", "Mild\u200b", "\ufeffMild"] * 4)
    assert any("differ by case, blanks or signs only" in caution for caution in cautions)


def test_a_comma_in_the_name_of_a_class_stays(tmp_path):
    path = table(tmp_path, ["carcinoma, squamous", "naevus", "carcinoma, squamous"])
    assert load_manifest(path).classes() == ["carcinoma, squamous", "naevus"]


def test_names_that_the_user_gives_stay_whole(tmp_path):
    path = table(tmp_path, ["a; b", "a", "b"])
    assert load_manifest(path, classes=["a; b", "a", "b"]).classes() == ["a", "a; b", "b"]


def test_lists_of_one_are_labels(tmp_path):
    made = load_manifest(table(tmp_path, ["['a']", "['b']"]))
    assert made.classes() == ["a", "b"]


@pytest.mark.parametrize("cells", [["a|b;c", "a"], ["a|b", "a;b"]])
def test_two_separators_are_refused(tmp_path, cells):
    with pytest.raises(InputError, match="one separator"):
        load_manifest(table(tmp_path, cells))


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        ([20 + 2 * n for n in range(30)], "measurement"),
        ([f"{n / 7:.3f}" for n in range(30)], "measurement"),
        ([f"{n},5" for n in range(30)], "measurement"),
        ([f"P{n:04}" for n in range(30)], "ids"),
        ([f"no sign of effusion, heart normal, study {n}" for n in range(30)], "free text"),
    ],
)
def test_labels_that_are_no_classes_are_cautioned_of(tmp_path, labels, word):
    notes = load_manifest(table(tmp_path, labels)).notes
    assert [note for note in notes if note.startswith("caution: 30 different labels") and word in note]


@pytest.mark.parametrize(
    "labels", [["nv", "mel"] * 15, [n % 5 for n in range(30)], [f"c{n % 12}" for n in range(60)]]
)
def test_classes_bring_no_caution(tmp_path, labels):
    assert load_manifest(table(tmp_path, labels)).notes == []


@pytest.mark.parametrize(
    ("labels", "absent", "named"),
    [
        ("0124", "3", "0,1,2,3,4"),
        ("135", "2, 4", "1,2,3,4,5"),
        ("0114", "2, 3", "0,1,2,3,4"),
        ("01234", None, ""),  # all are there
        ("04", None, ""),  # two classes, which need no order
        ("358", None, ""),  # numbers of classes, not grades
        ("abd", None, ""),
    ],
)
def test_a_grade_that_no_image_has_is_cautioned_of(labels, absent, named):
    notes = label_cautions(list(labels))
    wanted = [
        f"caution: no image has label {absent}, so that the others count as classes without an order; "
        f"if they are grades, name all of them with --classes {named}"
    ]
    assert notes == (wanted if absent else [])
    assert label_cautions(list(labels), classes=list("012345")) == []
