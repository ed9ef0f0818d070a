"""Where cells run changes nothing but the time they take: processes, Ray, signals and kills."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from small_comparison import SETTINGS, compare, files_of

from modicum.comparison.executors import choose_executor
from modicum.comparison.executors.here import InThisProcess
from modicum.comparison.executors.processes import InProcesses
from modicum.comparison.run_cell import Job
from modicum.errors import InputError

SAME = ["method", "seeds", "score", "score_std", "low", "high", "learnable", "memory_mib", "ppe", "pme"]


def job(images: Path, folder: Path, name: str, **settings) -> Job:
    given = {**SETTINGS, **settings}
    given.pop("workers")
    return Job(name, str(images), "linear", given, str(folder), str(images.parent / "stores"), 0)


def test_processes_give_the_same_table(images, done, tmp_path):
    found = compare(images, tmp_path, "processes", parallel=2)
    pd.testing.assert_frame_equal(found.table[SAME], done.table[SAME])
    assert sorted(path.stem for path in (found.path / "logs").iterdir()) == sorted(done.cells["cell"])


@pytest.fixture(scope="module")
def cluster():
    """A local Ray cluster of two workers."""
    ray = pytest.importorskip("ray", reason="needs the extra 'scale'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.mark.slow
def test_ray_gives_the_same_table(cluster, images, done, tmp_path):
    found = compare(images, tmp_path, "ray", executor="ray")
    pd.testing.assert_frame_equal(found.table[SAME], done.table[SAME])
    assert cluster.is_initialized()  # a cluster that was joined before is not left


def test_on_ray_too_ctrl_c_waits_for_a_checkpoint(cluster, images, tmp_path):
    executor = choose_executor("ray", None, "cpu", tmp_path / "logs")
    cell = tmp_path / "cells" / "long"

    def interrupt() -> None:
        wait_for((cell / "history.jsonl").is_file)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    jobs = [replace(job(images, cell.parent, "long", epochs=5000), method="full")]
    [outcome] = executor.run(jobs, lambda name: None)
    assert outcome.stopped
    assert json.loads((cell / "status.json").read_text()) == {"state": "interrupted"}
    assert list((cell / "checkpoints").iterdir())


def test_without_ray_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray; pip install 'modicum\[scale\]'"):
        choose_executor("ray", None, None, tmp_path)


def test_one_process_a_gpu_where_there_are_several(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    several = choose_executor("local", None, None, tmp_path)
    assert isinstance(several, InProcesses)
    assert several.max_parallel == 4
    assert isinstance(choose_executor("local", None, "cuda:1", tmp_path), InThisProcess)
    assert choose_executor("local", 2, "auto", tmp_path).max_parallel == 2


def test_every_process_has_its_device(images, tmp_path):
    """Devices are handed out by slot: two slots never share one while both are busy."""
    executor = InProcesses(2, ["cpu", "cuda:7"], tmp_path / "logs")
    jobs = [job(images, tmp_path / "cells", name) for name in ("a", "b")]
    outcomes = {outcome.name: outcome for outcome in executor.run(jobs, lambda name: None)}
    assert outcomes["a"].error == ""
    assert "cuda:7" in outcomes["b"].error


@pytest.mark.parametrize("max_parallel", [0, -1])
def test_fewer_than_one_at_once(tmp_path, max_parallel):
    with pytest.raises(
        InputError, match=f"--parallel {max_parallel} is less than 1; pass for instance --parallel 2"
    ):
        choose_executor("local", max_parallel, None, tmp_path)


def test_a_process_that_is_killed_is_one_failed_cell(images, tmp_path, monkeypatch):
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *words, **options) -> None:
            super().__init__(*words, **options)
            started.append(self)

    def kill(name: str) -> None:
        if name == "killed":
            started[-1].kill()

    monkeypatch.setattr(subprocess, "Popen", Watched)
    executor = InProcesses(1, [], tmp_path / "logs")
    jobs = [job(images, tmp_path / "cells", name) for name in ("killed", "next")]
    outcomes = list(executor.run(jobs, kill))
    assert outcomes[0].error == "its process was ended by signal 9; memory may have run out"
    assert outcomes[1].error == ""
    assert (tmp_path / "cells" / "next" / "metrics.json").is_file()


WORDS = [
    "--backbone", "test_resnet", "--weights", "random", "--image-size", "32", "--batch-size", "8", "--leaks", "allow",
    "--workers", "0", "--device", "cpu", "--set", "augment=none", "--set", "resamples=20", "--seeds", "2",
]  # fmt: skip


def start(images: Path, folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "modicum", "compare", str(images), "--name", "x", *WORDS, *words],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def test_killed_after_a_cell_the_same_command_leaves_it_alone(images, done, tmp_path):
    words = ("--epochs", "1", "--methods", "linear")
    running = start(images, tmp_path, *words)
    first, second = (tmp_path / "runs" / "x" / "cells" / f"linear-seed{seed}" for seed in (0, 1))
    wait_for(second.is_dir)
    running.kill()
    running.communicate()
    before = files_of(first)
    assert json.loads((first / "status.json").read_text()) == {"state": "finished"}
    again = start(images, tmp_path, *words)
    again.communicate()
    assert again.returncode == 0
    assert files_of(first) == before
    table = pd.read_csv(tmp_path / "runs" / "x" / "table.csv")
    assert table["score"].tolist() == pytest.approx(done.table["score"].tolist()[1:])


def test_ctrl_c_reaches_every_process_and_says_how_to_go_on(images, tmp_path):
    running = start(images, tmp_path, "--epochs", "2000", "--parallel", "2", "--methods", "full")
    cells = tmp_path / "runs" / "x" / "cells"
    histories = [cells / f"full-seed{seed}" / "history.jsonl" for seed in (0, 1)]
    wait_for(lambda: all(path.is_file() for path in histories))
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.splitlines()[-1] == (
        "modicum: error: comparison 'x' stopped; 0 of 2 cells have ended; resume it with the same command"
    )
    for path in histories:
        assert json.loads((path.parent / "status.json").read_text()) == {"state": "interrupted"}


def test_a_cell_that_is_stopped_before_it_trains_is_interrupted_too(images, tmp_path):
    command = [sys.executable, "-m", "modicum.comparison.executors.cell_process"]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(json.dumps(asdict(job(images, tmp_path, "early", epochs=2000))).encode() + b"\n")
    running.stdin.flush()
    wait_for(lambda: (tmp_path / "early" / "status.json").is_file())  # claimed; the data are read after it
    running.terminate()
    assert json.loads(running.stdout.read())["stopped"]
    running.stdin.close()
    assert running.wait(60) == 0
    assert json.loads((tmp_path / "early" / "status.json").read_text()) == {"state": "interrupted"}


@pytest.mark.slow
def test_cells_stop_when_the_comparison_is_gone(images, tmp_path):
    running = start(
        images, tmp_path, "--epochs", "2000", "--parallel", "2", "--methods", "full", "--seeds", "1"
    )
    cell = tmp_path / "runs" / "x" / "cells" / "full-seed0"
    wait_for(lambda: (cell / "history.jsonl").is_file())
    running.send_signal(signal.SIGKILL)
    running.communicate()
    wait_for(lambda: json.loads((cell / "status.json").read_text()) == {"state": "interrupted"})
