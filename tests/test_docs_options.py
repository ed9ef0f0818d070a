"""Every option that the documentation writes is one of the command beside it, or of some command."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_command

import modicum
from modicum.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ANYWHERE = {"--debug", "--quiet", "--help", "--version"}
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")


def options() -> dict[str, set[str]]:
    """Of each command."""
    return {
        name: {text for one in command.params for text in (*one.opts, *one.secondary_opts)} | ANYWHERE
        for name, command in get_command(app).commands.items()  # type: ignore[attr-defined]
    }


def unknown(page: str, known: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Options that a page writes after ``modicum COMMAND``, or alone between backticks, and that do not exist."""
    anywhere = set().union(*known.values())
    lost = []
    for line in page.replace("\\\n", " ").splitlines():
        for command, rest in re.findall(r"modicum ([a-z]+)((?: [^`|\n]*)?)", line):
            own = known.get(command, anywhere)
            lost += [(command, found) for found in OPTION.findall(rest.split(" #")[0]) if found not in own]
        lost += [("", found) for found in re.findall(r"`(--[a-z][a-z0-9-]*)", line) if found not in anywhere]
    return lost


def test_options_in_the_documentation_exist():
    known = options()
    lost = {str(page.relative_to(ROOT)): unknown(page.read_text(encoding="utf-8"), known) for page in PAGES}
    assert not {page: some for page, some in lost.items() if some}


def test_an_option_that_does_not_exist_is_found():
    known = options()
    assert unknown("`--window CENTRE,WIDTH` as for any task", known) == [("", "--window")]
    assert unknown("    modicum fit DATA --metod \\\n  full --resume  # --x", known) == [("fit", "--metod")]
    assert unknown("    modicum predict RUN IMAGES --methods full", known) == [("predict", "--methods")]


OF_OTHERS = {"--nproc-per-node", "--nnodes", "--backend-store-uri"}
"""Options of programs that messages name beside ours."""


def texts_said(path: Path) -> Iterator[str]:
    """The constant parts of errors and notes of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (
            ast.unparse(node.func).endswith("Error") or ast.unparse(node.func) == "say"
        ):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_options_in_messages_exist():
    anywhere = set().union(*options().values()) | OF_OTHERS
    source = Path(modicum.__file__).parent
    found = {
        (str(path.relative_to(source)), option)
        for path in source.rglob("*.py")
        for text in texts_said(path)
        for option in OPTION.findall(text)
        if not option.endswith("-") and option not in anywhere
    }
    assert not found
