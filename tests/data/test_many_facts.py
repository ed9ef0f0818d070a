"""Facts of hundreds of thousands of images: what a row takes in memory, and that nothing is lost by taking parts."""

import tracemalloc

import numpy as np
import pytest

from modicum.data.checks import remembered_pairs
from modicum.data.checks.near_duplicates import NearSearch
from modicum.data.file_content import FileState
from modicum.data.image_facts import ImageFacts
from modicum.data.stores import image_catalogue
from modicum.data.stores.image_catalogue import Catalogue

ROWS = 1_500
KEPT = 2_200
"""Bytes a row: 400,000 of them in less than 1 GB. The thumbnail is 1,057 of them, the two hashes 200.

Measured: 1,830 read back, 2,320 while they are added and saved."""


def facts_of(number: int) -> ImageFacts:
    thumbnail = np.random.default_rng(number).bytes(1024)
    return ImageFacts(
        ref=f"images/{number}.png", sha256=f"{number:064x}", bytes=number, format="PNG", bits=8, mode="L", height=32,
        width=32, slices=1, mislabelled=False, mean=number / 7, std=number / 11, low=number / 13, high=number / 17,
        spacing=None if number % 3 else (0.5, 0.25), thumbnail=thumbnail, orientation=1, decoded=(32, 32),
        plane=None if number % 2 else (1.0,) * 9,
    )  # fmt: skip


@pytest.fixture
def small_parts(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(image_catalogue, "_AT_ONCE", 100)
    written(tmp_path_factory.mktemp("first"), 5)  # what is imported on the way is no memory of rows


def written(folder, rows=ROWS) -> tuple[list[str], int]:
    """The keys, and the most bytes that a row took while they were added and saved."""
    tracemalloc.start()
    with Catalogue(folder) as catalogue:
        for number in range(rows):
            catalogue.add(f"{number:032x}", FileState(number, number), f"{number:064x}", facts_of(number))
        catalogue.save()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [f"{number:064x}" for number in range(rows)], peak // rows


def test_a_store_keeps_facts_of_many_images_in_little_memory(tmp_path, small_parts):
    _, peak = written(tmp_path)
    assert peak < KEPT + 900  # and where each file's record is, and what a table of any size takes


def test_facts_are_read_back_in_little_memory(tmp_path, small_parts):
    keys, _ = written(tmp_path)
    catalogue = Catalogue(tmp_path)
    tracemalloc.start()
    found = catalogue.facts(keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / ROWS < KEPT
    assert len({id(fact.format) for fact in found}) == 1


@pytest.mark.parametrize("at_once", [1, 7, 20_000])
def test_parts_of_any_size_give_back_every_fact(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(image_catalogue, "_AT_ONCE", at_once)
    keys, _ = written(tmp_path, 25)
    more = [*reversed(keys), keys[3]]
    found = Catalogue(tmp_path).facts(more)
    assert [fact.sha256 for fact in found] == more
    for fact in found:
        expected = facts_of(int(fact.sha256, 16)).as_row() | {"ref": ""}
        assert fact.as_row() == expected


def test_facts_that_a_killed_build_left_in_the_journal_are_taken_up(tmp_path, small_parts):
    with Catalogue(tmp_path) as catalogue:
        for number in range(250):
            catalogue.add(f"{number:032x}", FileState(number, number), f"{number:064x}", facts_of(number))
    with Catalogue(tmp_path) as catalogue:  # the one before was never saved
        catalogue.save()
    keys = [f"{number:064x}" for number in range(250)]
    assert [fact.mean for fact in Catalogue(tmp_path).facts(keys)] == [facts_of(n).mean for n in range(250)]


def test_what_a_search_is_known_by_is_not_held_in_memory(tmp_path):
    """A row of the key is 290 bytes; held as tuples and as one text it would be three times that."""
    rows = 20_000
    tracemalloc.start()
    made = ((f"images/{n}.png", f"{n:064x} {n:016x}", f"patient{n}", "0") for n in range(rows))
    remembered_pairs.remembered(tmp_path, made, lambda: NearSearch([], []))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows * 20
