"""What a new user runs into: stories from the first hour with real data, each with what should be said."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import modicum
from modicum.__main__ import main
from modicum.engine.recipe.settings import BackboneSettings, DataSettings, ImageSettings, Recipe

TINY = {"backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "workers": 0}


def write_images(folder: Path, count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name)
    return names


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """24 images with a split but no test part; the label is a bare number in a column called `covid`."""
    folder = tmp_path_factory.mktemp("hospital")
    names = write_images(folder / "images", 24, seed=0)
    rows = {
        "image": names,
        "covid": [number % 2 for number in range(24)],
        "split": ["train"] * 16 + ["val"] * 8,
    }
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> modicum.Run:
    return modicum.fit(
        table, name="first", runs=tmp_path_factory.mktemp("runs"), label="covid", resamples=20, **TINY
    )


@pytest.fixture
def run(trained, tmp_path) -> modicum.Run:
    return modicum.Run.open(shutil.copytree(trained.path, tmp_path / "runs" / "first"))


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command line in this process; returns exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return call


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text()))


def test_scores_on_training_images_are_not_passed_off_as_results(run, table, command):
    code, _, said = command("evaluate", run.path, table, "--workers", 0)
    assert code == 0
    assert "24 of 24 images were in the training data" in said
    stored = json.loads((run.path / "evaluations" / table.parent.name / "metrics.json").read_text())
    assert stored["seen"] == {"train": 16, "val": 8}
    page = text_of(run.folder.report)
    assert "on the validation set" in page  # and not the seen images, in the headline
    assert "24 of these 24 images were in the training data" in page


def test_images_are_known_again_under_other_names(run, table, tmp_path, command):
    other = tmp_path / "other"
    names = write_images(other / "images", 6, seed=1)
    shutil.copy(table.parent / "images" / "3.png", other / "images" / "renamed.png")
    rows = {"image": [*names, "renamed.png"], "covid": [0, 1, 0, 1, 0, 1, 1]}
    pd.DataFrame(rows).to_csv(other / "labels.csv", index=False)
    _, _, said = command("evaluate", run.path, other / "labels.csv", "--workers", 0)
    assert "1 of 7 images were in the training data" in said


def test_new_images_are_evaluated_without_a_word(run, tmp_path, command):
    names = write_images(tmp_path / "new" / "images", 6, seed=2)
    pd.DataFrame({"image": names, "covid": [0, 1] * 3}).to_csv(tmp_path / "new" / "labels.csv", index=False)
    _, _, said = command("evaluate", run.path, tmp_path / "new" / "labels.csv", "--workers", 0)
    assert "in the training data" not in said
    assert "AUROC on the new" in text_of(run.folder.report)


def test_a_bare_number_is_shown_with_its_column(run):
    run.report()
    assert "tells “covid = 1” from “covid = 0”" in text_of(run.folder.report)


def test_predict_says_what_is_wrong_with_a_broken_image(run, tmp_path, command):
    (tmp_path / "empty.png").write_bytes(b"")
    code, out, said = command("predict", run.path, "empty.png")
    assert code == 3
    assert "broken: empty.png: the file is empty (0 bytes)" in said
    assert out.startswith("0 images predicted, 1 broken")


def test_the_name_of_a_run_alone_gets_a_hint(run, tmp_path, command):
    code, _, said = command("report", "first")
    assert code == 2
    assert f"did you mean '{Path('runs/first')}'?" in said


def test_resuming_a_finished_run_says_that_nothing_was_done(run, command):
    code, _, said = command("fit", "--resume", "--name", "first")
    assert code == 0
    assert "run 'first' is finished already" in said


def test_how_to_resume_names_the_folder_of_the_runs(tmp_path):
    from modicum.engine.run_folder import RunFolder

    assert RunFolder(Path("runs/a")).resume_hint == "go on with --resume --name a"
    assert RunFolder(tmp_path / "my runs/a").resume_hint.endswith(f"--name a --runs '{tmp_path}/my runs'")


def test_inspect_without_a_label_column_says_which_there_are(table, command):
    _, out, _ = command("inspect", table, "--workers", 0)
    assert "none read; name their column (covid) with --label" in out


def test_images_in_one_folder_need_classes(tmp_path, command):
    write_images(tmp_path / "flat", 8, seed=3)
    code, _, said = command(
        "fit", "flat", "--backbone", "test_resnet", "--weights", "random", "--image-size", 32, "--workers", 0
    )
    assert code == 2
    assert "one folder a class" in said
    # Told before anything is split or decoded: nor does it claim to have kept patients apart that it does not know.
    assert "split by" not in said
    assert not list(tmp_path.glob("runs/.stores/images*"))


def test_a_method_lists_its_settings_with_the_defaults_that_count(command):
    code, out, _ = command("methods", "linear")
    assert code == 0
    assert re.search(r"^ *epochs +50 ", out, re.M)  # the method's, not the general 20
    for settings in (BackboneSettings, DataSettings, ImageSettings):
        for key, field in settings.model_fields.items():
            assert field.is_required() or re.search(rf"^ *{key} ", out, re.M), key


def test_help_tells_the_true_defaults(command):
    _, out, _ = command("fit", "--help")
    text = re.sub(r"[│\s]+", " ", out)
    assert f"A timm model name; {BackboneSettings().name} by default" in text
    assert f"{ImageSettings().size[0]} by default" in text
    assert f"between splits: error, drop or allow; {DataSettings(source='x').leaks} by default" in text
    assert f"Random seed (default {Recipe.model_fields['seed'].default})." in text


def test_a_run_shows_what_it_is(run):
    assert repr(run) == f"Run('{run.path}', finished)"
