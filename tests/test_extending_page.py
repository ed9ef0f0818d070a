"""The page on adding a method: its package is installed as it stands there, checked and trained."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import modicum
from modicum.__main__ import main
from modicum.data.phantoms import write_fundus_dataset
from modicum.methods.checks import CHECKS
from readme_blocks import blocks, run_block

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package of the page, with its entry points, in a folder that Python looks into."""
    method, *_ = [block for block in blocks(PAGE) if block.language == "python"]
    (project,) = [tomllib.loads(block.text) for block in blocks(PAGE) if block.language == "toml"]
    (tmp_path / "turns.py").write_text(method.text)
    info = tmp_path / "turns-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1\n"
    )
    for group, entries in project["project"]["entry-points"].items():
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "turns", raising=False)
    return tmp_path


def test_the_method_of_the_page_keeps_the_contract_and_trains(installed, monkeypatch, capsys):
    _, check = [block for block in blocks(PAGE) if block.language == "python"]
    run_block(check, {"__name__": "page"})
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    data = write_fundus_dataset(
        installed / "data", 10, 40, seed=5, grade_probabilities=(1, 0, 0, 1, 0), fractions=shares, masks=False
    )
    run = modicum.fit(
        data, "turns", name="turned", runs=installed / "runs", backbone="test_resnet", weights="random", image_size=32,
        batch_size=4, resamples=0, workers=0, leaks="allow", device="cpu", write_report=False, temperature=0.5,
        **{"pretrain.epochs": 2, "tune.epochs": 1},
    )  # fmt: skip
    assert [run.metrics["stages"][stage]["time"]["epochs"] for stage in ("pretrain", "tune")] == [2, 1]
    assert run.method().config.temperature == 0.5


def test_the_page_says_of_each_check_what_it_holds():
    for check in CHECKS:
        assert f"| `{check.__name__.removeprefix('check_')}` |" in PAGE


def test_a_method_is_listed_with_its_stages(installed, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["modicum", "methods", "turns"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert "temperature" in said
    assert re.search("stage pretrain +learns by gradients, selected by its own loss", said)
    assert re.search("stage tune +learns by gradients, scored by the task", said)
    assert re.search("pretrain.epochs +50 ", said)
    assert "--set pretrain=run:runs/NAME" in said
