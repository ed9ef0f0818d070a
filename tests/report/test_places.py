"""Pages that are handed on name files, and no folders of the machine that they were made on."""

import yaml
from made_run import make_run
from pages import Page

from modicum.report import build
from modicum.report.places import short_place, without_places

NAMES = {
    "/data/st-mary/labels.csv": "…/labels.csv",
    "/data/st-mary/": "…/st-mary",
    "~/patients/labels.csv": "…/labels.csv",
    "~anna/labels.csv": "…/labels.csv",
    "C:\\Users\\anna\\labels.csv": "…/labels.csv",
    "D:/scans/labels.csv": "…/labels.csv",
    "\\\\server\\share\\labels.csv": "…/labels.csv",
    "file:///data/w.pth": "file://…/w.pth",
    "sqlite:////data/anna/mlflow.db": "sqlite:///…/mlflow.db",
    "run:/home/anna/runs/pre": "run:…/pre",
    "/data/a.nii.gz#axis=2&index=8": "…/a.nii.gz#axis=2&index=8",
    # These stay:
    "labels.csv": "labels.csv",
    "data/labels.csv": "data/labels.csv",
    "run:runs/pre": "run:runs/pre",
    "hf:owner/name": "hf:owner/name",
    "http://host:8080/x": "http://host:8080/x",
    "0.5/0.5": "0.5/0.5",
    "and/or": "and/or",
}


def test_what_is_a_place_of_the_machine():
    assert {value: short_place(value) for value in NAMES} == NAMES


def test_the_rest_of_a_text_stays_as_it_is():
    text = (
        "# kept: why this size\n"
        "data: /data/st-mary/labels.csv  # given\n"
        "steps:\n"
        "- fit: {weights: '/data/w.pth', backbone: {weights: 'run:/data/runs/pre'}, lr: 1.0e-3}\n"
    )
    assert without_places(text) == (
        "# kept: why this size\n"
        "data: …/labels.csv  # given\n"
        "steps:\n"
        "- fit: {weights: '…/w.pth', backbone: {weights: 'run:…/pre'}, lr: 1.0e-3}\n"
    )


def test_a_path_that_is_folded_over_lines_and_a_damaged_text_are_found_too():
    folded = yaml.safe_dump({"source": "/data/" + "a long name of a ward " * 8 + "/labels.csv", "epochs": 2})
    assert "\n  " in folded
    assert yaml.safe_load(without_places(folded)) == {"source": "…/labels.csv", "epochs": 2}
    assert without_places("a: [/data/ward/labels.csv\nb: }") == "a: […/labels.csv\nb: }"
    assert without_places("") == ""


def test_a_report_shows_the_recipe_without_them_and_the_file_keeps_them(tmp_path):
    run = make_run(tmp_path / "run")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["data"]["source"] = "/data/st-mary/labels.csv"
    recipe["data"]["images"] = "/data/st-mary/images"
    text = yaml.safe_dump(recipe, sort_keys=False)
    (run / "recipe.yaml").write_text(text)
    page = Page(build(run).read_text(encoding="utf-8")).text
    assert "source: …/labels.csv" in page
    assert "images: …/images" in page
    assert "st-mary" not in page
    assert (run / "recipe.yaml").read_text() == text
