"""Cross-validations and searches in two processes, and on a Ray cluster of two nodes, are those of one process."""

import pandas as pd
import pytest
from cross_validations import SETTINGS, cross_validate, made

import modicum
from modicum.tuning import study
from ray_nodes import at_once, two_nodes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return made("classification", tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def alone(eyes, tmp_path_factory):
    """Two folds, one after the other, in this process."""
    return cross_validate(eyes, tmp_path_factory.mktemp("alone"), folds=2, write_report=False)


PARALLEL = {"processes": {"parallel": 2}, "ray": {"executor": "ray"}}


@pytest.mark.parametrize("how", PARALLEL)
def test_folds_at_once_give_the_same_predictions_and_ensemble(nodes, eyes, alone, tmp_path, how):
    done = cross_validate(eyes, tmp_path, folds=2, write_report=False, **PARALLEL[how])
    assert at_once(done.path / "folds")
    pd.testing.assert_frame_equal(done.table, alone.table, rtol=1e-4, atol=1e-5)
    assert done.ensemble is not None
    assert done.metrics["each_fold"][1]["images"] == alone.metrics["each_fold"][1]["images"]


def search(data, runs, **given):
    settings = {key: value for key, value in SETTINGS.items() if key != "lr"}
    given = {"trials": 4, "metric": "log_loss", "epochs": 2, "prune": True, **given}
    return modicum.tune(data, "full", search=["lr=1e-5..1:log"], runs=runs, name="x", **{**settings, **given})


def test_a_search_with_two_trials_at_once_is_the_same_in_processes_and_on_two_nodes(
    nodes, eyes, tmp_path, monkeypatch
):
    """The third and fourth trial must reach the median of the first two, whose epochs end in other processes."""
    monkeypatch.setattr(study, "STARTUP", 2)
    local, far = (search(eyes, tmp_path / how, **PARALLEL[how]) for how in PARALLEL)
    for done in (local, far):
        assert at_once(done.path / "trials")
        assert (done.table["state"][:2] == "finished").all()
        required = [
            modicum.Run.open(done.path / "trials" / name).recipe.stages.get("tune", {}).get(study.REQUIRED)
            for name in done.table["trial"]
        ]
        assert required[:2] == [None, None]
        assert len(required[2]) == len(required[3]) == 2
    columns = ["trial", "lr", "value", "state", "epochs"]
    pd.testing.assert_frame_equal(far.table[columns], local.table[columns], rtol=1e-4)
    assert far.metrics["best"]["trial"] == local.metrics["best"]["trial"]
