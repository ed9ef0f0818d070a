"""Files written in one step: what a failure in the middle leaves, and what a reader sees."""

import errno
import os
from contextlib import suppress

import pytest

from modicum.atomic_files import atomic_file, write_text
from modicum.errors import ResourceError


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    with suppress(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half of the ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_stays_readable_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_named_with_the_file_and_the_remedy(tmp_path, durable):
    expected = r"disk is full; 'report\.html' was not written; free some space"
    with pytest.raises(ResourceError, match=expected), atomic_file(tmp_path / "report.html", durable=durable):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
