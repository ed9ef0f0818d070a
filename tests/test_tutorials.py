"""What the tutorials tell a user to type works in its order, in one folder that starts empty.

Runs are made short by changing numbers alone; the words of blocks that are not run are checked as the README's are.
"""

import re
from pathlib import Path

import pytest

from readme_blocks import blocks, check_words, run_block

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SHORTER = {
    "--patients": 60, "--epochs": 1, "repeats_per_epoch": 1, "warmup_epochs": 0, "label_fraction": 0.2,
    "both_eyes.epochs": 1, "--seeds": 2,
}  # fmt: skip


def shorter(text: str) -> str:
    """The same with less to compute."""
    for name, value in SHORTER.items():
        text = re.sub(rf"({name}[ =])[\d.]+", rf"\g<1>{value}", text)
    return text


def test_numbers_alone_are_changed():
    assert shorter("fit --epochs 30 --set label_fraction=0.01") == "fit --epochs 1 --set label_fraction=0.2"


def test_there_is_a_tutorial():
    assert PAGES


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_works_with_less_to_compute(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Decoding processes take seconds to start, which few images are not worth.
    monkeypatch.setattr("modicum.api.usable_cores", lambda: 0)
    monkeypatch.setattr("modicum.engine.inference.evaluate_run.usable_cores", lambda: 0)
    names: dict[str, object] = {"__name__": "tutorial"}
    run = [block for block in blocks(page.read_text()) if block.runnable]
    assert run
    for block in run:
        run_block(block, names, shorter)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_are_not_run_use_words_that_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(page.read_text()):
        assert block.language, f"line {block.line}: name the block's language (text, if it is none)"
        for command in block.commands() if block.not_run and block.language != "python" else []:
            check_words(command, makefile)
