"""A run that is killed in any of its stages and resumed ends with the weights of one that never was, bit for bit."""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from warm_process import run

HERE = Path(__file__).parent

# Each start is a child of one process (importing takes longer than the runs). It kills itself with SIGKILL, for which
# there is no handler and after which nothing is cleaned up, in a step of the named stage.
SCRIPT = """
import json, os, signal, sys
import modicum, lightning, torch
torch.set_num_threads(1)
here, data, runs, plan = sys.argv[1:5]
sys.path.insert(0, here)
from toy_data import fit
from modicum.engine.training import fitting, stage_trainer

def kill_in(stage, count):
    def doomed(function):
        calls = []
        def wrapper(self, *args):
            function(self, *args)
            calls.append(self.stage.name)
            if calls.count(stage) == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return wrapper
    stage_trainer.StageTrainer._step_ended = doomed(stage_trainer.StageTrainer._step_ended)
    fitting.StageFitter._check_not_stopped = doomed(fitting.StageFitter._check_not_stopped)

statuses = []
for method, stage, count in json.loads(plan):
    child = os.fork()
    if not child:
        if stage:
            kill_in(stage, count)
        fit(data, method, runs, resume=True, checkpoint_steps=1)
        os._exit(0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""
PLAN = [
    ("toy_pretext", "pretrain", 2), ("toy_pretext", "tune", 2), ("toy_pretext", "tune", 3), ("toy_pretext", "", 0),
    ("toy_three", "match", 1), ("toy_three", "prototypes", 2), ("toy_three", "tune", 2), ("toy_three", "", 0),
    ("toy_eyes", "one_eye", 4), ("toy_eyes", "both_eyes", 2), ("toy_eyes", "", 0),
    ("toy_bank", "bank", 6), ("toy_bank", "", 0),
    ("toy_partner", "tune", 3), ("toy_partner", "", 0),
]  # fmt: skip


@pytest.fixture(scope="module")
def killed(toy_data, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("killed")
    words = [str(HERE), str(toy_data), str(runs), json.dumps(PLAN)]
    done = run("-c", SCRIPT, *words, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = [-signal.SIGKILL if stage else 0 for _, stage, _ in PLAN]
    assert json.loads(done.stdout.splitlines()[-1]) == expected, done.stderr[-3000:]
    return runs


@pytest.mark.parametrize("name", list(dict.fromkeys(method for method, _, _ in PLAN)))
def test_killed_and_resumed_ends_as_if_it_had_run_through(killed, run_of, name):
    whole, resumed = run_of(name).path, killed / name
    ours, theirs = (load_file(path / "weights.safetensors") for path in (whole, resumed))
    assert ours.keys() == theirs.keys()
    different = [tensor for tensor, value in ours.items() if not value.equal(theirs[tensor])]
    assert different == []
    first, second = (json.loads((path / "metrics.json").read_text()) for path in (whole, resumed))
    for stage, entry in first["stages"].items():
        assert second["stages"][stage]["selection"] == entry["selection"]
    if (whole / "history.jsonl").exists():
        histories = [[json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
                     for path in (whole, resumed)]  # fmt: skip
        for one, two in zip(*histories, strict=True):
            assert {**one, "seconds": 0} == {**two, "seconds": 0}
