"""The documentation builds as a site without a warning; links and the menu alone are tests/test_docs_links.py's."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = ROOT / ".venv-docs" / "bin" / "python"
"""What `make docs` makes."""


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path):
    if not OWN.exists() and find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not on this machine (make docs-env)")
    python = str(OWN) if OWN.exists() else sys.executable
    words = [python, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "MODICUM_REPOSITORY": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "pictures/report.png" in front
    assert (tmp_path / "pictures" / "report.png").is_file()
    losses = (tmp_path / "api" / "losses.html").read_text(encoding="utf-8")
    assert "nt_xent" in losses
