"""Chains of steps: what each is made of, what is kept, what is refused."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from chain_plans import GATE, chain_steps, write_eyes, write_plan
from safetensors.torch import load_file
from typer.testing import CliRunner

import modicum
from modicum.chains.verifying import verify_chain
from modicum.cli import app
from modicum.errors import InputError, InterruptedRunError
from modicum.report.build import build_evaluation


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return write_eyes(tmp_path_factory.mktemp("chains"))


@pytest.fixture(scope="module")
def chain(place) -> modicum.Chain:
    return modicum.run_plan(write_plan(place, chain_steps()), runs=place / "runs", write_report=False)


@pytest.fixture
def copied(chain, tmp_path) -> Path:
    """A copy of all, to change."""
    shutil.copytree(chain.path.parents[1], tmp_path / "all")
    return tmp_path / "all"


def again(folder: Path, steps: list[dict], **more) -> modicum.Chain:
    options = {"resume": True, "write_report": False} | more
    return modicum.run_plan(write_plan(folder, steps), runs=folder / "runs", **options)


def weights(chain: modicum.Chain, step: str) -> dict[str, np.ndarray]:
    return {
        name: value.numpy() for name, value in load_file(chain[step].path / "weights.safetensors").items()
    }


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_every_step_is_finished_and_has_a_folder(chain):
    assert [(step.name, step.kind, step.state) for step in chain.steps.values()] == [
        ("enhancer", "fit", "finished"),
        ("enhance", "predict", "finished"),
        ("first", "fit", "finished"),
        ("grade", "fit", "finished"),
        ("test", "evaluate", "finished"),
    ]
    assert all(step.path.is_dir() for step in chain.steps.values())
    assert modicum.Run.open(chain["grade"].path).recipe.method == "full"


def test_rows_of_a_prediction_are_those_of_its_data_with_other_images(place, chain):
    before = modicum.load(place / "eyes" / "manifest.csv").table
    path = chain.folder.table("enhance")
    after = modicum.load(path, allow_outside=True)
    assert len(after) == len(before)
    for column in ("label", "patient", "eye", "split"):
        assert after.table[column].tolist() == before[column].tolist()
    for image, output in zip(before["image"], after.table["image"], strict=True):
        assert Path(output).name == f"{Path(image).stem}_predicted.png"
        assert (path.parent / output).is_file()
    masks = [Path(after.root / mask).resolve() for mask in after.table["mask"]]
    assert masks == [(place / "eyes" / mask).resolve() for mask in before["mask"]]


def test_columns_that_nobody_asked_for_do_not_come_along(chain):
    # lesions and disc of the phantoms have no meaning here, as names of persons in other tables
    assert set(pd.read_csv(chain.folder.table("enhance"))) <= {
        "image",
        "label",
        "patient",
        "eye",
        "domain",
        "mask",
        "split",
    }


def test_an_evaluation_on_the_rows_of_a_training_finds_what_the_training_found(chain):
    own = chain["grade"].run.metrics["evaluations"]["test"]
    found = chain["test"].metrics
    assert found["images"] == own["images"]
    assert found["metrics"]["accuracy"]["value"] == own["metrics"]["accuracy"]["value"]
    assert found["metrics"]["auroc"]["value"] == own["metrics"]["auroc"]["value"]


def test_an_evaluation_has_a_page_of_its_own(chain, tmp_path):
    page = build_evaluation(chain["grade"].path, chain["test"].path, tmp_path / "page.html").read_text()
    assert page.count('class="panel"') == 1
    assert "What was taken for what" in page


def test_a_training_in_a_chain_learns_what_it_learns_alone(chain, tmp_path):
    alone = modicum.fit(
        chain.folder.table("enhance"), "full", runs=tmp_path, write_report=False, image_size=32, epochs=1, batch_size=4,
        lr=1e-3, select="last", resamples=0, device="cpu", leaks="allow", allow_outside=True, backbone="test_resnet",
        weights="random",
    )  # fmt: skip
    learned = {name: value.numpy() for name, value in load_file(alone.path / "weights.safetensors").items()}
    assert same(weights(chain, "first"), learned)


def test_stores_are_shared_by_the_runs_of_all_chains(place, chain):
    assert any((place / "runs" / ".stores").glob("images-*"))
    assert not list(chain.path.rglob(".stores"))
    assert chain["grade"].run.folder.stores == (place / "runs" / ".stores").absolute()


def test_one_page_over_all_that_needs_nothing_else(place, chain):
    chain["grade"].run.report()
    page = chain.report().read_text(encoding="utf-8")
    for name in ("enhancer", "enhance", "first", "grade", "test"):
        assert f'id="step-{name}"' in page
    assert page.count("data:image/jpeg") == 12  # six eyes, before and after
    assert "structures may have been invented" in page
    assert 'href="grade/report.html"' in page
    assert not re.search(r"(src|href)=\"(https?:|/|file:)", page)
    assert str(place) not in page
    assert "p00000" not in page  # no patient
    assert "p00000" not in (chain.path / "chain.json").read_text(encoding="utf-8")


def test_a_finished_chain_is_kept_as_it_is(copied):
    before = modicum.Chain.open(copied / "runs" / "eyes")
    times = {path: path.stat().st_mtime_ns for path in before.path.rglob("weights.safetensors")}
    seconds = [step.record.seconds for step in before.steps.values()]
    after = again(copied, chain_steps())
    assert {path: path.stat().st_mtime_ns for path in after.path.rglob("weights.safetensors")} == times
    assert [step.record.seconds for step in after.steps.values()] == seconds
    with pytest.raises(InputError, match="exists already; pass --resume"):
        again(copied, chain_steps(), resume=False)


def test_a_changed_step_is_refused_with_what_changed_and_what_stands_on_it(copied):
    with pytest.raises(InputError) as refused:
        again(copied, chain_steps(epochs=2))
    said = str(refused.value)
    assert "step 'grade' would have to be done again (and so would test)" in said
    assert "training.epochs was 1, now it is 2" in said
    assert modicum.Chain.open(copied / "runs" / "eyes").folder.read().state == "finished"


def test_a_changed_step_and_what_stands_on_it_are_done_again_where_that_is_wanted(copied):
    before = modicum.Chain.open(copied / "runs" / "eyes")
    old = {name: weights(before, name) for name in ("enhancer", "first", "grade")}
    after = again(copied, chain_steps(epochs=2), overwrite=True)
    assert same(weights(after, "enhancer"), old["enhancer"])
    assert same(weights(after, "first"), old["first"])
    assert not same(weights(after, "grade"), old["grade"])
    assert after["grade"].run.recipe.training.epochs == 2
    assert after["test"].metrics["metrics"] == after["grade"].run.metrics["evaluations"]["test"]["metrics"]
    assert not list(after.path.glob(".*.replaced"))


def test_a_redoing_that_is_stopped_before_it_learns_leaves_the_old_run_and_goes_on(copied, monkeypatch):
    before = weights(modicum.Chain.open(copied / "runs" / "eyes"), "grade")

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("modicum.chains.do_step.fit", stopped)
        with pytest.raises(
            InterruptedRunError, match=r"step 'grade': stopped; go on with `modicum fit .*--resume"
        ):
            again(copied, chain_steps(epochs=2), overwrite=True)
    chain = modicum.Chain.open(copied / "runs" / "eyes")
    assert same(weights(chain, "grade"), before)
    assert [chain[name].state for name in ("first", "grade", "test")] == ["finished", "outdated", "outdated"]
    after = again(copied, chain_steps(epochs=2))  # it was allowed already
    assert not same(weights(after, "grade"), before)
    assert after.folder.read().state == "finished"


def test_changed_labels_are_noticed_by_every_step_that_reads_them(copied):
    table = copied / "eyes" / "manifest.csv"
    frame = pd.read_csv(table, dtype=str)
    frame.loc[0, "label"] = str((int(frame.loc[0, "label"]) + 1) % 3)
    frame.to_csv(table, index=False)
    with pytest.raises(InputError, match=r"step 'enhance' .*so would first, grade, test\): its data changed"):
        again(copied, chain_steps())


def test_an_image_replaced_by_another_is_noticed(copied):
    images = sorted((copied / "eyes" / "images").glob("*.png"))
    shutil.copyfile(images[0], images[1])
    with pytest.raises(InputError, match=r"step 'enhance' .*its data changed"):
        again(copied, chain_steps())


def test_changed_outputs_are_noticed(copied):
    chain = modicum.Chain.open(copied / "runs" / "eyes")
    assert verify_chain(chain.folder).damaged == 0
    output = next(chain.folder.outputs("enhance").rglob("*.png"))
    output.write_bytes(output.read_bytes()[:-1])
    verified = verify_chain(chain.folder)
    assert verified.damaged == 1
    assert "enhance: what it wrote is NOT what is in its folder" in verified.lines
    with pytest.raises(InputError, match=r"step 'enhance' .*what is in its folder is not what came of it"):
        again(copied, chain_steps())


def test_a_step_may_be_added_and_left_out(copied, capsys):
    steps = chain_steps()
    steps[-1] = {"name": "val", "data": "step:grade", "evaluate": {"run": "step:grade", "split": "val"}}
    after = again(copied, steps)
    assert [step.state for step in after.steps.values()] == ["finished"] * 5
    assert "no longer in the plan: test" in capsys.readouterr().err
    own = after["grade"].run.metrics["evaluations"]["val"]["metrics"]
    assert after["val"].metrics["metrics"]["auroc"]["value"] == own["auroc"]["value"]


def test_the_copy_of_a_plan_goes_on_with_the_paths_of_the_original(copied):
    chain = modicum.Chain.open(copied / "runs" / "eyes")
    record = json.loads(chain.folder.record.read_text())
    record["plan"] = str(copied / "plan.yaml")
    chain.folder.record.write_text(json.dumps(record))
    text = chain.folder.plan.read_text(encoding="utf-8")
    whole = text.replace("eyes/manifest.csv", f"{copied}/eyes/manifest.csv")
    chain.folder.plan.write_text(whole, encoding="utf-8")
    page = chain.report().read_text(encoding="utf-8")
    assert "data: …/manifest.csv" in page
    assert str(copied) not in page
    chain.folder.plan.write_text(text, encoding="utf-8")
    done = modicum.run_plan(
        chain.folder.plan, name="eyes", runs=copied / "runs", resume=True, write_report=False
    )
    assert done.folder.read().state == "finished"


def test_a_failing_step_is_named_and_the_steps_before_it_are_kept(place, tmp_path):
    shutil.copytree(place / "eyes", tmp_path / "eyes")
    shutil.copytree(place / "eyes", tmp_path / "more")
    whole = next((tmp_path / "more" / "images").glob("*.png"))
    content = whole.read_bytes()
    whole.write_bytes(content[:100])
    steps = [
        {"name": "one", "fit": GATE},
        {"name": "two", "data": "more/manifest.csv", "fit": {**GATE, "backbone": {"name": "step:one"}}},
    ]
    with pytest.raises(InputError, match="step 'two': 1 of 16 images cannot be read"):
        again(tmp_path, steps)
    chain = modicum.Chain.open(tmp_path / "runs" / "eyes")
    assert [step.state for step in chain.steps.values()] == ["finished", "failed"]
    assert "cannot be read" in chain["two"].record.error
    chain.report()
    assert "Step two is failed" in chain.folder.report.read_text(encoding="utf-8")
    first = weights(chain, "one")
    whole.write_bytes(content)
    done = again(tmp_path, steps)
    assert done.folder.read().state == "finished"
    assert same(weights(done, "one"), first)


def test_images_without_an_answer_are_counted_and_end_with_exit_code_3(place, tmp_path):
    shutil.copytree(place / "eyes", tmp_path / "eyes")
    shutil.copytree(place / "eyes", tmp_path / "more")
    broken, dark, *_ = sorted((tmp_path / "more" / "images").glob("*.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    cv2.imwrite(str(dark), np.zeros_like(cv2.imread(str(dark))))
    use = {"run": "step:one", "batch_size": 4}
    steps = [{"name": "one", "fit": GATE}, {"name": "two", "data": "more/manifest.csv", "predict": use}]

    def done(*options: str):
        plan = str(write_plan(tmp_path, steps))
        return CliRunner().invoke(app, ["fit", plan, "--runs", str(tmp_path / "runs"), *options])

    assert (first := done()).exit_code == 3, first.output
    assert "two: 15 of 16 rows; " in first.output
    assert "; 1 broken" in first.output
    use["strict"] = True
    assert (second := done("--resume", "--overwrite")).exit_code == 3, second.output
    rows = modicum.Chain.open(tmp_path / "runs" / "eyes")["two"].record.rows
    assert rows.set_aside["broken"] == 1
    assert rows.set_aside["unlike the training images"] >= 1
    assert rows.out == 16 - sum(rows.set_aside.values())
    steps[1] = {"name": "two", "predict": {"run": "step:one"}}
    assert (third := done("--resume", "--overwrite")).exit_code == 0, third.output


def test_a_gate_sets_images_aside_and_they_are_counted(copied):
    steps = [*chain_steps(), {
        "name": "gated",
        "fit": {**GATE, "data": {"leaks": "allow", "quality": "step:first", "drop": ["0"]}},
    }]  # fmt: skip
    done = again(copied, steps)
    grades = pd.read_csv(done["gated"].path / "quality.csv", dtype=str)
    low = int((grades["prediction"] == "0").sum())
    rows = done["gated"].record.rows
    assert (rows.into, rows.out) == (16, 16 - low)
    assert rows.set_aside == ({"low quality": low} if low else {})
