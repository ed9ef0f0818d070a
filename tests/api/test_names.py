"""Names of runs and evaluations: one folder each, where the user expects it."""

import pytest

from modicum.engine.inference.evaluate_run import evaluation_name
from modicum.engine.recipe.new_recipe import plain_name, run_name
from modicum.errors import InputError


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "C:x", "/tmp/x"])
def test_a_name_leads_nowhere_else(name):
    with pytest.raises(InputError, match="is not a plain name"):
        plain_name(name)


@pytest.mark.parametrize("name", ["first", "run-2_b.c", "größe", "..."])
def test_a_plain_name_stays_as_it_is(name):
    assert plain_name(name) == name


@pytest.mark.parametrize(
    ("asked", "data", "split", "expected"),
    [
        (None, "hospital_b", "test", "hospital_b-test"),
        (None, "hospital_b", None, "hospital_b"),
        (None, "test", None, "data-test"),  # a folder called test is not the run's own test set
        (None, "", None, "data-"),
        ("second look", "hospital_b", "test", "second look"),
    ],
)
def test_an_evaluation_never_takes_the_place_of_the_runs_own(asked, data, split, expected):
    assert evaluation_name(asked, data, split) == expected


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_nobody_may_name_an_evaluation_like_a_split(split):
    with pytest.raises(InputError, match=f"--name, such as hospital_b-{split}"):
        evaluation_name(split, "hospital_b", None)


def test_a_table_in_the_current_folder_is_named_after_the_folder(tmp_path, monkeypatch):
    (tmp_path / "Eyes").mkdir()
    monkeypatch.chdir(tmp_path / "Eyes")
    assert run_name("labels.csv", "full") == "eyes-full"
    assert run_name(".", "full") == "eyes-full"
