"""The format of plans: what is read, and what is refused in one line."""

import inspect
from pathlib import Path

import pytest
import yaml

from modicum.errors import InputError
from modicum.planning.plan_file import OPTIONS, is_plan, read_plan
from modicum.run import Run

CHAIN = """
modicum_plan: 1
data: labels.csv
name: eyes
steps:
  - name: gate
    fit: {method: full, training: {epochs: 2}}
  - name: enhance
    predict: {run: step:gate, probabilities: true}
  - name: grade
    data: step:enhance
    fit:
      method: lora
      backbone: {weights: step:gate}
      data: {quality: step:gate, drop: [bad], columns: {label: grade}}
      stages: {tune: {start: step:gate}}
  - name: test
    evaluate: {run: step:grade, split: test, judges: [step:gate]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_steps_are_read_in_order_and_refer_to_runs_before_them(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, CHAIN))
    assert [(step.name, step.kind) for step in plan.steps] == [
        ("gate", "fit"),
        ("enhance", "predict"),
        ("grade", "fit"),
        ("test", "evaluate"),
    ]
    assert plan.name == "eyes"
    assert not plan.is_single_fit
    assert plan.source(plan.steps[0]) == str(tmp_path / "labels.csv")
    assert plan.source(plan.steps[2]) == "step:enhance"
    recipe = plan.recipe(plan.steps[2], {"gate": "runs/eyes-gate"})
    assert recipe.values["backbone"]["weights"] == "run:runs/eyes-gate"
    assert recipe.values["data"] == {
        "quality": "run:runs/eyes-gate",
        "drop": ["bad"],
        "columns": {"label": "grade"},
    }
    assert recipe.values["stages"]["tune"]["start"] == "run:runs/eyes-gate"
    assert plan.steps[3].resolved({"gate": "g", "grade": "h"}) == {
        "run": "run:h",
        "split": "test",
        "judges": ["run:g"],
    }


def test_a_plan_is_told_from_other_files_by_its_first_key(tmp_path: Path) -> None:
    assert is_plan(written(tmp_path, CHAIN))
    assert not is_plan(written(tmp_path, "method: full\n"))
    assert not is_plan(tmp_path)
    assert not is_plan(tmp_path / "missing.yaml")
    assert not is_plan(None)


FIT = {"name": "a", "fit": {"method": "full"}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepps": []}, "did you mean 'steps'"),
        ({"steps": []}, "'steps'"),
        ({"steps": ["fit"]}, "step 1 is 'fit'"),
        ({"modicum_plan": 2}, "modicum_plan"),
        ({"data": None}, "has no data"),
        ({"steps": [{"name": "a", "fits": {}}]}, "did you mean 'fit'"),
        ({"steps": [{"fit": {}}]}, "name"),
        ({"steps": [{"name": "a b", "fit": {}}]}, "letters, digits"),
        ({"steps": [{"name": "a"}]}, "nothing to do"),
        ({"steps": [{**FIT, "predict": {"run": "run:x"}}]}, "fit and predict"),
        ({"steps": [FIT, FIT]}, "twice"),
        ({"steps": [{"name": "a", "fit": {"trainin": {}}}]}, "did you mean 'training'"),
        ({"steps": [{"name": "a", "fit": {"training": {"epoch": 1}}}]}, "did you mean 'epochs'"),
        ({"steps": [{"name": "a", "fit": {"data": {"source": "x"}}}]}, "data.source"),
        ({"steps": [{"name": "a", "predict": {"run": "runs/x"}}]}, "run:FOLDER"),
        ({"steps": [{"name": "a", "predict": {"run": "run:x", "tiles": 3}}]}, "did you mean 'tile'"),
        (
            {"steps": [{"name": "a", "evaluate": {"run": "run:x", "spilt": "test"}}]},
            "did you mean 'split'",
        ),
        ({"steps": [{"name": "a", "evaluate": {"run": "step:b"}}, {**FIT, "name": "b"}]}, "not before it"),
        ({"steps": [{"name": "a", "evaluate": {"run": "step:a"}}]}, "not before it"),
        ({"steps": [FIT, {"name": "b", "evaluate": {"run": "step:aa"}}]}, "did you mean 'a'"),
        (
            {
                "steps": [
                    FIT,
                    {"name": "b", "evaluate": {"run": "step:a"}},
                    {**FIT, "name": "c", "data": "step:b"},
                ]
            },
            "a step of fit or predict there",
        ),
        (
            {
                "steps": [
                    {"name": "a", "predict": {"run": "run:x"}},
                    {"name": "b", "fit": {"backbone": {"weights": "step:a"}}},
                ]
            },
            "a step of fit there",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, changes: dict, words: str) -> None:
    content = {"modicum_plan": 1, "data": "labels.csv", "steps": [FIT], **changes}
    path = written(tmp_path, yaml.safe_dump(content))
    with pytest.raises(InputError) as error:
        read_plan(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "method: full"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="modicum plan"):
        read_plan(written(tmp_path, text))


def test_options_of_steps_are_those_of_runs() -> None:
    """Every option that a step can have is one of the Python call, and none is missing but where files go."""
    predict = set(inspect.signature(Run.predict).parameters) - {"self", "images", "out"}
    assert set(OPTIONS["predict"]) == predict | {"run", "weights"}
    own = set(inspect.signature(Run.evaluate).parameters) - {"self", "data", "settings"}
    reading = {"columns", "pairs", "images", "split_lists", "slices", "align_geometry", "allow_outside"}
    left_out = {"name", "workers", "stores", "write_report", "out"}
    assert set(OPTIONS["evaluate"]) == (own - left_out) | reading | {"run", "weights"}
