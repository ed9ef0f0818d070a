"""Small runs, made once for all tests of serving."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
pytest.importorskip("fastapi", reason="needs the extra 'serve'")

from made_runs import made_run

from modicum.serving.served_run import ServedRun
from modicum.tasks import Classification

FINDINGS = Classification("multi-label", ["oedema", "7"])


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory):
    """Of classification, of findings, of masks, of a translation, and one that decides over both eyes."""
    home = tmp_path_factory.mktemp("served")
    made_run(home / "classes", "linear")
    made_run(home / "findings", "linear", FINDINGS)
    made_run(home / "masks", "segment")
    made_run(home / "translation", "reggan")
    made_run(home / "eyes", "dr_grading")
    return {path.name: path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")}


@pytest.fixture(scope="session")
def runs(run_folders):
    """The same, loaded."""
    return {name: ServedRun(path, batch_size=4) for name, path in run_folders.items()}
