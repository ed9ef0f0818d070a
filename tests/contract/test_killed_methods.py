"""The newest methods: killed in every stage and resumed, each learns what a run learns that never was, bit for bit."""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from small_trainings import NEWEST, settings_of

from modicum.methods import FitStage, TrainStage, method_class
from modicum.methods.checks import write_made_data
from modicum.run import Run
from warm_process import run

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent

FEW = {"octa_quality": {"held_out.batch_size": 1, "embed.batch_size": 1}}
"""Smaller batches of what is shown few images."""

# Each start is a child of one process. It kills itself with SIGKILL, for which there is no handler and after which
# nothing is cleaned up, after the third step of a training stage, or in the second batch of a fitted one.
SCRIPT = """
import json, os, sys
import modicum, torch
torch.set_num_threads(1)
table, method, runs, settings, stages = sys.argv[1:6]
from modicum.engine.training import fitting, stage_trainer

def kill_in(stage):
    def doomed(function, count):
        calls = []
        def wrapper(self, *args):
            function(self, *args)
            calls.append(self.stage.name)
            if calls.count(stage) == count:
                os.kill(os.getpid(), 9)
        return wrapper
    stage_trainer.StageTrainer._step_ended = doomed(stage_trainer.StageTrainer._step_ended, 3)
    fitting.StageFitter._check_not_stopped = doomed(fitting.StageFitter._check_not_stopped, 3)

statuses = []
for stage in [None, *json.loads(stages), ""]:
    child = os.fork()
    if not child:
        if stage:
            kill_in(stage)
        more = {"name": "whole"} if stage is None else {"name": "killed", "resume": True}
        modicum.fit(table, method, runs=runs, checkpoint_steps=1, **json.loads(settings), **more)
        os._exit(0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """From a task to the table of a made data set, once."""
    paths = {}

    def path(task):
        if task not in paths:
            paths[task] = write_made_data(task, tmp_path_factory.mktemp(task))
        return paths[task]

    return path


@pytest.mark.parametrize("method", NEWEST)
def test_killed_in_every_stage_and_resumed_it_learns_the_same(made, tmp_path, method):
    stages = list(method_class(method).stage_training)
    settings = {**settings_of(method), "batch_size": 2, **FEW.get(method, {})}
    table = made(method_class(method).tasks[0])
    done = run("-c", SCRIPT, table, method, tmp_path, json.dumps(settings), json.dumps(stages), timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [0, *[-signal.SIGKILL] * len(stages), 0], done.stderr[
        -3000:
    ]
    learning = [
        stage.name
        for stage in Run.open(tmp_path / "whole").method().stages()
        if isinstance(stage, TrainStage | FitStage)
    ]
    assert stages == learning
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "killed"))
    assert ours.keys() == theirs.keys()
    assert [name for name, value in ours.items() if not value.equal(theirs[name])] == []
    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed")
    )
    assert first["evaluations"] == second["evaluations"]
