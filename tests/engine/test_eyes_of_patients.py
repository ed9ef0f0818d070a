"""Photographs of eyes as they come: one eye only, three photographs of an eye, grades that a run does not know."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import modicum
from modicum.errors import InputError
from modicum.methods.decision import Rows

SETTINGS = {
    "backbone": "test_resnet", "weights": "random", "image_size": 32, "crop": "none", "epochs": 1, "batch_size": 8,
    "augment": "none", "workers": 0, "device": "cpu", "leaks": "allow", "write_report": False, "resamples": 10,
}  # fmt: skip


def photograph(path: Path, grade: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(40 + 45 * grade, 12, (32, 32, 3)).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)


@pytest.fixture(scope="module")
def eyepacs(tmp_path_factory) -> Path:
    """Ten patients to learn from and ten to test on, as Kaggle has them; of 100 and 209 one eye only."""
    folder = tmp_path_factory.mktemp("eyepacs")
    for table, part, first in (("trainLabels", "train", 100), ("retinopathy_solution", "test", 200)):
        lines = ["image,level" + (",Usage" if first == 200 else "")]
        for number in range(first, first + 10):
            for eye in ("left",) if number in (100, 209) else ("left", "right"):
                name, grade = f"{number}_{eye}", number % 5
                photograph(folder / part / f"{name}.jpeg", grade, 2 * number + (eye == "left"))
                usage = ("Public" if number % 2 else "Private") if number < 209 else "Private"
                lines.append(f"{name},{grade}" + (f",{usage}" if first == 200 else ""))
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(eyepacs, tmp_path_factory):
    return modicum.fit(eyepacs, "dr_grading", name="eyes", runs=tmp_path_factory.mktemp("runs"), **SETTINGS)


def predictions(run) -> pd.DataFrame:
    return pd.read_csv(run.path / "evaluations" / "test" / "predictions.csv", dtype={"patient": str})


def test_both_eyes_learn_from_eyepacs_and_an_eye_alone_is_flagged(run):
    manifest = pd.read_csv(run.path / "manifest.csv", dtype=str)
    assert manifest["split"].value_counts().to_dict() == {"train": 19, "test": 11, "val": 8}
    table = predictions(run).set_index("image")
    assert table["fellow_missing"].sum() == 1
    assert table.loc["test/209_left.jpeg", "fellow_missing"]


def test_how_many_images_have_no_fellow_is_said(eyepacs, tmp_path, capsys):
    modicum.fit(eyepacs, "dr_grading", name="said", runs=tmp_path, **SETTINGS)
    said = capsys.readouterr()
    assert "both_eyes: learns from 18 of 19 training images" in said.out + said.err
    assert "several images" not in said.out + said.err


@pytest.mark.parametrize("eye", ["left", "right", "neither"])
def test_eyes_of_one_side_only_are_one_line_before_anything_learns(eyepacs, tmp_path, eye):
    table = pd.read_csv(eyepacs / "trainLabels.csv")
    kept = table["image"].str.endswith("left")
    table = pd.DataFrame(
        {
            "image": [str(eyepacs / "train" / f"{name}.jpeg") for name in table["image"][kept]],
            "label": table["level"][kept],
            "patient": table["image"][kept].str.partition("_")[0],
        }
    )
    if eye != "neither":
        table["eye"] = eye
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(
        InputError,
        match=r"can learn from none of the .* training images; both eyes need the columns patient and eye",
    ):
        modicum.fit(tmp_path, "dr_grading", name="no", runs=tmp_path, allow_outside=True, **SETTINGS)
    assert not (tmp_path / "no" / "weights.safetensors").exists()


def test_three_photographs_of_an_eye_are_graded_and_counted(eyepacs, run, tmp_path, capsys):
    rows = []
    for number in range(12):
        for eye, count in (("L", 3 if number in (0, 1) else 1), ("R", 1)):
            for which in range(count):
                name = f"{number}_{eye}_{which}.png"
                photograph(tmp_path / "data" / name, number % 5, 100 + 10 * number + which + 5 * (eye == "R"))
                split = "train" if number < 8 else "val" if number < 10 else "test"
                rows.append(
                    {"image": name, "label": number % 5, "patient": number, "eye": eye, "split": split}
                )
    labels = tmp_path / "data" / "labels.csv"
    pd.DataFrame(rows).to_csv(labels, index=False)
    modicum.fit(
        tmp_path / "data", "dr_grading", name="three", runs=tmp_path, classes=list("01234"), **SETTINGS
    )
    said = capsys.readouterr()
    assert "both_eyes: 2 eyes with several images, each of which is graded" in said.out + said.err
    run.predict(labels, tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    assert len(table) == 28
    assert not table["fellow_missing"].any()


def test_eyes_of_which_there_are_several_images_are_counted_once():
    eyes = [
        ("a", "L"),
        ("a", "L"),
        ("a", "L"),
        ("a", "R"),
        ("b", "L"),
        ("c", None),
        ("c", None),
        (None, "L"),
        (None, "L"),
    ]
    rows = Rows([str(n) for n in range(9)], [p for p, _ in eyes], [e for _, e in eyes], [None] * 9)
    assert rows.repeated_eyes() == 1


def graded(folder: Path, grades: list[str]) -> Path:
    for number in range(len(grades)):
        photograph(folder / f"{number}.png", number % 5, number)
    lines = [f"{number}.png,{grade}" for number, grade in enumerate(grades)]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("grades", "bad"),
    [
        (["0", "4", "5"], "row 4: label '5'"),  # ungradable of DDR
        (["1", "2", "3", "4", "5"], "row 6: label '5'"),  # counted from one
        (["0", "-1"], "row 3: label '-1'"),  # not graded
        (["0", "1", "2.5"], "row 4: label '2.5'"),  # a mean of two readers
        (["none", "mild"], "row 2: label 'none'"),  # names of the same grades
        (["R0", "R1"], "row 2: label 'R0'"),  # another scale
    ],
)
def test_other_grades_than_a_score_has_learned_are_one_line(run, tmp_path, grades, bad):
    with pytest.raises(InputError, match=rf"labels.csv {bad} is not in 0\.\.4; ") as raised:
        run.evaluate(graded(tmp_path / "data", grades), name="others", workers=0)
    assert "\n" not in str(raised.value)


def test_fewer_grades_than_a_score_has_learned_are_evaluated(run, tmp_path):
    some = run.evaluate(graded(tmp_path / "some", list("001122")), name="some", workers=0)
    assert np.isfinite(some["metrics"]["quadratic_kappa"]["value"])
    one = run.evaluate(graded(tmp_path / "one", list("3333")), name="one", workers=0)
    assert one["metrics"]["mae"]["value"] >= 0


def test_a_grade_outside_the_classes_is_one_line(eyepacs, tmp_path):
    with pytest.raises(
        InputError, match=r"row 5: label '5' is not in 0\.\.4; fix the row, .*--classes 0,1,2,3,4,5"
    ):
        modicum.fit(
            graded(tmp_path / "data", list("01254")),
            "dr_grading",
            name="no",
            runs=tmp_path,
            classes=list("01234"),
            **SETTINGS,
        )


def test_a_grade_that_no_image_has_is_named_and_can_be_given(tmp_path, capsys):
    data = graded(tmp_path / "data", list("0124" * 6))
    given = {"name": "few", "runs": tmp_path, "fusion": False, **SETTINGS}
    with pytest.raises(
        InputError,
        match=r"mse needs all grades, and no image has 3; if these are grades, name all .*--classes 0,1,2,3,4",
    ):
        modicum.fit(data, "dr_grading", **given)
    made = modicum.fit(data, "dr_grading", classes=list("01234"), **given)
    assert "quadratic_kappa" in made.metrics["evaluations"]["test"]["metrics"]
