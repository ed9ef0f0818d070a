"""Starting and ending a server: what is wrong is said before the port is opened, what is under way is answered."""

import os
import shutil
import signal
import socket
import threading
import time
import urllib.request

import pytest
from made_runs import made_run
from served_files import volume

from modicum.errors import InputError
from modicum.serving import check_extra
from modicum.serving.limits import Limits
from modicum.serving.server import bound, greeting, opened, read_token, serve
from warm_process import start

SERVER = "import sys, tempfile; tempfile.tempdir = sys.argv.pop(1); from modicum.__main__ import main; main()"


def test_an_unfinished_run_is_said_before_the_port_is_opened(run_folders, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run_folders["classes"], unfinished)
    (unfinished / "weights.safetensors").unlink()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # were it opened first, this would be the error
        with pytest.raises(InputError, match="run 'unfinished' has no trained weights"):
            serve([unfinished], port=taken.getsockname()[1])


def test_a_damaged_run_is_one_line(run_folders, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(run_folders["classes"], damaged)
    (damaged / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json"):
        opened([damaged], Limits())


def test_an_encoder_says_that_it_predicts_nothing(tmp_path):
    folder = made_run(tmp_path / "encoder", "lesion_contrast")
    with pytest.raises(InputError, match="predicts nothing by itself"):
        opened([folder.path], Limits())


def test_two_runs_of_one_name_are_refused(run_folders, tmp_path):
    shutil.copytree(run_folders["classes"], tmp_path / "classes")
    with pytest.raises(InputError, match="2 runs are called 'classes'"):
        opened([run_folders["classes"], tmp_path / "classes"], Limits())


def test_a_port_in_use_is_said():
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1, port {port}"):
            bound("127.0.0.1", port).__enter__()


def test_other_machines_are_mentioned_only_where_they_can_come(runs):
    one = [runs["classes"]]
    assert not [line for line in greeting(one, "127.0.0.1", 8000, False) if line.startswith("note")]
    assert "no authentication: put it behind a proxy" in greeting(one, "0.0.0.0", 8000, False)[-1]
    assert "without encryption" in greeting(one, "192.168.1.2", 8000, True)[-1]


@pytest.mark.parametrize("content", [b"short\n", b"0123456789abcdef\n0123456789abcdef\n"])
def test_a_token_that_can_be_guessed_is_refused(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InputError, match="does not hold one token"):
        read_token(tmp_path / "token")
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    "bad",
    [{"max_upload": 0}, {"queue": 0}, {"timeout": 0}, {"wait": -1}, {"batch_size": 0}, {"max_files": -1}],
)
def test_limits_out_of_range_name_their_option(bad):
    with pytest.raises(InputError, match=r"^--"):
        Limits(**bad)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("modicum.serving.find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(InputError, match=r"needs uvicorn, .*pip install 'modicum\[serve\]'"):
        check_extra()


def test_what_is_under_way_is_answered_after_sigterm_and_nothing_stays(run_folders, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "t").mkdir()
    process = start("-c", SERVER, tmp_path / "t", "serve", run_folders["translation"], "--port", port)
    address = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + 240
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"{address}/ready", timeout=5).close()
            break
        except OSError:
            time.sleep(0.05)
    private = next((tmp_path / "t").glob("modicum-serve-*"))
    assert private.stat().st_mode & 0o777 == 0o700
    # A compressed volume waits two seconds before it is read: long enough to be interrupted.
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="v.nii.gz"\r\n\r\n'
    body += volume(tmp_path) + b"\r\n--b--\r\n"
    request = urllib.request.Request(
        f"{address}/runs/translation/predict?form=file",
        body,
        {"Content-Type": "multipart/form-data; boundary=b"},
    )
    answers = []

    def ask():
        with urllib.request.urlopen(request, timeout=240) as answer:
            answers.append((answer.status, answer.read()[:2]))

    asking = threading.Thread(target=ask)
    asking.start()
    ends = time.monotonic() + 240
    while not list(private.glob("*/0/v.nii.gz")):
        assert time.monotonic() < ends
        time.sleep(0.01)
    os.kill(int((process._place / "pid").read_text()), signal.SIGTERM)
    asking.join(240)
    done = process.wait(240)
    assert answers == [(200, b"\x1f\x8b")]
    assert done.returncode == 0
    assert list((tmp_path / "t").glob("modicum-serve-*")) == []
    assert "v.nii" not in done.stderr
    assert "POST /runs/translation/predict 200" in done.stderr
