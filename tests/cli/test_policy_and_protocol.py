"""`--augment policy.yaml` and `--protocol leave-one-domain-out` on the command line."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from modicum.__main__ import main

TINY = ("--backbone", "test_resnet", "--weights", "random", "--image-size", 32, "--epochs", 1, "--workers", 0)
POLICY = "policies: [[[[solarize, 3], [color, 7]], [[invert, 0], [cutout, 9]]]]\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 noise images of two classes, 12 patients, two centres of 6 patients each."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(24)]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name)
    rows = {
        "image": names, "label": list("ab" * 12), "patient": [f"p{n // 2}" for n in range(24)],
        "domain": ["x"] * 12 + ["y"] * 12,
    }  # fmt: skip
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


@pytest.mark.parametrize("words", [("--augment", "mine.yaml"), ("--set", "augment=mine.yaml")])
def test_a_policy_trains_a_classifier_and_stands_in_its_recipe(modicum, data, tmp_path, words):
    (tmp_path / "mine.yaml").write_text(POLICY)
    code, _, errors = modicum("fit", data, *TINY, "--name", "one", "--set", "resamples=0", *words)
    assert code == 0, errors
    recipe = yaml.safe_load((tmp_path / "runs" / "one" / "recipe.yaml").read_text())
    (operation,) = recipe["training"]["augment"]
    assert operation["policies"] == yaml.safe_load(POLICY)["policies"]


def test_a_policy_that_is_not_there_is_one_line_before_any_training(modicum, data):
    code, _, errors = modicum("fit", data, *TINY, "--augment", "none.yaml")
    assert code == 2
    assert "augmentation file 'none.yaml' does not exist" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_every_domain_is_held_out_and_named_in_the_table(modicum, data, tmp_path):
    code, out, errors = modicum(
        "compare", data, *TINY, "--methods", "full", "--seeds", 1, "--protocol", "leave-one-domain-out",
        "--set", "resamples=0", "--set", "leaks=allow", "--name", "both",
    )  # fmt: skip
    assert code == 0, errors
    assert sorted(path.name for path in (tmp_path / "runs" / "both" / "cells").iterdir()) == [
        "full-x-seed0", "full-y-seed0",
    ]  # fmt: skip
    assert "domains in turn was the test set" in out


def test_an_unknown_protocol_is_one_line(modicum, data):
    code, _, errors = modicum("compare", data, *TINY, "--protocol", "leave-one-out")
    assert code == 2
    assert "unknown protocol 'leave-one-out'" in errors
