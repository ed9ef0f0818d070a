"""Which evaluation the headline is of, and scores domain by domain."""

import json

import pytest
from made_run import MadeRun, make_run
from pages import page_of

from modicum.report.files import read_run


def add(folder, name, like="val", **changed):
    """Another evaluation, put last into the run's metrics as ``modicum evaluate`` does."""
    overall = json.loads((folder / "metrics.json").read_text())
    overall["evaluations"].pop(name, None)
    overall["evaluations"][name] = {**overall["evaluations"][like], "split": None, "data": name, **changed}
    (folder / "metrics.json").write_text(json.dumps(overall))


def headline_of(folder):
    return read_run(folder).main.name


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "r", MadeRun("binary", ("virus", "covid"), images=(("val", 60),), pictures=0))


def test_without_a_test_set_the_newest_evaluation_is_the_headline_not_the_first_of_the_alphabet(folder):
    assert headline_of(folder) == "val"
    add(folder, "clinic-b")
    assert headline_of(folder) == "clinic-b"
    add(folder, "clinic-c")
    assert headline_of(folder) == "clinic-c"
    add(folder, "clinic-a")
    assert headline_of(folder) == "clinic-a"
    add(folder, "clinic-b")  # evaluated again
    assert headline_of(folder) == "clinic-b"


def test_images_that_were_trained_on_are_never_the_headline_before_others(folder):
    add(folder, "unseen")
    add(folder, "aaa-train", seen={"train": 60})
    assert headline_of(folder) == "unseen"


def test_the_test_set_is_the_headline_whatever_was_evaluated_since(tmp_path):
    folder = make_run(
        tmp_path / "t", MadeRun("binary", ("virus", "covid"), images=(("val", 60), ("test", 60)), pictures=0)
    )
    add(folder, "aaa")
    add(folder, "zzz")
    assert headline_of(folder) == "test"


def test_domains_have_a_table_the_worst_first(folder):
    entry = {"low": None, "high": None}
    domains = {
        name: {"images": 30, "patients": None, "metrics": {"auroc": {"value": value, **entry}}}
        for name, value in {"Siemens": 0.91, "GE": 0.62}.items()
    }
    path = folder / "evaluations" / "val" / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "domains": domains}))
    text = page_of(folder).text
    assert "Domain by domain" in text
    assert text.index("GE") < text.index("Siemens")
    assert "0.620" in text
    assert "0.910" in text
