"""`modicum compare` on the command line: help with examples, one line for bad input, the table at the end."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.__main__ import main

TINY = ("--backbone", "test_resnet", "--weights", "random", "--image-size", 32, "--epochs", 1, "--workers", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 noise images of two classes, 12 patients, no split."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(24)]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name)
    rows = {"image": names, "label": list("ab" * 12), "patient": [f"p{n // 2}" for n in range(24)]}
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture
def modicum(monkeypatch, capsys, tmp_path):
    """Runs the command line in this process; returns exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "240")
        monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return call


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--methods", "full,liner"], "unknown method 'liner'; did you mean 'linear'?"),
        (["--methods", ","], "no methods to compare"),
        (["--seeds", 0], "--seeds 0 is less than 1; pass for instance --seeds 3"),
        (
            ["--lr", "1e-3,fast"],
            "--lr '1e-3,fast' is not a list of numbers; pass for instance --lr 1e-4,1e-3",
        ),
        (
            ["--batch-size", "many"],
            "--batch-size 'many' is neither a number of images nor auto; pass for instance --batch-size 16",
        ),
        (["--parallel", 0], "--parallel 0 is less than 1; pass for instance --parallel 2"),
        (["--executor", "rai"], "unknown executor 'rai'; did you mean 'ray'?"),
        (
            ["--sweep", "dropout"],
            "--sweep 'dropout' is not KEY=V1,V2; write for instance --sweep mode=nc,nc+r",
        ),
        (["--set", "lr=1e-3"], "--set lr: 'lr' is a separate option; pass --lr instead"),
        (["--set", "seeds=2"], "--set seeds: 'seeds' is a separate option; pass --seeds instead"),
        (["--set", "lin.epochs=3"], "unknown setting 'lin.epochs'"),
        (["--set", "linear.dropout=2"], "'dropout' is 2"),
        (["--backbone", "resnet17"], "backbone 'resnet17' is not a timm model; did you mean 'resnet"),
        (["--device", "cuda:9"], "device 'cuda:9' is not there"),
        (["--label", "grade"], "'grade'"),
        (["--name", "a/b"], "--name 'a/b' is not a plain name"),
    ],
)
def test_one_line_before_anything_is_trained(modicum, data, tmp_path, words, expected):
    code, _, said = modicum("compare", data, *TINY, *words)
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("modicum: error: ")
    assert expected in last
    assert not list(tmp_path.glob("runs/*/cells/*"))


def test_a_table_at_the_end_and_a_changed_setting_named(modicum, data):
    words = (
        "compare",
        data,
        *TINY,
        "--methods",
        "linear",
        "--seeds",
        1,
        "--set",
        "resamples=0",
        "--name",
        "one",
    )
    code, said, _ = modicum(*words)
    assert code == 0
    assert "PPE" in said
    assert "linear" in said
    assert "note: With one seed" in said
    assert "page: runs/one/compare.html" in said
    code, _, said = modicum(*words, "--set", "label_smoothing=0.1")
    assert code == 2
    assert "comparison 'one' was started with label_smoothing=None, now it is 0.1" in said


def test_failed_runs_are_exit_code_3_and_the_others_are_there(modicum, data):
    code, said, _ = modicum(
        "compare", data, *TINY, "--seeds", 1, "--set", "resamples=0", "--set", "linear.backbone=resnet17",
        "--name", "failing",
    )  # fmt: skip
    assert code == 3
    assert "failed: linear-seed0: backbone 'resnet17' is not a timm model" in said
    assert "note: 1 cell failed: linear-seed0." in said
    table = pd.read_csv("runs/failing/table.csv").set_index("method")
    assert table["seeds"].to_dict() == {"full": 1, "linear": 0}


def test_a_name_of_a_comparison_that_is_made_of_the_data(modicum, data):
    code, said, _ = modicum(
        "compare", data, *TINY, "--methods", "linear", "--seeds", 1, "--set", "resamples=0"
    )
    assert code == 0
    assert f"page: runs/{data.parent.name}-compare/compare.html" in said


@pytest.mark.parametrize(
    "command", ["inspect", "fit", "compare", "predict", "evaluate", "export", "verify", "doctor"]
)
def test_help_has_an_example(modicum, command):
    code, said, _ = modicum(command, "--help")
    assert code == 0
    assert "Example" in said
    assert f"modicum {command}" in said.split("Example")[1]


def test_auto_batches_and_a_memory_limit_reach_fit_as_they_are(modicum, data, monkeypatch):
    given = {}

    def fit(*args, **settings):
        given.update(settings)
        raise SystemExit(0)

    monkeypatch.setattr("modicum.api.fit", fit)
    modicum("fit", data, "--batch-size", "auto", "--memory", "8GB")
    assert (given["batch_size"], given["memory"]) == ("auto", "8GB")
    modicum("fit", data, "--batch-size", "12")
    assert given["batch_size"] == 12


@pytest.mark.parametrize("code", ["import modicum.cli", "import modicum; modicum.compare.__name__"])
def test_where_the_command_line_imports_nothing_heavy(code):
    report = f"import sys; {code}; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"
    assert (done.stdout.split()[0] == "False") == (code == "import modicum.cli")
