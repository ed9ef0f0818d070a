"""What is wrong with a plan and needs no pixels is said before its first step starts, with the name of the step."""

from pathlib import Path

import pandas as pd
import pytest
from chain_plans import ENHANCER, GATE, RANDOM, SMALL, write_eyes, write_plan

import modicum
from modicum.chains.step_checks import PlanChecks
from modicum.console.plans import fit_plan
from modicum.errors import InputError
from modicum.planning.plan_file import read_plan

PRE = {
    "method": "lesion_contrast",
    "backbone": RANDOM,
    **SMALL,
    "config": {"views": "whole"},
    "data": {"leaks": "allow"},
}
BEFORE = {
    "gate": {"name": "gate", "fit": GATE},
    "enhancer": {"name": "enhancer", "data": "pairs/manifest.csv", "fit": ENHANCER},
    "enhance": {"name": "enhance", "predict": {"run": "step:enhancer"}},
    "pre": {"name": "pre", "fit": PRE},
    "graded": {"name": "graded", "predict": {"run": "step:gate"}},
}


def fit(**changed) -> dict:
    return {"fit": {**GATE, **changed}}


def data(**changed) -> dict:
    return fit(data={"leaks": "allow", **changed})


WRONG = {
    "a grader that gives no class": (
        ["enhancer"], data(quality="step:enhancer", drop=["bad"]),
        "quality is step:enhancer, whose task 'image-to-image' gives no class to an image",
    ),
    "a class that the grader does not know": (
        ["gate"], data(quality="step:gate", drop=["bad"]), "drop is bad, and step:gate has no such class",
    ),
    "nothing to grade by": (["gate"], data(drop=["0"]), "nothing grades the images"),
    "weights of what has no backbone": (
        ["enhancer"], fit(backbone={"name": "test_resnet", "weights": "step:enhancer"}),
        "weights are step:enhancer, and method restoration_unet has no backbone",
    ),
    "weights of another backbone": (
        ["gate"], fit(backbone={"name": "test_vit", "weights": "step:gate"}),
        "whose backbone is 'test_resnet', not 'test_vit'",
    ),
    "a stage that the other has not": (
        ["pre"], fit(stages={"tune": {"start": "step:pre"}}),
        r"stages.tune.start is step:pre, which has no stage 'tune'; it has contrast",
    ),
    "grades as images": (
        ["gate", "graded"], {"data": "step:graded", **fit()},
        "step 'graded': its run predicts no images .classification., and they are the data of step 'last'",
    ),
    "predictions of an encoder": (
        ["pre"], {"predict": {"run": "step:pre"}}, "run is step:pre, which has learned an encoder",
    ),
    "outputs of what makes none": (
        ["gate", "enhancer"], {"predict": {"run": "step:enhancer", "after": "step:gate"}},
        "after is step:gate, which makes no images",
    ),
    "an option that is not for tables": (
        ["gate"], {"predict": {"run": "step:gate", "native": True}}, "--native and --tile are for pictures",
    ),
    "sets of what has no classes": (
        ["enhancer"], {"predict": {"run": "step:enhancer", "conformal": 0.1}},
        "prediction sets are not offered for task 'image-to-image'",
    ),
    "sets of what has no classes, evaluated": (
        ["enhancer"], {"data": "pairs/manifest.csv", "evaluate": {"run": "step:enhancer", "conformal": 0.1}},
        "prediction sets are not offered for task 'image-to-image'",
    ),
    "a share of misses above 1": (["gate"], {"predict": {"run": "step:gate", "conformal": 90}}, "--conformal is 90"),
    "a score of sets that is not there": (
        ["gate"], {"evaluate": {"run": "step:gate", "conformal": 0.1, "conformal_score": "asp"}}, "did you mean 'aps'",
    ),
    "a word for a number": (
        ["gate"], {"predict": {"run": "step:gate", "conformal": "1e-1"}}, "conformal is '1e-1'; it takes a number",
    ),
    "a word for yes or no": (
        ["gate"], {"predict": {"run": "step:gate", "strict": "no"}}, "strict is 'no'; it takes true or false",
    ),
    "a word for a list": (
        ["gate"], {"evaluate": {"run": "step:gate", "by": "eye"}}, "by is 'eye'; it takes a list",
    ),
    "a number for a whole one": (
        ["gate"], {"predict": {"run": "step:gate", "batch_size": 2.5}}, "batch_size is 2.5; it takes a whole number",
    ),
    "a run that is not there": ([], {"predict": {"run": "run:nowhere"}}, "'nowhere' is not a run folder"),
    "a split that is not there": (
        ["gate"], {"evaluate": {"run": "step:gate", "split": "external"}}, "there is no split 'external'",
    ),
    "a column that is not there": ([], data(columns={"label": "stage"}), "no column 'stage'"),
    "a column that is not there after another step": (
        ["enhancer", "enhance"], {"data": "step:enhance", **data(columns={"label": "stage"})}, "no column 'stage'",
    ),
    "a setting that is not there": (
        [], fit(method="octa_quality", config={"scorer": ["pooled"]}), "unknown setting 'scorer'; did you mean 'scorers'",
    ),
    "several processes": ([], fit(training={"devices": 2}), "devices is 2 and nodes 1"),
    "data that are not there": ([], {"data": "gone.csv", **fit()}, "does not exist"),
    "a step of another kind": (["graded"], fit(backbone={"weights": "step:graded"}), "which is a step of predict"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return write_eyes(tmp_path_factory.mktemp("checks"))


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_first(place, case):
    before, step, said = WRONG[case]
    names = ["gate", *before] if "graded" in before and "gate" not in before else before
    steps = [*(BEFORE[name] for name in names), {"name": "last", **step}]
    with pytest.raises(InputError, match=said) as refused:
        modicum.run_plan(write_plan(place, steps), runs=place / "runs")
    assert "step '" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "/tmp/modicum-" not in str(refused.value).replace("'", "")  # what stands for runs is not shown
    assert not (place / "runs").exists()


def test_a_run_that_has_not_finished_is_no_start(place, tmp_path):
    unfinished = tmp_path / "half"
    unfinished.mkdir()
    made = modicum.fit(
        place / "eyes", "full", runs=tmp_path, name="whole", write_report=False, image_size=32, epochs=1, leaks="allow",
        backbone="test_resnet", weights="random", resamples=0,
    )  # fmt: skip
    (unfinished / "recipe.yaml").write_bytes((made.path / "recipe.yaml").read_bytes())
    plan = write_plan(place, [{"name": "use", "predict": {"run": f"run:{unfinished}"}}])
    with pytest.raises(InputError, match="step 'use': run 'half' has not finished"):
        modicum.run_plan(plan, runs=tmp_path / "chains")
    # A finished one is taken, and the run stays as it is.
    before = sorted((path, path.stat().st_mtime_ns) for path in made.path.rglob("*") if path.is_file())
    steps = [
        {"name": "use", "predict": {"run": f"run:{made.path}"}},
        {"name": "score", "evaluate": {"run": f"run:{made.path}", "split": "test"}},
    ]
    done = modicum.run_plan(write_plan(place, steps), runs=tmp_path / "chains", write_report=False)
    assert (
        sorted((path, path.stat().st_mtime_ns) for path in made.path.rglob("*") if path.is_file()) == before
    )
    assert done["score"].metrics["metrics"] == made.metrics["evaluations"]["test"]["metrics"]
    assert len((done["use"].path / "predictions.csv").read_text().splitlines()) == 17


def test_a_chain_does_not_go_into_a_run_or_among_other_files(place, tmp_path):
    plan = write_plan(place, [BEFORE["gate"], {"name": "t", "evaluate": {"run": "step:gate"}}])
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not a chain, and holds 'notes.txt'"):
        modicum.run_plan(plan, runs=tmp_path)
    (tmp_path / "eyes" / "recipe.yaml").write_text("method: full")
    with pytest.raises(InputError, match="is the folder of a run, not of a chain"):
        modicum.run_plan(plan, runs=tmp_path)


def test_settings_beside_a_plan_are_refused(place, tmp_path):
    plan = write_plan(place, [BEFORE["gate"], {"name": "t", "evaluate": {"run": "step:gate"}}])
    with pytest.raises(InputError, match=r"'lr' is given beside plan .* write it there"):
        fit_plan(plan, {"method": None, "lr": 0.1}, None, tmp_path, False, False, None)


def test_columns_keep_their_names_from_step_to_step(place, tmp_path):
    table = pd.read_csv(place / "eyes" / "manifest.csv", dtype=str)
    table = table.rename(columns={"image": "file", "label": "stage", "patient": "subject"}).assign(
        surname="Doe"
    )
    table.drop(columns=["lesions", "disc"]).to_csv(place / "eyes" / "renamed.csv", index=False)
    columns = {"image": "file", "label": "stage", "patient": "subject"}
    read = {"data": {"leaks": "allow", "columns": columns}}
    steps = [
        {"name": "gate", "fit": {**GATE, **read}},
        {"name": "enhancer", "data": "pairs/manifest.csv", "fit": ENHANCER},
        {"name": "enhance", "predict": {"run": "step:enhancer", "columns": {"image": "file"}}},
        {"name": "last", "data": "step:enhance", "fit": {**GATE, **read}},
        {"name": "test", "data": "step:last", "evaluate": {"run": "step:last", "split": "test"}},
    ]
    path = write_plan(place, steps, file="renamed.yaml")
    path.write_text(path.read_text().replace("eyes/manifest.csv", "eyes/renamed.csv"))
    checked = PlanChecks(read_plan(path), tmp_path).check()
    for name in ("last", "test"):
        assert {"label", "patient", "split"} <= set(checked[name].manifest.table)
        assert "surname" not in checked[name].manifest.table
    assert checked["last"].manifest.table["label"].tolist() == table["stage"].tolist()
    assert set(checked["test"].manifest.table["split"]) == {"test"}
