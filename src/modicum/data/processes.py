"""Applies a function to many items in several processes, where an item may crash its process."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Chunks in flight per worker: enough to keep workers busy, few enough to bound memory.
_AHEAD = 3


def available_bytes() -> int:
    """The machine's memory that is available without swapping; all of it where the system does not report that."""
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_cores() -> int:
    """Number of CPUs that this process may use; in a container or under a scheduler often fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[[Item], Answer],
    items: Sequence[Item],
    workers: int,
    lost: Callable[[Item], Answer],
    chunk: int = 16,
) -> Iterator[Answer]:
    """Applies the function to all items, and yields the results in order.

    Args:
        function: importable by name from a module; its exceptions are raised here.
        items: picklable.
        workers: number of processes; 0 for this one.
        lost: the result for an item that crashed the process (a crash in a decoder, or the system's out-of-memory
            killer). Such an item is found by running the items in flight again, one at a time.
        chunk: number of items per task.
    """
    if workers <= 0:
        yield from map(function, items)
        return
    chunks = [items[at : at + chunk] for at in range(0, len(items), chunk)]
    done = 0
    while done < len(chunks):
        pool = _pool(min(workers, len(chunks) - done))
        waiting: deque[tuple[Sequence[Item], Future[list[Answer]]]] = deque()
        following = iter(chunks[done:])
        try:
            while True:
                while len(waiting) < _AHEAD * workers and (part := next(following, None)) is not None:
                    waiting.append((part, _submit(pool, function, part)))
                if not waiting:
                    return
                answers = waiting[0][1].result()
                waiting.popleft()
                done += 1
                yield from answers
        except BrokenProcessPool:
            for part, future in waiting:
                done += 1
                if future.done() and future.exception() is None:
                    yield from future.result()
                else:
                    yield from _each_alone(function, part, lost)
            # A chunk that could not be submitted is still to come.
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _each_alone(
    function: Callable[[Item], Answer], items: Sequence[Item], lost: Callable[[Item], Answer]
) -> Iterator[Answer]:
    pool = _pool(1)
    try:
        for item in items:
            try:
                yield _submit(pool, function, [item]).result()[0]
            except BrokenProcessPool:
                yield lost(item)
                pool.shutdown(wait=True)
                pool = _pool(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawn: a fork of a process with running threads of PyTorch or OpenCV can hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[Item], Answer], items: Sequence[Item]
) -> "Future[list[Answer]]":
    with _hidden_main():  # submitting starts processes
        return pool.submit(_apply, function, items)


def _apply(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    return [function(item) for item in items]


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    parent = parent_process()
    if parent is not None:
        # A worker whose parent was killed would wait for work forever.
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Prevents new processes from importing the user's script, which would run again unless it is guarded."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
