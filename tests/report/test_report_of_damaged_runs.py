"""The report of folders with parts missing, damaged, hostile or not yet there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_run import MadeRun, make_run, write_json
from pages import page_of
from PIL import Image

from modicum.errors import InputError
from modicum.report import build


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    run = MadeRun(images=(("test", 40),), classes=("a", "b", "c"), pictures=3, resamples=20)
    return make_run(tmp_path_factory.mktemp("runs") / "light", run)


@pytest.fixture
def copy(light, tmp_path):
    """A copy of a small run to damage."""
    return Path(shutil.copytree(light, tmp_path / "light"))


@pytest.mark.parametrize(
    "missing",
    [
        ["metrics.json"],
        ["history.jsonl"],
        ["manifest.csv", "fingerprint.json"],
        ["environment.json", "recipe.yaml"],
        ["evaluations/test/predictions.csv"],
        ["evaluations/test/examples"],
        ["evaluations", "metrics.json"],
        ["model.json", "status.json", "manifest.json", "broken.csv"],
    ],
    ids=lambda names: names[0],
)
def test_missing_part_is_left_out(copy, missing):
    for name in missing:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(copy)
    said = {
        "history.jsonl": "There are no learning curves",
        "manifest.csv": "The manifest is missing",
        "environment.json": "The recipe is missing",
        "evaluations/test/predictions.csv": "The predictions file is missing",
        "evaluations/test/examples": "No example images were kept",
        "evaluations": "No evaluation is in the run folder yet",
        "metrics.json": "they are not there yet",
    }
    assert said.get(missing[0], "Read with care") in page.text


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01"])
@pytest.mark.parametrize(
    "name", ["metrics.json", "evaluations/test/metrics.json", "history.jsonl", "model.json"]
)
def test_damaged_part_does_not_stop_the_report(copy, name, content):
    shutil.rmtree(copy / "evaluations" / "test" / "examples")
    (copy / name).write_text(content)
    page_of(copy)


def test_picture_outside_the_examples_folder_is_not_taken_in(copy, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), (1, 2, 3)).save(secret)
    folder = copy / "evaluations" / "test" / "examples"
    entry = json.loads((folder / "examples.json").read_text())[0]
    (folder / "link.png").symlink_to(secret)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    names = ["../../../../secret.png", str(secret), "link.png", "broken.png", "..", "", None, 3]
    write_json(folder / "examples.json", [entry | {"picture": name, "overlay": name} for name in names])
    page = page_of(copy)
    assert page.count("img") == 0
    assert page.text.count("picture missing") == len(names)


def test_hostile_names_are_text(tmp_path):
    nasty = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)> & $x_1$')
    folder = make_run(tmp_path / "x", MadeRun("binary", nasty, images=(("test", 40),), pictures=3))
    place = folder / "evaluations" / "<b>x"
    shutil.copytree(folder / "evaluations" / "test", place)
    entries = json.loads((place / "examples" / "examples.json").read_text())
    write_json(
        place / "examples" / "examples.json", [e | {"image": "</code><script>x</script>"} for e in entries]
    )
    page = page_of(folder)
    assert page.count("script") == 0
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert nasty[0] in page.text
    assert nasty[1] in page.text
    assert "<b>x" in page.text


def test_patients_in_two_splits_are_noticed(copy):
    import pandas as pd

    table = pd.read_csv(copy / "manifest.csv", dtype=str)
    table.loc[table["split"] == "test", "patient"] = table["patient"].iloc[0]
    table.to_csv(copy / "manifest.csv", index=False)
    assert "1 patient has images in more than one split" in page_of(copy).text


def test_unfinished_run_has_a_report(tmp_path):
    page = page_of(make_run(tmp_path / "u", MadeRun(finished=False)))
    assert "Not finished (state: interrupted), 7 epochs so far" in page.text
    assert "Images of each class" in page.text
    assert "Loss" in page.text
    assert "AUROC on the validation set" in page.text


def test_history_of_a_resumed_run_counts_each_step_once(copy):
    history = (copy / "history.jsonl").read_text()
    before = build(copy).read_bytes()
    (copy / "history.jsonl").write_text(history + history.splitlines()[-1] + '\n{"kind": "st')
    assert build(copy).read_bytes() == before


def test_task_without_sections_of_its_own_shows_its_scores(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    write_json(copy / "metrics.json", metrics | {"task": "segmentation"})
    page = page_of(copy)
    assert "Segmentation report" in page.text
    assert f"{metrics['evaluations']['test']['metrics']['auroc']['value']:.3f}" in page.text


def test_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        build(tmp_path / "nowhere")
    with pytest.raises(InputError, match="contains no recipe"):
        build(tmp_path)


def test_report_does_not_wait_for_a_training_framework(light):
    code = (
        "import sys; from pathlib import Path; from modicum.report import build; "
        f"build(Path({str(light)!r})); print([m for m in ('lightning', 'timm', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
