"""What the end-to-end tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """The folder of all runs of a test session: they share the decoded images."""
    return tmp_path_factory.mktemp("runs")
