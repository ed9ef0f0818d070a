"""A chain that is killed or stopped in the middle goes on to the same weights."""

import json
import signal
import sys
from pathlib import Path

import pytest
from chain_plans import GATE, TRAINING, write_eyes, write_plan
from safetensors.torch import load_file

import modicum
from warm_process import run

SCRIPT = """
import os, signal, sys
from importlib import import_module
import modicum, torch
torch.set_num_threads(1)
plan, runs, name, where, count, how = sys.argv[1:7]
if where != "nowhere":
    owner, attribute = where.rsplit(":", 1)
    module, _, inner = owner.partition("/")
    place = import_module(module)
    place = getattr(place, inner) if inner else place
    function, calls = getattr(place, attribute), []
    def doomed(*args, **kwargs):
        calls.append(1)
        if len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGINT if how == "stop" else signal.SIGKILL)
        return function(*args, **kwargs)
    setattr(place, attribute, doomed)
sys.argv = ["modicum", "fit", plan, "--runs", runs, "--name", name, "--resume"]
from modicum.__main__ import main
main()
"""
STEP = "modicum.engine.training.stage_trainer/StageTrainer:_step_ended"
AFTER_A_STEP = "modicum.chains.steps:output_digest"
LONGER = {**TRAINING, "epochs": 3, "checkpoint_steps": 1}
STEPS = [
    {"name": "one", "fit": {**GATE, "training": LONGER}},
    {"name": "two", "fit": {**GATE, "training": LONGER, "backbone": {"name": "step:one"}}},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return write_eyes(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def plan(place) -> Path:
    return write_plan(place, STEPS)


@pytest.fixture(scope="module")
def whole(place, plan):
    chain = modicum.run_plan(plan, name="whole", runs=place / "runs", write_report=False)
    return load_file(chain["two"].path / "weights.safetensors")


def start(plan: Path, place: Path, name: str, where: str = "nowhere", count: int = 1, how: str = "kill"):
    return run("-c", SCRIPT, plan, place / "runs", name, where, count, how)


def states(place: Path, name: str) -> list[str]:
    record = json.loads((place / "runs" / name / "chain.json").read_text())
    return [step["state"] for step in record["steps"]]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_in_a_step_and_between_steps_it_ends_with_the_same_weights(place, plan, whole):
    assert start(plan, place, "killed", STEP, 3).returncode == -signal.SIGKILL
    assert states(place, "killed") == ["running", "waiting"]
    assert start(plan, place, "killed", AFTER_A_STEP, 1).returncode == -signal.SIGKILL
    assert states(place, "killed") == ["running", "waiting"]
    assert start(plan, place, "killed", STEP, 3).returncode == -signal.SIGKILL
    assert states(place, "killed") == ["finished", "running"]
    done = start(plan, place, "killed")
    assert done.returncode == 0, done.stderr
    assert "step 1 of 2, one: kept" in done.stderr
    weights = load_file(place / "runs" / "killed" / "two" / "weights.safetensors")
    assert weights.keys() == whole.keys()
    assert all(weights[name].equal(whole[name]) for name in weights)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(place, plan, whole):
    done = start(plan, place, "stopped", STEP, 8, "stop")
    assert done.returncode == 130, done.stderr
    runs = place / "runs"
    assert (
        f"step 'two': stopped; go on with `modicum fit {plan} --resume --name stopped --runs {runs}`"
        in done.stderr
    )
    assert states(place, "stopped") == ["finished", "interrupted"]
    done = start(plan, place, "stopped")
    assert done.returncode == 0, done.stderr
    weights = load_file(place / "runs" / "stopped" / "two" / "weights.safetensors")
    assert all(weights[name].equal(whole[name]) for name in weights)
    assert "two: 16 rows; test: " in done.stdout
    assert f"report: {runs / 'stopped' / 'report.html'}" in done.stdout
