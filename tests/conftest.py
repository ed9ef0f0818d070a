"""One thread, modicum first (see modicum._torchvision_schemas), shapes checked, real images where they are."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The toy methods lie there as an installed package does, with entry points of its own; subprocesses find it too.
TOYS = str(Path(__file__).parent / "toys")
sys.path.insert(0, TOYS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [TOYS, os.environ.get("PYTHONPATH", "")]))

import modicum  # noqa: F401 - must come before anything that imports torchvision

# isort: split
import pytest
import torch
from jaxtyping import install_import_hook

from modicum.progress import set_quiet

torch.set_num_threads(1)
# Every annotated tensor shape and dtype of these packages is checked while the tests run.
install_import_hook(
    ["modicum.data", "modicum.transforms", "modicum.nn", "modicum.losses", "modicum.tasks"],
    "beartype.beartype",
)

REAL_IMAGES = Path(os.environ.get("MODICUM_REAL_IMAGES", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _notices():
    """Notices are on, whatever an earlier test of this process has switched off (``--quiet`` lasts for a process)."""
    set_quiet(False)


@pytest.fixture(scope="session")
def real_images():
    """The folder of small real data sets; tests that need it are skipped where it is absent."""

    def folder(name: str) -> Path:
        path = REAL_IMAGES / name
        if not path.exists():
            pytest.skip(f"real images '{name}' are not on this machine (set MODICUM_REAL_IMAGES)")
        return path

    return folder


SLOW = [
    line
    for line in (Path(__file__).parent / "slow_tests.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


FORKING = {
    path.name
    for path in Path(__file__).parent.rglob("test_*.py")
    if any(mark in path.read_text(encoding="utf-8") for mark in ('get_context("fork")', "os.fork()"))
}


@pytest.hookimpl(tryfirst=True)  # before those marked slow are left out
def pytest_collection_modifyitems(items):
    """Marks what ``slow_tests.txt`` lists. Forks come first and Ray last: a fork beside its threads may wait for ever."""
    for item in items:
        if any(item.nodeid == line or item.nodeid.startswith((f"{line}::", f"{line}[")) for line in SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in FORKING)  # stable, a file after another
    items.sort(key=lambda item: "ray" in item.path.name or "cluster" in getattr(item, "fixturenames", ()))
