"""Bad input: one line that names the thing, the value and the remedy; exit code 2; no traceback."""

import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from modicum.__main__ import main
from warm_process import run


@pytest.fixture
def data(tmp_path) -> Path:
    """Two classes, six patients, noise images of 24x24 pixels."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = ["image,label,patient"]
    generator = np.random.default_rng(0)
    for number in range(24):
        pixels = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        rows.append(f"images/{number}.png,{'ab'[number % 2]},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def modicum(monkeypatch, capsys, tmp_path):
    """Runs the command line in this process; returns exit code and the error line."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        monkeypatch.delenv("MODICUM_DEBUG", raising=False)
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, capsys.readouterr().err.strip()

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export"], "missing argument 'run'; `modicum export --help`"),
        (["export", "run", "--out"], "option '--out' requires an argument"),
        (["export", "run", "--ot", "x"], "no such option: --ot"),
        (["export", "run", "more"], "got unexpected extra argument"),
        (["fit", "data", "--epochs", "ten"], "invalid value for '--epochs': "),
        (["evaluate", "run"], "missing argument"),
        (["exprot", "run"], "no such command 'exprot'"),
        (["--colour"], "no such option: --colour"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line_too(modicum, words, message):
    """Not a box of usage of several lines."""
    code, text = modicum(*words)
    assert code == 2
    assert text.startswith("modicum: error: ")
    assert message in text
    assert text.count("\n") == 0
    assert "--help` shows what it takes" in text


def test_export_without_a_file_is_told_what_is_wrong_with_the_run(modicum, tmp_path):
    (tmp_path / "empty").mkdir()
    code, text = modicum("export", tmp_path / "empty")
    assert (code, text.count("\n")) == (2, 0)
    assert "is not a run folder" in text


def test_without_any_word_the_help_is_shown(modicum, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["modicum"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert "Usage: modicum" in shown.out + shown.err
    assert "export" in shown.out + shown.err


def test_the_line(modicum, data):
    code, text = modicum("fit", data, "--method", "liner")
    assert code == 2
    assert text.startswith("modicum: error: unknown method 'liner'; did you mean 'linear'? (known: ")
    assert "(known: aadg, adapter, adaptformer, " in text
    assert text.rstrip().endswith("vpt)")


QUICK = (
    "--backbone",
    "test_resnet",
    "--weights",
    "random",
    "--image-size",
    32,
    "--epochs",
    1,
    "--workers",
    0,
)

CASES = {
    "unknown setting": (["--set", "learning_rat=1"], r"unknown setting 'learning_rat'.*did you mean"),
    "setting without a value": (["--set", "lr"], "'lr' is not KEY=VALUE"),
    "an option as a setting": (
        ["--set", "workers=2"],
        "--set workers: 'workers' is a separate option; pass --workers instead",
    ),
    "value out of range": (["--set", "dropout=2"], "'dropout' is 2"),
    "epochs below one": (["--epochs", 0], "'training.epochs' is 0"),
    "unknown backbone": (
        ["--backbone", "resnet17"],
        "backbone 'resnet17' is not a timm model; did you mean 'resnet",
    ),
    "image smaller than a patch": (
        ["--backbone", "test_vit", "--image-size", 8],
        "smaller than one|cannot take images",
    ),
    "missing weights file": (["--weights", "none.safetensors"], "'none.safetensors' does not exist"),
    "missing run as weights": (["--weights", "run:runs/none"], "'runs/none' is not a run folder"),
    "missing column": (["--label", "grade"], "grade.*label"),
    "label not in classes": (["--classes", "a,c"], r"labels\.csv row 3.*'b' is not in a, c"),
    "unknown augmentation": (["--set", "augment=fundos"], "fundos.*did you mean 'fundus'"),
    "unknown metric": (["--set", "monitor=aurok"], "aurok.*auroc"),
    "unknown device": (["--device", "cuda:9"], "cuda:9"),
    "unknown leak policy": (["--leaks", "ignore"], "leaks.*'ignore'"),
    "size that is none": (["--image-size", "large"], "image.size"),
    "transformer's method, other network": (["--method", "lora"], "needs a plain vision transformer"),
    "more blocks than there are": (
        ["--method", "partial", "--backbone", "test_vit", "--set", "blocks=99"],
        "'test_vit' has 6 blocks",
    ),
    "weights of too few classes": (["--set", "class_weights=[1]"], "1 values for 2 classes"),
    "shares above one": (["--set", "fractions=[0.5,0.5,0.5]"], "add up to 1"),
    "held out of nothing": (["--set", "held_out=siteA"], "no column 'domain'"),
    "no masks": (["--method", "segment"], "no column 'mask'"),
    "no targets": (["--method", "reggan"], "no column 'target'"),
    "no reports": (["--method", "mrm", "--backbone", "test_vit"], "no column 'report'"),
    "size that is no multiple": (
        ["--method", "mae", "--backbone", "test_vit", "--image-size", 33],
        "not a multiple of the 16-pixel patches",
    ),
    "stage's augmentation": (
        ["--set", "tune.augment=fundos"],
        "fundos.*did you mean 'fundus'|no stage|unknown",
    ),
    "two machines on one": (["--set", "nodes=2"], "nodes=2, but this is one process.*torchrun --nnodes 2"),
    "memory without a unit": (
        ["--memory", "8"],
        r"'8' is not a size \(of which unit\?\); write for instance 8GB",
    ),
    "folder of runs in a file": (["--runs", "FILE/runs"], "Not a directory|is a file"),
    "name that is too long": (["--name", "n" * 300], "too long for this disk"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_that_says_what_to_do(modicum, data, case):
    import re

    options, expected = CASES[case]
    options = [str(word).replace("FILE", str(data / "labels.csv")) for word in options]
    code, text = modicum("fit", data / "labels.csv", *QUICK, *options)
    assert code == 2, text
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith("modicum: error: ")
    assert re.search(expected, last), last
    assert not (data.parent / "runs").exists() or not list(
        (data.parent / "runs").glob("*/weights.safetensors")
    )
    assert not (data.parent / "runs/.stores").exists(), "images were decoded before it was said"


def test_no_network_and_no_cached_weights(modicum, data, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    code, text = modicum("fit", data, "--backbone", "resnet10t", "--image-size", 32, "--workers", 0)
    assert code == 2
    assert "no weights for backbone 'resnet10t'" in text
    assert "--weights random" in text


def test_one_class_only(modicum, data):
    table = (data / "labels.csv").read_text().replace(",b,", ",a,")
    (data / "labels.csv").write_text(table)
    code, text = modicum("fit", data, *QUICK)
    assert code == 2
    assert "class" in text.splitlines()[-1]


def test_empty_split(modicum, data):
    lines = (data / "labels.csv").read_text().splitlines()
    table = [lines[0] + ",split", *(line + ",test" for line in lines[1:])]
    (data / "labels.csv").write_text("\n".join(table))
    code, text = modicum("fit", data, *QUICK)
    assert code == 2
    assert "split 'train' is empty" in text.splitlines()[-1]


def test_data_that_is_not_there(modicum):
    code, text = modicum("fit", "nowhere.csv")
    assert code == 2
    assert "'nowhere.csv' does not exist" in text


def test_run_folder_in_use(modicum, data, tmp_path):
    folder = tmp_path / "runs" / "busy"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        code, text = modicum("fit", data, *QUICK, "--name", "busy")
    assert code == 2
    assert "in use by another process" in text


def test_run_folder_that_exists(modicum, data, tmp_path):
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "old" / "recipe.yaml").write_text("method: full\ndata: {source: x}\n")
    code, text = modicum("fit", data, *QUICK, "--name", "old")
    assert code == 2
    assert "exists already" in text
    assert "--resume" in text


def test_a_run_refused_before_training_does_not_keep_its_name(modicum, data, tmp_path):
    """Who follows the remedy of an error types the same command with one option more."""
    (data / "images" / "3.png").write_bytes(b"")
    code, _ = modicum("fit", data, *QUICK, "--name", "once")
    assert code == 2
    code, text = modicum("fit", data, *QUICK, "--name", "once", "--skip-broken", "--set", "resamples=10")
    assert code == 0, text
    assert (tmp_path / "runs/once/weights.safetensors").is_file()


def test_resuming_with_other_settings_names_the_one_that_differs(modicum, data, tmp_path):
    from modicum.engine.recipe.new_recipe import make_recipe

    folder = tmp_path / "runs" / "old"
    folder.mkdir(parents=True)
    settings = {"backbone": "test_resnet", "weights": "random", "image_size": 32, "epochs": 1, "lr": 0.5}
    (folder / "recipe.yaml").write_text(make_recipe(data, "full", settings).to_yaml())
    code, text = modicum("fit", data, *QUICK, "--name", "old", "--resume")
    assert code == 2
    assert "training.lr=0.5" in text


def test_broken_images_stop_the_run_and_are_named(modicum, data):
    (data / "images" / "3.png").write_bytes((data / "images" / "3.png").read_bytes()[:100])
    (data / "images" / "5.png").write_bytes(b"")
    code, text = modicum("fit", data, *QUICK)
    assert code == 2
    assert "2 of 24 images cannot be read" in text
    assert "images/3.png" in text
    assert "images/5.png" in text
    assert "--skip-broken" in text


def test_predicting_nothing(modicum, tmp_path):
    code, text = modicum("predict", "runs/none", "images")
    assert code == 2
    assert "not a run folder" in text


def test_out_of_memory_says_what_to_lower(modicum, data, monkeypatch):
    import torch

    from modicum.engine.training import stage_trainer as training

    def too_much(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(training.StageTrainer, "run", too_much)
    code, text = modicum("fit", data, *QUICK)
    assert code == 2
    assert "out of memory while training" in text
    assert "--batch-size" in text


def test_debug_shows_the_traceback():
    done = run("-m", "modicum", "fit", "nowhere.csv", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_unknown_command_is_exit_code_2(modicum):
    code, _ = modicum("fitt", "data")
    assert code == 2


def test_a_typing_mistake_before_the_dot_is_no_setting_of_all_methods(modicum, data):
    for option, word in (("--set", "liner.lr=1"), ("--set", "fulll.epochs=3"), ("--sweep", "liner.lr=1,2")):
        code, text = modicum("compare", data / "labels.csv", "--methods", "full,linear", option, word)
        assert code == 2
        head = word.partition(".")[0]
        assert f"'{head}' is no method, stage or part of a recipe; did you mean" in text


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(30, "Read-only file system"),
        OSError(28, "No space left on device"),
        OSError(36, "File name too long"),
    ],
)
def test_what_the_system_refuses_is_one_line(modicum, data, monkeypatch, error):
    from modicum import atomic_files

    def refuse(self, *words, **more):
        raise type(error)(error.errno, error.strerror, str(self))

    monkeypatch.setattr(atomic_files.Path, "open", refuse)
    code, text = modicum("inspect", data, "--out", "facts.json", "--workers", 0)
    monkeypatch.undo()
    assert (code, "internal error" in text, "Traceback" in text) == (2, False, False)
    last = text.splitlines()[-1]
    assert last.startswith("modicum: error: ")
    assert ".tmp" not in last  # the name that the user knows
    assert "; " in last


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("data/labels.csv", "is a file that is read"),
        ("data/images/3.png", "is a file that is read"),
        ("data", "is a folder; name a file"),
        ("data/labels.csv/facts.json", "is a file, not a folder"),
        ("x" * 300, "too long for this disk"),
    ],
)
def test_the_facts_never_go_over_what_was_read(out, said, modicum, data):
    before = (data / "labels.csv").read_bytes(), (data / "images/3.png").read_bytes()
    code, text = modicum("inspect", data, "--out", out, "--workers", 0)
    assert code == 2
    assert said in text
    assert before == ((data / "labels.csv").read_bytes(), (data / "images/3.png").read_bytes())


def test_a_nul_byte_in_a_path_is_one_line(modicum, data, tmp_path):
    (data / "labels.csv").write_text("image,label\nimages/a\0b/0.png,a\nimages/1.png,b\n")
    for words in (("fit", data, *QUICK), ("inspect", data, "--workers", 0)):
        code, text = modicum(*words)
        assert code in (2, 3)
        assert "internal error" not in text
        assert "Traceback" not in text
    (tmp_path / "x.yaml").write_text('training: {augment: "a\\0.yaml"}\n')
    code, text = modicum("fit", data, *QUICK, "--recipe", "x.yaml", "--weights", "a\0b.pth")
    assert code == 2
    assert "internal error" not in text


def test_an_epoch_is_a_line_where_there_is_no_terminal(modicum, data):
    code, text = modicum("fit", data, *QUICK, "--set", "resamples=10", "--epochs", 2)
    assert code == 0
    lines = [line for line in text.splitlines() if "epoch" in line]
    assert [line.split(":")[1].strip() for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert all("loss" in line and "validation" in line for line in lines)
