"""Made data of each task, written once."""

import pytest
from task_data import WRITERS


@pytest.fixture(scope="session")
def task_data(tmp_path_factory):
    """From a kind of data to the path of its table."""
    made = {}

    def path_of(kind):
        if kind not in made:
            made[kind] = WRITERS[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return path_of
