"""Data and runs that the tests of the contract share: a method is trained once."""

from pathlib import Path

import pytest
from toy_data import TOYS, fit, write_toy_data


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy_data"))


@pytest.fixture(scope="session")
def toy_runs(tmp_path_factory) -> Path:
    """The folder of all runs: they share the decoded images."""
    return tmp_path_factory.mktemp("toy_runs")


@pytest.fixture(scope="session")
def run_of(toy_data, toy_runs):
    """From a toy's name to its finished run."""
    made = {}

    def run(method):
        assert method in TOYS
        if method not in made:
            made[method] = fit(toy_data, method, toy_runs, write_report=True)
        return made[method]

    return run
