"""Benchmark scripts still fit the library: each loads, calls it as it is now, shows its help, and small ones run."""

import ast
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from modicum.methods import method_entries

ROOT = Path(__file__).parents[2] / "benchmarks"
DOCS = ROOT.parent / "docs"
SCRIPTS = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
WITH_OPTIONS = [name for name, path in SCRIPTS.items() if "parse_args()" in path.read_text(encoding="utf-8")]

# Arguments, and settings of the module, that make a run as small as can be. `RESULTS` always goes elsewhere.
SMALLEST: dict[str, tuple[list[str], dict[str, Any]]] = {
    "training_overhead.py": (["--rounds", "1"], {"IMAGES": 8 * 4, "BATCH": 8, "SIDE": 32}),
    "startup.py": (["--repeats", "1", "--out", "startup.json"], {}),
    "local_alignment.py": (["--rounds", "1", "--batches", "2", "--reports", "50"], {"WIDTH": 32}),
    "report_store.py": (["--work", "work", "--studies", "60", "--files", "10"], {"DISTINCT": 20}),
    "learning/reggan/table.py": ([], {}),
    "near_duplicates.py": (
        [
            str(DOCS),
            "--images",
            "2",
            "--sizes",
            "20",
            "--parts",
            "size",
            "false_alarms",
            "--out",
            "near.json",
        ],
        {"SETS": {"pictures": (".", None, None, None)}, "RADIOGRAPHS": "pictures", "LARGEST": 128},
    ),
}
SMALLEST_SLOW: dict[str, tuple[list[str], dict[str, Any]]] = {
    "bootstrap.py": (["--repeats", "1"], {}),
    "lora_overhead.py": (["--rounds", "1"], {}),
    "masked_encoding.py": (["--rounds", "1"], {}),
    "rivals_memory.py": ([], {}),
    "transforms.py": ([], {"ROUNDS": 1}),
    "same_weights.py": (["--only", "linear"], {}),
    "learning/aadg/policy_speed.py": ([], {}),
    "reggan_cost.py": (["--rounds", "1", "--only", "operations"], {}),
    "fpt_cost.py": (["--rounds", "1"], {}),
    "store_processes.py": (
        [str(DOCS), "--rounds", "1", "--most", "4", "--processes", "1", "2", "--out", "processes.json"],
        {},
    ),
    "scale.py": (["--images", "40", "60", "--parts", "inspect", "--out", "scale.json"], {}),
}


@pytest.fixture
def load(monkeypatch):
    """Loads a script as a module of its own, with its folder on the path as when it is started."""
    before = set(sys.modules)
    environment, threads = dict(os.environ), torch.get_num_threads()

    def module_of(name: str) -> ModuleType:
        path = SCRIPTS[name]
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    yield module_of
    torch.set_num_threads(threads)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    for name in set(sys.modules) - before:  # neighbours of the script, whose names others have too
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(ROOT)):
            del sys.modules[name]


def resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """What an expression such as ``module.function`` is; None where that is not known before it runs."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        above = resolved(node.value, names)
        return getattr(above, node.attr, None) if inspect.ismodule(above) or inspect.isclass(above) else None
    return None


def misfits(source: str, names: dict[str, Any]) -> Iterator[str]:
    """Calls of modicum's functions and classes whose arguments these do not take."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = resolved(node.func, names)
        if not callable(called) or not str(getattr(called, "__module__", "")).startswith("modicum"):
            continue
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            continue
        try:
            given = inspect.signature(called).bind(*node.args, **{k.arg: k.value for k in node.keywords})
        except TypeError as error:
            yield f"line {node.lineno}: {ast.unparse(node.func)}: {error}"
            continue
        for name, value in given.arguments.items():
            kind = inspect.signature(called).parameters[name].annotation
            is_own = inspect.isclass(kind) and kind.__module__.startswith("modicum")
            if is_own and isinstance(value, ast.Constant) and value.value is not None:
                yield f"line {node.lineno}: {ast.unparse(node.func)}: {name} is {value.value!r}, no {kind.__name__}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_loads_and_calls_the_library_as_it_is(load, name):
    module = load(name)
    assert list(misfits(SCRIPTS[name].read_text(encoding="utf-8"), vars(module))) == []


@pytest.mark.parametrize(
    ("call", "misfit"),
    [
        ("FineTuneStage(network, loss, 1.0)", "config is 1.0, no FullConfig"),
        ("FineTuneStage(network)", "missing a required argument: 'loss'"),
        ("FineTuneStage(network, loss, config, rate=2)", "unexpected keyword argument 'rate'"),
        ("full.FineTuneStage(network, loss, config, 1)", "too many positional arguments"),
        ("FineTuneStage(network, loss, FullConfig())", None),
        ("FineTuneStage(*parts)", None),
    ],
)
def test_what_no_longer_fits_is_seen_without_a_run(call, misfit):
    from modicum.methods import full

    found = list(
        misfits(call, {"full": full, "FineTuneStage": full.FineTuneStage, "FullConfig": full.FullConfig})
    )
    assert len(found) == (misfit is not None)
    assert misfit is None or misfit in found[0]


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_script_shows_its_help(load, name, monkeypatch, capsys):
    module = load(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [*SMALLEST, *(pytest.param(name, marks=pytest.mark.slow) for name in SMALLEST_SLOW)]
)
def test_a_script_runs_with_its_smallest_settings(load, name, tmp_path, monkeypatch, capsys):
    arguments, settings = (SMALLEST | SMALLEST_SLOW)[name]
    module = load(name)
    results = getattr(module, "RESULTS", None)
    if results is not None and "table" not in name:
        monkeypatch.setattr(module, "RESULTS", tmp_path / results.name)
    for setting, value in settings.items():
        assert hasattr(module, setting)
        monkeypatch.setattr(module, setting, value)
    committed = {path: path.read_bytes() for path in (ROOT / "results").glob("*.json")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module.main()
    assert capsys.readouterr().out
    assert committed == {path: path.read_bytes() for path in (ROOT / "results").glob("*.json")}


def test_every_script_is_in_the_table():
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = {  # imported by others, or named in their rows
        "learning/aadg/vessels.py", "learning/radiographs/radiographs.py", "reggan_plain.py", "learning/reggan/table.py",
        "learning/prior/grounding.py", "learning/led/photographs.py", "learning/led/table.py",
        "learning/lesionpaste/detector.py", "learning/long_tail_table.py",
    }  # fmt: skip
    assert [name for name in SCRIPTS if f"`{name}`" not in table and name not in parts] == []


def test_every_method_is_among_the_trainings_that_are_to_keep_their_weights(load):
    trained = {one.method for one in load("same_weights.py").TRAININGS.values()}
    own = {name for name, entry in method_entries().items() if entry.value.startswith("modicum.")}
    assert own - trained == set()
