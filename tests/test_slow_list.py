"""The list of slow tests names tests that exist."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LINES = [
    line
    for line in (TESTS / "slow_tests.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_names_a_test(line):
    file, _, name = line.partition("::")
    path = TESTS.parent / file
    assert path.is_file()
    assert f"def {name.partition('[')[0]}(" in path.read_text(encoding="utf-8") if name else True


def test_no_line_is_there_twice():
    assert sorted(set(LINES)) == sorted(LINES)


def test_no_two_files_of_tests_have_the_same_name():
    """Pytest takes the second for the first, and ends before any test is run."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
