"""Error texts outside a method's own files name no methods by hand: such lists are out of date with the next method."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import modicum
from modicum.methods import method_entries

SOURCE = Path(modicum.__file__).parent
OWN = {"methods", "recipes"}


def error_texts(path: Path) -> Iterator[str]:
    """The constant parts of what errors of a file say."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_error_texts_name_no_methods():
    names = "|".join(map(re.escape, method_entries()))
    named = re.compile(rf"(?:--methods?|\bmethods?) '?(?:{names})\b|\((?:{names}), (?:{names})\b")
    files = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in OWN]
    assert len(files) > 200
    found = {
        f"{path.relative_to(SOURCE)}: {text}"
        for path in files
        for text in error_texts(path)
        if named.search(text)
    }
    assert not found
