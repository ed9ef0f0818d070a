"""Builds a shard store so that finished records survive a kill, a full disk or a second process.

Nothing is part of the store until :meth:`ShardWriter.finalise` replaces ``store.json`` atomically. A killed build
resumes from its journal, and the same keys in the same order give a store with the same bytes
as one that was never killed.

Several processes can build one store together: each is a ``rank``, adds its own keys to its own shards and
closes; then rank 0 finalises, which adds all of them.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Shaped

from modicum.data.stores.shard_format import (
    DAMAGE_LIST,
    MANIFEST,
    RecordSpec,
    Shard,
    StoreManifest,
    plain,
    settings_hash,
    sound,
)
from modicum.data.stores.shard_journal import ShardsInProgress, journal_path
from modicum.data.stores.shards import ShardStore
from modicum.errors import ResourceError
from modicum.progress import say

# Free space to spare when the size of a build is checked before it starts.
SPARE_BYTES = 64 << 20


class ShardWriter:
    """Builds a store, or adds to one. Use it as a context manager: leaving it keeps finished records.

    Args:
        folder: the store's folder; created if missing.
        settings: everything that determines the records' content; must be JSON values.
        spec: data type and shape of a record.
        shard_bytes: maximum size of a shard file (unless one record is larger).
        rank: number of this process among those that build together.
        wait: seconds to wait for another process that writes the same store as the same rank; None to wait
            without limit.

    Raises:
        InputError: the folder contains a store with other settings or records.
        DamagedStoreError: its ``store.json`` cannot be read.
        ResourceError: another process still writes to it after ``wait`` seconds.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        spec: RecordSpec,
        *,
        shard_bytes: int = 256 << 20,
        rank: int = 0,
        wait: float | None = None,
    ) -> None:
        self.folder, self.spec, self.rank = folder, spec, rank
        self._settings = plain(settings)
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = locked(folder / f"rank-{rank:02d}.lock", wait)
        try:
            self._start(max(1, shard_bytes // spec.stride))
        except BaseException:
            self._lock.release()
            raise

    def _start(self, records_per_shard: int) -> None:
        self._manifest = StoreManifest(self._settings, self.spec)
        self._repairs = False
        if (self.folder / MANIFEST).exists():
            stored = StoreManifest.read(self.folder)
            stored.check_settings(self._settings, self.folder.name, self.spec)
            self._manifest = sound(self.folder, stored, skip_damaged=True)
            self._repairs = self._manifest.shards != stored.shards
        commits = self._manifest.commits
        header = json.dumps({"settings_sha256": settings_hash(self._settings), "commits": commits})
        stem = f"shard-{commits:03d}-{self.rank:02d}"
        with full_disk_named(self.folder):
            self._build = ShardsInProgress(self.folder, self.spec, header, stem, self.rank, records_per_shard)
        self._remove_files(f"{stem}-*")
        resumed = self._build.keys
        self._keys = {key for shard in self._manifest.shards for key in shard.keys if key is not None}
        self._keys.update(resumed)
        if resumed:
            say(f"store {self.folder.name}: resuming after {len(resumed)} records of an interrupted build")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, key: object) -> bool:
        """Whether the record is in the store or in this build."""
        return key in self._keys

    def check_space(self, records: int) -> None:
        """Checks that the disk has space for ``records`` more records, before any work is done.

        Raises:
            ResourceError: naming the needed and the free bytes.
        """
        check_space(self.folder, records * self.spec.stride, f"{records} records")

    def add(self, key: str, record: Shaped[np.ndarray, "..."]) -> bool:
        """Appends a record; returns False if the key exists already (nothing is written then).

        Raises:
            ResourceError: the disk is full. Records written before are kept, and the next build resumes.
        """
        if self._closed:
            raise ValueError("this writer is closed")
        if not key or "\n" in key:
            raise ValueError(f"{key!r} is not a valid key for a record")
        if record.shape != self.spec.shape or record.dtype != np.dtype(self.spec.dtype):
            raise ValueError(f"record is {record.dtype}{record.shape}, the store's are {self.spec}")
        if key in self._keys:
            return False
        try:
            with full_disk_named(self.folder):
                self._build.append(key, np.ascontiguousarray(record).data.cast("B"))
        except BaseException:
            self.close()  # half a record may be written: only a resumed build, which checks, may continue
            raise
        self._keys.add(key)
        return True

    def finalise(self, wait: float | None = 0.0) -> ShardStore:
        """Adds the records of all ranks to the store, atomically; closes the writer.

        Args:
            wait: seconds to wait for a rank that has not closed yet; None to wait without limit.

        Raises:
            ResourceError: another rank is still writing, or the disk is full.
        """
        if self.rank != 0:
            raise ValueError("rank 0 finalises, after the others have closed")
        with self, ExitStack() as rank_locks, full_disk_named(self.folder):
            self._build.finish_shard()
            added = [*self._build.finished, *self._shards_of_other_ranks(rank_locks, wait)]
            if added or self._repairs or not (self.folder / MANIFEST).exists():
                self._manifest.shards = without_duplicates([*self._manifest.shards, *added])
                self._manifest.commits += 1
                self._manifest.save(self.folder)
            self._build.close()
            self._build.finished.clear()
            # A build that is killed while replacing the manifest leaves the new one under another name.
            for pattern in ("shard-*", "journal-*.jsonl", f".{MANIFEST}.*.tmp", DAMAGE_LIST):
                self._remove_files(pattern)
        return ShardStore.open(self.folder, self._settings)

    def close(self) -> None:
        """Releases the store; unfinished work is kept on disk, to resume from."""
        if not self._closed:
            self._closed = True
            self._build.close()
            self._lock.release()

    def _shards_of_other_ranks(self, locks: ExitStack, wait: float | None) -> list[Shard]:
        """Finishes and returns the shards of other ranks; their locks are held until ``locks`` exits."""
        shards = []
        for path in sorted(self.folder.glob("journal-*.jsonl")):
            rank = int(path.stem.removeprefix("journal-"))
            if path != journal_path(self.folder, self.rank):
                writer = ShardWriter(self.folder, self._settings, self.spec, rank=rank, wait=wait)
                locks.enter_context(writer)
                writer._build.finish_shard()
                shards.extend(writer._build.finished)
        return shards

    def _remove_files(self, pattern: str) -> None:
        """Removes files matching a pattern that belong neither to the store nor to this build."""
        used = {shard.file for shard in self._manifest.shards} | self._build.files
        for path in self.folder.glob(pattern):
            if path.name not in used:
                path.unlink()


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Converts the system's error for a full disk into a :class:`ResourceError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        free = size_text(shutil.disk_usage(folder).free)
        raise ResourceError(
            f"store {folder.name}: writing failed, {os.strerror(error.errno)} ({free} free)",
            "free some space and run the same command again: finished records are kept",
        ) from None


def without_duplicates(shards: list[Shard]) -> list[Shard]:
    """Keeps only the first occurrence of each key; shards without remaining keys are dropped."""
    seen: set[str] = set()
    kept = []
    for shard in shards:
        unique = shard.without(seen)
        seen.update(key for key in unique.keys if key is not None)
        if any(key is not None for key in unique.keys):
            kept.append(unique)
    return kept


def locked(path: Path, wait: float | None) -> FileLock:
    """Takes a lock that the system releases when this process ends in any way.

    Args:
        path: the lock file; messages name its folder.
        wait: seconds to wait for another process; None to wait without limit.

    Raises:
        ResourceError: another process still holds it after ``wait`` seconds.
    """
    lock, name = FileLock(path), path.parent.name
    try:
        lock.acquire(timeout=0)
        return lock
    except Timeout:
        if wait != 0:
            say(f"store {name}: another process is building it; waiting")
    try:
        lock.acquire(timeout=-1 if wait is None else wait)
        return lock
    except Timeout:
        raise ResourceError(
            f"store {name}: another process is building it (waited {wait} s)",
            "wait until that process ends, or stop it",
        ) from None


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises a ResourceError, with the needed and free bytes, if the disk is too small."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise ResourceError(
            f"store {folder.name}: {what} need {size_text(needed)} ({needed} bytes) and "
            f"{size_text(SPARE_BYTES)} to spare, {size_text(free)} ({free} bytes) are free",
            "free some space, choose a folder on another disk, or store smaller or fewer records",
        )


def size_text(count: int) -> str:
    """Formats a number of bytes: ``2.4 GB``."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
