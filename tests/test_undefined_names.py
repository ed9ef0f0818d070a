"""Every name that a function reads from its module is there.

The linter and the type checker cannot tell: shapes of one word look like undefined names to them, so that they are told
to let those pass.
"""

import ast
import builtins
import dis
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import modicum

MODULES = [
    found.name
    for found in pkgutil.walk_packages(modicum.__path__, "modicum.")
    if not found.name.endswith("__main__")
]


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def names_read(source: str, file: str) -> set[str]:
    """Names that functions read from outside themselves."""
    return {
        step.argval
        for code in codes(compile(ast.parse(source), file, "exec"))
        for step in dis.get_instructions(code)
        if step.opname == "LOAD_GLOBAL"
    }


@pytest.mark.parametrize("name", MODULES)
def test_every_name_that_a_function_reads_is_in_its_module(name):
    module = importlib.import_module(name)
    file = Path(str(module.__file__))
    lazily = {"__getattr__", "__dir__"}
    missing = {
        found
        for found in names_read(file.read_text(encoding="utf-8"), str(file))
        if not hasattr(module, found) and not hasattr(builtins, found) and found not in lazily
    }
    assert not missing


def test_an_import_that_is_missing_is_found():
    assert "nowhere" in names_read("def f():\n    return nowhere()", "example.py")
