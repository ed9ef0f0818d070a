"""The fenced blocks of a Markdown page: which are run, what is in them, and running it."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.main import get_command

from modicum.__main__ import main
from modicum.cli import app

RUNNABLE = {"console", "bash", "python"}
_SKIP = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$")
_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        language: what follows the fence.
        text: the lines between the fences.
        line: number of its first line on the page.
        not_run: the reason in ``<!-- not run: reason -->`` directly before it, or None.
    """

    language: str
    text: str
    line: int
    not_run: str | None

    @property
    def runnable(self) -> bool:
        """Whether it is of a language that is run, and not marked."""
        return self.language in RUNNABLE and self.not_run is None

    def commands(self) -> list[str]:
        """The commands of a ``console`` block (lines after ``$ ``) or a ``bash`` block (all but comments).

        A backslash at the end of a line continues it; other lines of a ``console`` block are what a command prints.
        """
        lines = iter(self.text.splitlines())
        found = []
        for line in lines:
            if self.language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            command = line.strip()
            while command.endswith("\\"):
                command = command[:-1] + next(lines).removeprefix("> ").strip()
            if command and not command.startswith("#"):
                found.append(command)
        return found


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page in their order. Raises ValueError for a fence without its end."""
    found: list[Block] = []
    lines = page.splitlines()
    reason, number = None, 0
    while number < len(lines):
        fence, mark = _FENCE.match(lines[number]), _SKIP.match(lines[number].strip())
        if fence:
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == fence["ticks"]), None)
            if end is None:
                raise ValueError(f"the block in line {number + 1} has no end")
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(fence["language"], text, number + 2, reason))
            number = end
        if mark:
            reason = mark["reason"]
        elif lines[number].strip() or fence:
            reason = None
        number += 1
    return found


def run_command(command: str) -> None:
    """Runs one command of a page: ``modicum`` in this process, anything else in a shell."""
    words = shlex.split(command, comments=True)
    if words[0] != "modicum":
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        assert done.returncode == 0, f"$ {command}\n{done.stderr}"
        return
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr(sys, "argv", words)
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    assert code == 0, f"$ {command}\n{said.getvalue()}"


def run_block(
    block: Block, names: dict[str, object], changed: Callable[[str], str] = lambda text: text
) -> None:
    """Runs a block's commands, or its Python with the names that earlier blocks made.

    Args:
        changed: what is done to a command or the Python before, to make it shorter.
    """
    if block.language == "python":
        code = "\n" * (block.line - 1) + changed(block.text)  # a traceback then has the page's line
        exec(compile(code, "page.md", "exec"), names)  # noqa: S102 - our own page
    for command in block.commands() if block.language != "python" else []:
        run_command(changed(command))


def check_words(command: str, makefile: str) -> None:
    """That ``modicum`` knows a command's options, and ``make`` its target; nothing is done."""
    program, *words = shlex.split(command, comments=True)
    if program == "modicum":
        get_command(app).commands[words[0]].make_context(words[0], words[1:])
    elif program == "make":
        assert f"\n{words[0]}:" in makefile, command
