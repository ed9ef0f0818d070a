"""What is declared is imported, what is imported is declared, and each has the exact version that the gate runs with."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    "segmentation-models-pytorch": "segmentation_models_pytorch", "pillow": "PIL", "opencv-python-headless": "cv2",
    "PyYAML": "yaml", "Jinja2": "jinja2", "MarkupSafe": "markupsafe", "python-gdcm": "gdcm", "scikit-learn": "sklearn",
    "mlflow-skinny": "mlflow", "python-multipart": "python_multipart",
}  # fmt: skip
FOUND_BY_PYDICOM = {"pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"}
"""Decoders that pydicom imports by their names."""


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0]


@cache
def imported(folder: str) -> frozenset[str]:
    """Top-level modules that files below a folder import, also inside functions."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


RUNTIME = [name_of(requirement) for requirement in PROJECT["dependencies"]]
OPTIONAL = [
    name_of(name)
    for group in ("dicom", "scale", "tracking", "serve", "export", "tune")
    for name in PROJECT["optional-dependencies"][group]
]


@pytest.mark.parametrize("name", sorted(set(RUNTIME) - FOUND_BY_PYDICOM))
def test_what_is_declared_is_imported_by_the_product(name):
    assert MODULES.get(name, name) in imported("src")


def test_what_the_product_imports_is_declared():
    declared = {MODULES.get(name, name) for name in [*RUNTIME, *OPTIONAL]}
    third_party = imported("src") - set(sys.stdlib_module_names) - {"modicum"}
    assert third_party <= declared


def test_every_declared_package_has_one_exact_version_that_its_limits_allow():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line.strip() and not line.startswith("#")]
    exact = {canonicalize_name(name): version for name, _, version in pins}
    assert len(exact) == len(pins)
    groups = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *groups["dicom"],
        *groups["scale"],
        *groups["serve"],
        *groups["export"],
        *groups["dev"],
        *groups["benchmarks"],
    ]
    for requirement in map(Requirement, wanted):
        version = exact.get(canonicalize_name(requirement.name))
        assert version is not None, requirement.name
        assert requirement.specifier.contains(version), requirement
