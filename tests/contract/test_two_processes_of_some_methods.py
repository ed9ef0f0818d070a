"""Two processes fit a memory and train with a queue; all other methods, and from a launcher, are among the slow tests."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_trainings import train_all

from modicum.methods.checks import write_made_data
from warm_process import launch

HERE = Path(__file__).parent

METHODS = {"patchcore": "anomaly", "spmix": "classification"}

SCRIPT = """
import faulthandler, sys
faulthandler.dump_traceback_later(200, exit=True)  # a process that waits for ever ends, and says where it stood
import modicum, torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from pathlib import Path
from small_trainings import train_all
train_all(Path({data!r}), Path({runs!r}), 2, 2, {methods!r})
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Weights of one process, and of two calls of two."""
    out = tmp_path_factory.mktemp("some")
    tables = {}
    for task in set(METHODS.values()):
        (out / task).mkdir()
        tables[task] = str(write_made_data(task, out / task))
    data = out / "tables.json"
    data.write_text(json.dumps(tables))
    for name in ("one", "two", "again"):
        (out / name).mkdir()
    train_all(data, out / "one", 4, methods=tuple(METHODS))
    for name in ("two", "again"):
        words = {"here": str(HERE), "data": str(data), "runs": str(out / name), "methods": tuple(METHODS)}
        for done in launch(2, "-c", SCRIPT.format(**words), timeout=300):
            assert done.returncode == 0, done.stderr[-3000:]
    problems = [path.read_text() for path in out.glob("*/*.txt")]
    assert problems == []
    return lambda name, method: load_file(out / name / method / "weights.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_two_calls_learn_the_same_bits(runs, method):
    first, second = runs("two", method), runs("again", method)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_what_is_fitted_by_streaming_is_what_one_process_fits(runs):
    one, two = runs("one", "patchcore"), runs("two", "patchcore")
    assert max(map(len, (value for name, value in two.items() if name.endswith("bank")))) > 10
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
