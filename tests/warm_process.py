"""Python processes that start in milliseconds: children of one that has imported modicum, which takes seconds.

>>> done = run("-c", "import sys; print(sys.argv)", "word")  # as `python -c ... word`
>>> done = run("-m", "modicum", "methods")

Each is a process of its own, with its arguments, output and exit code, and can be killed as any other. It has *imported*
what the engine needs and done nothing else. Tests of imports and of launchers start Python itself.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


class Process:
    """A child of the warm process, as far as tests need one."""

    def __init__(self, words: tuple[object, ...], env: Mapping[str, str] | None) -> None:
        self.args = [str(word) for word in words]
        self._folder = tempfile.TemporaryDirectory(prefix="modicum-test-")
        self._place = Path(self._folder.name)
        request = {
            "words": self.args, "env": dict(os.environ if env is None else env), "cwd": str(Path.cwd()),
            "place": str(self._place),
        }  # fmt: skip
        server = _server()
        assert server.stdin is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()

    def wait(self, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        """What it came to. Raises TimeoutExpired, and has it killed, where it takes longer."""
        ends, file = time.monotonic() + timeout, self._place / "code"
        while not file.exists():
            if time.monotonic() > ends:
                if (pid := self._place / "pid").exists():
                    os.kill(int(pid.read_text()), signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout)
            assert _server().poll() is None, "the warm process has ended"
            time.sleep(0.01)
        out, err = ((self._place / name).read_text(errors="replace") for name in ("out", "err"))
        code = int(file.read_text())
        self._folder.cleanup()
        return subprocess.CompletedProcess(self.args, code, out, err)


def start(*words: object, env: Mapping[str, str] | None = None) -> Process:
    """Starts ``python WORDS`` in the current folder."""
    return Process(words, env)


def run(
    *words: object, env: Mapping[str, str] | None = None, timeout: float = 240
) -> "subprocess.CompletedProcess[str]":
    """Runs ``python WORDS`` to its end."""
    return start(*words, env=env).wait(timeout)


def launch(count: int, *words: object, timeout: float = 240) -> list["subprocess.CompletedProcess[str]"]:
    """Runs ``python WORDS`` in some processes that train together, with the environment that ``torchrun`` gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    processes = [
        start(*words, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    return [process.wait(timeout) for process in processes]


@cache
def _server() -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True)
    atexit.register(_end, process)
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


# --- the warm process ---------------------------------------------------------------------------------------------------


def serve() -> None:
    """Reads a request a line, makes a child for each and notes how it ended, until nobody asks any more."""
    import torch

    import modicum.api
    import modicum.console
    import modicum.engine.training.stage_trainer  # noqa: F401

    torch.set_num_threads(1)
    running: dict[int, Path] = {}
    asked, rest = True, b""
    while asked or running:
        ready = asked and select.select([0], [], [], 0.01 if running else None)[0]
        if ready:
            read = os.read(0, 1 << 20)
            asked = bool(read)
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if not (pid := os.fork()):
                    _be(request)
                running[pid] = Path(request["place"])
                (running[pid] / "pid").write_text(str(pid))
        elif not asked:
            time.sleep(0.01)
        for pid, place in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                if place.exists():
                    (place / "ends").write_text(str(os.waitstatus_to_exitcode(status)))
                    (place / "ends").rename(place / "code")


def _be(request: dict[str, Any]) -> None:
    """Is the asked process, to its end."""
    place = Path(request["place"])
    for number, (name, mode) in enumerate(((os.devnull, "r"), (place / "out", "w"), (place / "err", "w"))):
        with open(name, mode) as file:  # noqa: PTH123 - the null device
            os.dup2(file.fileno(), number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    code = 0
    try:
        option, what, *words = request["words"]
        sys.argv = [option, *words]
        sys.path.insert(0, "")
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        if option == "-c":
            exec(compile(what, "<string>", "exec"), main.__dict__)  # noqa: S102 - a test's own script
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        if isinstance(stopped.code, str):
            sys.stderr.write(f"{stopped.code}\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # as Python does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
