"""A run killed at any moment and resumed ends with the same weights, bit for bit, as one never killed."""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from modicum.data.phantoms import write_fundus_dataset
from warm_process import run

# Kills its own process (SIGKILL: no handler, no clean-up) at the n-th call of a function.
SCRIPT = """
import os, signal, sys
import modicum, torch
torch.set_num_threads(1)
data, runs, name, where, count, interrupt = sys.argv[1:7]

def doomed(function):
    calls = 0
    def wrapper(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGINT if interrupt == "interrupt" else signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper

if where != "nowhere":
    from importlib import import_module
    owner, attribute = where.rsplit(":", 1)
    module, _, inner = owner.partition("/")
    place = import_module(module)
    place = getattr(place, inner) if inner else place
    setattr(place, attribute, doomed(getattr(place, attribute)))

from modicum.errors import InterruptedRunError
try:
    modicum.fit(
        data, "full", name=name, runs=runs, resume=True, backbone="test_resnet", weights="random", image_size=32,
        epochs=3, batch_size=4, lr=1e-3, ema_decay=0.9, augment="light", workers=0, resamples=50, dropout=0.3,
        accumulate=2, checkpoint_steps=2, leaks="allow", write_report=False,
    )
except InterruptedRunError as error:
    print(error)
    sys.exit(error.exit_code)
"""

STEP = "modicum.engine.training.stage_trainer/StageTrainer:_step_ended"
SAVE = "modicum.engine.checkpoint:save_tensors"
BEST = "modicum.engine.training.stage_trainer:save_tensors"
RENAME = "modicum.engine.checkpoint:sync_folder"
VALIDATE = "modicum.engine.training.stage_trainer/StageTrainer:_validate"
EVALUATE = "modicum.engine.fit:evaluate_rows"


def start(data, runs, name, where="nowhere", count=1, interrupt="kill"):
    return run("-c", SCRIPT, data, runs, name, where, count, interrupt)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(folder, 30, 40, seed=3, fractions=fractions, masks=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def never_killed(data, runs):
    done = start(data, runs, "whole")
    assert done.returncode == 0, done.stderr
    return load_file(runs / "whole" / "weights.safetensors")


def test_killed_again_and_again_ends_with_the_same_weights(data, runs, never_killed):
    kills = [(STEP, 1), (BEST, 1), (SAVE, 4), (STEP, 3), (VALIDATE, 1), (RENAME, 2), (EVALUATE, 1)]
    for where, count in kills:
        done = start(data, runs, "killed", where, count)
        assert done.returncode == -signal.SIGKILL, (where, done.returncode, done.stderr)
    done = start(data, runs, "killed")
    assert done.returncode == 0, done.stderr
    weights = load_file(runs / "killed" / "weights.safetensors")
    assert weights.keys() == never_killed.keys()
    assert all(weights[name].equal(never_killed[name]) for name in weights)


def test_the_history_of_a_killed_run_is_that_of_a_whole_one(runs, never_killed):
    def steps(name):
        lines = (runs / name / "history.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        for record in records:
            record.pop("seconds", None)
        return records

    assert steps("killed") == steps("whole")


def test_ctrl_c_keeps_a_run_that_goes_on_to_the_same_weights(data, runs, never_killed):
    done = start(data, runs, "stopped", STEP, 4, "interrupt")
    assert done.returncode == 130, done.stderr
    assert "--resume" in done.stdout
    assert json.loads((runs / "stopped" / "status.json").read_text())["state"] == "interrupted"
    done = start(data, runs, "stopped")
    assert done.returncode == 0, done.stderr
    weights = load_file(runs / "stopped" / "weights.safetensors")
    assert all(weights[name].equal(never_killed[name]) for name in weights)
