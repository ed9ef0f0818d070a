"""What the README tells a user to type works as it is written, in its order, in one folder that starts empty.

A block after ``<!-- not run: reason -->`` is left out; of its commands the words are checked.
"""

from pathlib import Path

import pytest

from readme_blocks import blocks, check_words, run_block

README = Path(__file__).parents[1] / "README.md"


def test_every_command_of_the_readme_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Decoding processes take seconds to start, which few images are not worth.
    monkeypatch.setattr("modicum.api.usable_cores", lambda: 0)
    monkeypatch.setattr("modicum.engine.inference.evaluate_run.usable_cores", lambda: 0)
    run = [block for block in blocks(README.read_text()) if block.runnable]
    assert any(block.commands() for block in run if block.language != "python"), "no command to run"
    names: dict[str, object] = {"__name__": "readme"}
    for block in run:
        run_block(block, names)


def test_commands_that_are_not_run_use_words_that_exist():
    """Options of ``modicum`` and targets of ``make``, without doing anything."""
    makefile = (README.parent / "Makefile").read_text()
    for block in blocks(README.read_text()):
        for command in block.commands() if block.not_run and block.language != "python" else []:
            check_words(command, makefile)


def test_each_block_that_is_not_run_gives_its_reason():
    for block in blocks(README.read_text()):
        assert block.language, f"line {block.line}: name the block's language (text, if it is none)"
        assert block.not_run is None or len(block.not_run) > 3


PAGE = """
<!-- not run: needs a network -->
```console
$ pip install modicum
```

```console
$ modicum fit eyes \\
>     --epochs 2
epoch 1
$ modicum report runs/eyes
```
<!-- a remark -->
```bash
# a comment
ls eyes
```
```python
x = 1
```
```text
plain
```
"""


def test_marked_blocks_are_left_out_and_continued_lines_joined():
    found = blocks(PAGE)
    assert [(block.language, block.not_run, block.runnable) for block in found] == [
        ("console", "needs a network", False),
        ("console", None, True),
        ("bash", None, True),
        ("python", None, True),
        ("text", None, False),
    ]
    assert found[1].commands() == ["modicum fit eyes --epochs 2", "modicum report runs/eyes"]
    assert found[2].commands() == ["ls eyes"]
    assert PAGE.splitlines()[found[3].line - 1] == found[3].text


def test_a_block_without_end_is_an_error():
    with pytest.raises(ValueError, match="line 2"):
        blocks("a\n```bash\nls\n")
