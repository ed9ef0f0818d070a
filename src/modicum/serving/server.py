"""Starts and ends a server: everything that can be wrong is said before the port is opened."""

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import uvicorn

from modicum.errors import InputError
from modicum.progress import say, set_quiet
from modicum.serving.answers import Wanted
from modicum.serving.app import Service, make_app
from modicum.serving.gate import Access, Gate
from modicum.serving.limits import Limits
from modicum.serving.served_run import ServedRun
from modicum.serving.uploads import Upload

_SHORTEST_TOKEN = 16


def serve(
    runs: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits = Limits(),  # noqa: B008 - a value
    token_file: Path | None = None,
    allow_hosts: Sequence[str] = (),
    device: str | None = None,
) -> None:
    """Serves runs until the process is told to end (SIGTERM, Ctrl-C); requests that are under way are answered.

    Args:
        runs: run folders.
        host: address to listen on.
        port: to listen on; 0 for any that is free.
        limits: of each request.
        token_file: file with the token that requests must bear.
        allow_hosts: names by which others call this server.
        device: where to compute.

    Raises:
        InputError: a run is unfinished or damaged, the token is too short, or the port is in use.
    """
    token = None if token_file is None else read_token(token_file)
    served = opened(runs, limits, device)
    with (
        TemporaryDirectory(prefix="modicum-serve-") as private,
        bound(host, port) as listening,
    ):
        for run in served:
            warm_up(run, Path(private))
        service = Service(served, limits, Path(private))
        access = Access(frozenset(name.lower() for name in (*allow_hosts, host)), token)
        app = Gate(make_app(service), access, list(service.runs), service.metrics, limits.max_upload)
        for line in greeting(served, host, listening.getsockname()[1], token is not None):
            say(line)
        _run(app, listening, limits)


def opened(runs: Sequence[str | Path], limits: Limits, device: str | None = None) -> list[ServedRun]:
    """The runs, loaded. Raises :class:`InputError` for one that cannot answer, and for two of one name."""
    names = Counter(Path(path).resolve().name for path in runs)
    for name, count in names.items():
        if count > 1:
            raise InputError(
                f"{count} runs are called '{name}'", "rename a run folder: names are addresses here"
            )
    return [ServedRun(Path(path), device, limits.batch_size) for path in runs]


def read_token(path: Path) -> bytes:
    """The token in a file, without blanks around it. Raises :class:`InputError` for none, or one that can be guessed."""
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"--token-file '{path}' cannot be read ({error.strerror})", "name a file that holds the token"
        ) from error
    if len(token) < _SHORTEST_TOKEN or b"\n" in token:
        raise InputError(
            f"--token-file '{path}' does not hold one token of {_SHORTEST_TOKEN} characters or more",
            "write one into it, for instance with: openssl rand -hex 32",
        )
    return token


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises :class:`InputError` where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"cannot listen on {host}, port {port} ({reason})", "choose another --port or --host"
            ) from error
        yield listening


def warm_up(run: ServedRun, private: Path) -> None:
    """Predicts a grey image, so that what is wrong with a run shows now, and the first request does not wait."""
    height, width = run.recipe.image.size
    path = private / "warm-up.png"
    grey = np.full((height, width), 128, np.uint8)
    grey[height // 4 : height // 2, width // 4 : width // 2] = 64
    cv2.imwrite(str(path), grey)
    upload = Upload(path.name, path, "png")
    made = private / f"warm-up-{run.name}"
    with no_notices():
        run.predict([upload], Wanted(), made)
    path.unlink()
    rmtree(made, ignore_errors=True)


@contextmanager
def no_notices() -> Iterator[None]:
    """Within, predictions say nothing: notices name files."""
    from modicum.progress import quietly

    with quietly():
        yield


def greeting(runs: Sequence[ServedRun], host: str, port: int, token: bool) -> list[str]:
    """What is served, where, and what to know of it."""
    shown = f"[{host}]" if ":" in host else host
    lines = [f"run '{run.name}': {run.task.name} by {run.recipe.method}" for run in runs]
    lines.append(f"http://{shown}:{port} (a page to drop images on); /docs describes the API")
    if not _is_loopback(host):
        wants = "no authentication: put it behind a proxy that authenticates, or pass --token-file"
        if token:
            wants = "without encryption: put it behind a proxy with TLS"
        lines.append(f"note: other machines can reach {host}, {wants}")
    return lines


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _run(app: Gate, listening: socket.socket, limits: Limits) -> None:
    """Serves until a signal; uvicorn hands it on when it has ended, where it must not end this process too."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(limits.timeout)),
    )
    server = uvicorn.Server(config)
    set_quiet(True)  # notices of predictions name files
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
        server.run(sockets=[listening])
    finally:
        set_quiet(False)
