"""Shards while they are written: each record gets a line in a journal, from which a killed build resumes.

Order of events for one shard: its records and their journal lines; sync of the shard; the journal's line that
the shard is complete; sync of the journal; the shard gets its final name. After a kill or power cut at any moment,
records in the journal whose checksums match are kept, and the rest is written again.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from modicum.atomic_files import sync_folder
from modicum.data.stores.shard_format import RecordSpec, Shard

# Windows would otherwise translate line ends in the records.
_BINARY = getattr(os, "O_BINARY", 0)


def journal_path(folder: Path, rank: int) -> Path:
    """The journal of one rank."""
    return folder / f"journal-{rank:02d}.jsonl"


def journalled_keys(folder: Path) -> set[str]:
    """Keys of all records that any rank has written to a store and that are not finalised yet."""
    keys: set[str] = set()
    for path in folder.glob("journal-*.jsonl"):
        with suppress(FileNotFoundError):  # finalised meanwhile
            for line in path.read_bytes().split(b"\n")[1:-1]:
                with suppress(ValueError):  # torn by a kill
                    kind, *values = json.loads(line)
                    keys |= {values[0]} if kind == "record" else set()
    return keys


class ShardsInProgress:
    """The shards that one rank adds to a store.

    Args:
        folder: the store's folder.
        spec: what one record is.
        header: first line of this build's journal; a journal with another one is deleted.
        stem: first part of the shards' file names.
        rank: rank of the journal.
        records_per_shard: number of records of a shard.
    """

    def __init__(
        self, folder: Path, spec: RecordSpec, header: str, stem: str, rank: int, records_per_shard: int
    ) -> None:
        self.finished: list[Shard] = []
        self.open_keys: list[str] = []
        self._open_crcs: list[int] = []
        self._folder, self._spec, self._stem = folder, spec, stem
        self._records_per_shard = records_per_shard
        self._part = -1
        path = journal_path(folder, rank)
        self._journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        lines = path.read_bytes().split(b"\n")[:-1]  # an incomplete last line was torn
        kept = self._replay(lines) if lines and lines[0] == header.encode() else 0
        os.ftruncate(self._journal, kept)
        if not kept:
            write_all(self._journal, header.encode() + b"\n")
        if len(self.open_keys) >= records_per_shard:
            self.finish_shard()

    @property
    def keys(self) -> list[str]:
        """Keys of all records that are written, in the order they were added."""
        return [key for shard in self.finished for key in shard.keys if key is not None] + self.open_keys

    @property
    def files(self) -> set[str]:
        """Names of the shard files that are in use."""
        unfinished = {self._part_path.name} if self._part >= 0 else set()
        return {shard.file for shard in self.finished} | unfinished

    def append(self, key: str, content: memoryview) -> None:
        """Writes one record of ``spec.nbytes`` bytes. Raises OSError on errors of the system."""
        if self._part < 0:
            self._part = os.open(self._part_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
            self._digest = hashlib.sha256()
        for piece in (content, memoryview(bytes(self._spec.stride - self._spec.nbytes))):
            write_all(self._part, piece)
            self._digest.update(piece)
        crc = zlib.crc32(content)
        self._note("record", key, crc)
        self.open_keys.append(key)
        self._open_crcs.append(crc)
        if len(self.open_keys) >= self._records_per_shard:
            self.finish_shard()

    def finish_shard(self) -> None:
        """Closes the open shard, full or not; does nothing if there is none."""
        if not self.open_keys:
            return
        os.fsync(self._part)
        self._close_part()
        # The journal is written before renaming: a resumed build completes the renaming.
        self._note("shard", self._digest.hexdigest())
        os.fsync(self._journal)
        self._part_path.replace(self._final_path)
        sync_folder(self._folder)
        self._shard_is_done(self._digest.hexdigest())

    def close(self) -> None:
        """Syncs and closes the files; unfinished ones are kept, to resume from."""
        if self._journal < 0:
            return
        for descriptor in (self._part, self._journal):
            if descriptor >= 0:
                with suppress(OSError):  # a full disk was already reported
                    os.fsync(descriptor)
        self._close_part()
        os.close(self._journal)
        self._journal = -1

    @property
    def _final_path(self) -> Path:
        return self._folder / f"{self._stem}-{len(self.finished):05d}.bin"

    @property
    def _part_path(self) -> Path:
        return self._final_path.with_suffix(".bin.part")

    def _note(self, kind: str, *values: str | int) -> None:
        write_all(self._journal, json.dumps([kind, *values], separators=(",", ":")).encode() + b"\n")

    def _close_part(self) -> None:
        if self._part >= 0:
            os.close(self._part)
            self._part = -1

    def _shard_is_done(self, digest: str) -> None:
        self.finished.append(
            Shard(self._final_path.name, digest, tuple(self.open_keys), tuple(self._open_crcs))
        )
        self.open_keys, self._open_crcs = [], []

    # Resuming after a kill.

    def _replay(self, lines: Sequence[bytes]) -> int:
        """Restores the journal's records that are intact on disk; returns the bytes of the journal that are valid."""
        kept = offset = len(lines[0]) + 1
        record_ends: list[int] = []
        for line in lines[1:]:
            try:
                kind, *values = json.loads(line)
            except ValueError:
                break
            offset += len(line) + 1
            if kind == "record":
                self.open_keys.append(values[0])
                self._open_crcs.append(values[1])
                record_ends.append(offset)
            elif self._shard_is_whole():
                self._shard_is_done(values[0])
                kept, record_ends = offset, []
            else:
                self.open_keys, self._open_crcs = [], []
                return kept
        good = self._reopen_part()
        del self.open_keys[good:], self._open_crcs[good:]
        return record_ends[good - 1] if good else kept

    def _shard_is_whole(self) -> bool:
        """Whether a shard that is finished in the journal exists; completes its renaming."""
        if not self._final_path.exists() and self._part_path.exists():
            self._part_path.replace(self._final_path)
        size = len(self.open_keys) * self._spec.stride
        return self._final_path.exists() and self._final_path.stat().st_size == size

    def _reopen_part(self) -> int:
        """Opens the unfinished shard after its last intact record; returns the number of intact records."""
        if not self._part_path.exists():
            return 0
        self._digest, good = hashlib.sha256(), 0
        with self._part_path.open("rb") as file:
            for crc in self._open_crcs:
                content = file.read(self._spec.stride)
                if len(content) < self._spec.stride or zlib.crc32(content[: self._spec.nbytes]) != crc:
                    break
                self._digest.update(content)
                good += 1
        if good:
            self._part = os.open(self._part_path, os.O_RDWR | _BINARY)
            os.ftruncate(self._part, good * self._spec.stride)
            os.lseek(self._part, 0, os.SEEK_END)
        return good


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Calls ``os.write`` until everything is written."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
