"""The one thread of a run: requests that arrive together share a forward pass, and nobody's answer depends on it."""

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from modicum.data.readers.recent import forget_recent
from modicum.errors import ModicumError, ResourceError
from modicum.output_paths import system_error
from modicum.serving.answers import ImageAnswer, Wanted
from modicum.serving.limits import Refused
from modicum.serving.metrics import Metrics
from modicum.serving.uploads import Upload


class Predicts(Protocol):
    """What a worker needs of a run."""

    name: str
    batch_size: int

    def predict(self, uploads: Sequence[Upload], wanted: Wanted, scratch: Path) -> list[ImageAnswer]:
        """Answers in the order of the files."""


@dataclass(eq=False)
class Job:
    """One request's files, on their way through the worker.

    Attributes:
        folder: of the request; removed when neither the request nor the worker needs it.
        uploads: that can be read.
        wanted: what is computed.
        shared: whether it may be predicted together with other requests.
        future: gets the answers.
    """

    folder: Path
    uploads: list[Upload]
    wanted: Wanted
    shared: bool
    future: "Future[list[ImageAnswer]]" = field(default_factory=Future)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _running: bool = False
    _over: bool = False

    def start(self) -> bool:
        """Marks it as being worked on; False where nobody waits for it any more."""
        with self._lock:
            self._running = not self._over and self.future.set_running_or_notify_cancel()
            return self._running

    def end(self) -> None:
        """The worker is done with its files."""
        with self._lock:
            self._running = False
            if self._over:
                remove(self.folder)

    def release(self) -> None:
        """The request is over: answered, failed or given up."""
        self.future.cancel()
        with self._lock:
            self._over = True
            if not self._running:
                remove(self.folder)


def remove(folder: Path) -> None:
    """Removes a folder with all that is in it; nothing is said of one that is gone."""
    shutil.rmtree(folder, ignore_errors=True)


class Worker:
    """Predicts jobs in batches, one after another.

    Args:
        run: that predicts.
        scratch: folder for what is written meanwhile.
        wait: seconds that a batch waits for further jobs.
        metrics: counts batches and images.
    """

    def __init__(self, run: Predicts, scratch: Path, wait: float, metrics: Metrics) -> None:
        self._run, self._scratch, self._wait, self._metrics = run, scratch, wait, metrics
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=f"run {run.name}", daemon=True)

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    @property
    def alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answers what is waiting, then ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, job: Job) -> None:
        """Queues a job. Raises :class:`Refused` where the server is stopping."""
        with self._changed:
            if self._stopping:
                raise Refused(503, "stopping", "the server is stopping; try again in a moment", 5)
            self._queue.append(job)
            self._changed.notify_all()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._predict(batch)

    def _next_batch(self) -> list[Job]:
        """Jobs that share a batch; none when the thread is to end."""
        with self._changed:
            while not self._queue:
                if self._stopping:
                    return []
                self._changed.wait()
            batch = [self._queue.popleft()]
            images = len(batch[0].uploads)
            ends = time.monotonic() + self._wait
            while batch[0].shared and images < self._run.batch_size:
                if self._queue:
                    following = self._queue[0]
                    fits = images + len(following.uploads) <= self._run.batch_size
                    if not (following.shared and following.wanted == batch[0].wanted and fits):
                        break
                    batch.append(self._queue.popleft())
                    images += len(following.uploads)
                    continue
                left = ends - time.monotonic()
                if left <= 0 or self._stopping:
                    break
                self._changed.wait(left)
            return batch

    def _predict(self, batch: list[Job]) -> None:
        running = [job for job in batch if job.start()]
        if not running:
            return
        try:
            self._answer(running)
        finally:
            forget_recent()
            for job in running:
                job.end()

    def _answer(self, jobs: list[Job]) -> None:
        uploads = [upload for job in jobs for upload in job.uploads]
        scratch = self._scratch / uuid4().hex
        try:
            answers = self._run.predict(uploads, jobs[0].wanted, scratch)
        except Exception as error:
            if len(jobs) > 1:  # whosever fault it is, the others must not feel it
                remove(scratch)
                for job in jobs:
                    self._answer([job])
                return
            jobs[0].future.set_exception(refusal_of(error, uploads))
            return
        finally:
            remove(scratch)
        self._metrics.count("modicum_batches_total", run=self._run.name)
        self._metrics.count(
            "modicum_images_total", sum(one.error is None for one in answers), run=self._run.name
        )
        for job in jobs:
            count = len(job.uploads)
            job.future.set_result(answers[:count])
            answers = answers[count:]


def refusal_of(error: Exception, uploads: Sequence[Upload]) -> Refused:
    """What a client is told of an error: user errors in their words, without paths of this machine."""
    user_error = error if isinstance(error, ModicumError) else system_error(error)
    if isinstance(user_error, ResourceError) or isinstance(error, MemoryError):
        return Refused(
            503, "resources", "the server is out of memory or disk; send a smaller file, or try later", 10
        )
    if isinstance(user_error, ModicumError) and user_error is error:
        text = " ".join(str(error).split())
        for upload in uploads:
            text = text.replace(str(upload.path), upload.name)
        return Refused(422, "not_predictable", text)
    # Its text may hold anything, a patient's name too: only its kind is told and written.
    sys.stderr.write(f"modicum: internal error: {type(error).__name__} while predicting\n")
    return Refused(500, "internal", f"internal error ({type(error).__name__}); see the server's operator")
