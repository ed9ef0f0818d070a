"""Stopping before the first step: at once, also where the process waits inside a library for others."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from modicum.engine.devices import check_launched
from modicum.engine.training.interrupts import InterruptHandler
from modicum.errors import InputError, InterruptedRunError

# A lock that is taken twice: as in a rendezvous that nobody comes to, Python's own handlers never run.
STUCK = """
import ctypes, sys
from modicum.engine.training import interrupts
interrupts.GRACE = 0.2
library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
with interrupts.InterruptHandler().install(lambda: None, lambda: print("recorded", flush=True)):
    print("waiting", flush=True)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_hangs_in_a_library_ends(number):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "recorded\n"
    assert "stopped while waiting for other processes" in err


def test_before_the_first_step_one_signal_is_enough_and_later_it_waits_for_the_step():
    before = signal.getsignal(signal.SIGTERM)

    def signalled():
        with InterruptHandler().install(lambda: None, lambda: None):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(InterruptedRunError):
        signalled()
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
    later = InterruptHandler()
    with later.install(lambda: None, lambda: None):
        later.steps_begin()
        os.kill(os.getpid(), signal.SIGTERM)
        assert later.requested


@pytest.mark.parametrize(
    ("devices", "nodes", "started", "said"),
    [
        (1, 2, {}, "nodes=2, but this is one process on one machine"),
        (2, 4, {"RANK": "0", "WORLD_SIZE": "2"}, "devices=2 on nodes=4 are 8 processes, and 2 were started"),
        (1, 2, {"WORLD_SIZE": "2"}, None),
        (1, 2, {"MASTER_ADDR": "a", "NODE_RANK": "1"}, None),
        (2, 1, {}, None),  # Lightning starts the other
        (1, 1, {"WORLD_SIZE": "8"}, None),
    ],
)
def test_machines_that_nothing_has_started_are_refused(devices, nodes, started, said, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_ADDR", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    if said is None:
        check_launched(devices, nodes)
        return
    with pytest.raises(InputError, match=said):
        check_launched(devices, nodes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_whose_other_machine_never_comes_is_stopped(number, tmp_path):
    script = """
import sys, modicum
from modicum.data.phantoms import write_fundus_dataset
from pathlib import Path
home = Path(sys.argv[1])
data = write_fundus_dataset(home / "data", 12, 40, seed=3, masks=False)
print("made", flush=True)
modicum.fit(data, "full", name="x", runs=home, backbone="test_resnet", weights="random", image_size=32, epochs=1,
            workers=0, device="cpu", nodes=2, leaks="allow")
"""
    more = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29731", "NODE_RANK": "0", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "made\n"
    until = time.monotonic() + 60
    while not (tmp_path / "x/model.json").is_file() and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(8)  # Lightning is imported, and waits
    process.send_signal(number)
    process.communicate(timeout=15)
    assert process.returncode in (1, 130)
    assert json.loads((tmp_path / "x/status.json").read_text())["state"] == "interrupted"
