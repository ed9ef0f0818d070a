"""A store of fixed-size records: shard files, a manifest and checksums, read through memory maps.

It keeps results that do not change: decoded images, and features of a frozen backbone. A store is a folder::

    store.json                records and settings; replaced atomically, the only reference
    shard-000-00-00000.bin    records, nothing else; (commit, rank, number); never changed
    journal-*.jsonl, *.part   of a build in progress or killed: modicum.data.stores.shard_journal
    damaged.txt               records that a reader found damaged: the next build rebuilds them
    rank-*.lock               locks of writers

Reading is here, writing in :mod:`modicum.data.stores.shard_writer`, the file formats in
:mod:`modicum.data.stores.shard_format`.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from modicum.data.stores.shard_format import DAMAGE_LIST, DamagedRecordError, StoreManifest, sound
from modicum.progress import bar


class ShardStore:
    """Read-only view of a finished store. Picklable: each process opens its own memory maps on first read.

    A record's checksum is checked when a process first reads it, so that damaged data are never returned.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.settings = manifest.settings
        self.spec = manifest.spec
        self._shards = manifest.shards
        slots = [
            (key, number, slot, shard.crc32[slot])
            for number, shard in enumerate(manifest.shards)
            for slot, key in enumerate(shard.keys)
            if key is not None
        ]
        self._keys = [slot_of_key[0] for slot_of_key in slots]
        self._index = {key: index for index, key in enumerate(self._keys)}
        self._shard = np.array([slot_of_key[1] for slot_of_key in slots], dtype=np.int32)
        self._slot = np.array([slot_of_key[2] for slot_of_key in slots], dtype=np.int64)
        self._crc = np.array([slot_of_key[3] for slot_of_key in slots], dtype=np.uint32)
        self._forget_maps()

    @classmethod
    def open(
        cls, folder: Path, settings: Mapping[str, Any] | None = None, *, skip_damaged: bool = False
    ) -> "ShardStore":
        """Opens a store; checks its settings and the sizes of its files.

        Args:
            folder: the store's folder.
            settings: expected settings; None to accept any.
            skip_damaged: leave out shards that are missing or have another size, and records on the damage
                list, instead of raising, so that they can be rebuilt.

        Raises:
            InputError: there is no store, or a setting differs.
            DamagedStoreError: files are missing or have another size.
        """
        manifest = StoreManifest.read(folder)
        if settings is not None:
            manifest.check_settings(settings, folder.name)
        return cls(folder, sound(folder, manifest, skip_damaged))

    def _forget_maps(self) -> None:
        self._maps: dict[int, np.ndarray] = {}
        self._checked = np.zeros(len(self._keys), dtype=bool)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"_maps", "_checked"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget_maps()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    @property
    def keys(self) -> Sequence[str]:
        """The keys, by record index."""
        return self._keys

    @property
    def nbytes(self) -> int:
        """Bytes of all shard files."""
        return sum(len(shard.keys) for shard in self._shards) * self.spec.stride

    def index_of(self, key: str) -> int:
        """The index of the record of ``key``. Raises KeyError for an unknown key."""
        return self._index[key]

    def record(self, index: int) -> Shaped[np.ndarray, "..."]:
        """One record by index, without copying: a read-only view into the shard, checked when first read.

        Raises:
            DamagedRecordError: its bytes do not match its checksum. The record is added to the damage list.
        """
        view = self._records_of(int(self._shard[index]))[self._slot[index]]
        if not self._checked[index]:
            if zlib.crc32(view.data) != self._crc[index]:
                key = self._keys[index]
                self.report_damage([key])
                raise DamagedRecordError(self.folder.name, key)
            self._checked[index] = True
        return view

    def read(
        self,
        indices: Sequence[int] | np.ndarray,
        out: Shaped[np.ndarray, "batch ..."] | None = None,
        part: tuple[slice | list[int], ...] = (),
    ) -> Shaped[np.ndarray, "batch ..."]:
        """Copies records into one array, in the given order; the disk is read in its own order.

        Args:
            indices: record indices, see :meth:`index_of`.
            out: array to fill, for instance pinned memory; a new one if None.
            part: index into each record; only that part is copied.

        Raises:
            DamagedRecordError: see :meth:`record`.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if out is None:
            out = np.empty((len(wanted), *part_shape(self.spec.shape, part)), dtype=self.spec.dtype)
        for row in np.argsort(wanted, kind="stable"):
            out[row] = self.record(int(wanted[row]))[part]
        return out

    def verify(self) -> list[str]:
        """Checks all records and returns the keys of damaged ones."""
        damaged: list[str] = []
        with bar("checking store", len(self._shards)) as progress_bar:
            for number, shard in enumerate(self._shards):
                records = self._records_of(number)
                wrong = [
                    key
                    for slot, key in enumerate(shard.keys)
                    if key is not None and zlib.crc32(records[slot].data) != shard.crc32[slot]
                ]
                if not wrong and None not in shard.keys:
                    # Checks the padding and the checksums themselves.
                    with (self.folder / shard.file).open("rb") as file:
                        if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                            wrong = [key for key in shard.keys if key is not None]
                damaged.extend(wrong)
                progress_bar.advance()
        return damaged

    def report_damage(self, keys: Sequence[str]) -> None:
        """Adds records to the damage list; the next build of this store rebuilds them."""
        # A store on a read-only disk can still be read.
        with suppress(OSError), (self.folder / DAMAGE_LIST).open("a", encoding="utf-8") as file:
            file.write("".join(f"{key}\n" for key in keys))

    def _records_of(self, number: int) -> np.ndarray:
        records = self._maps.get(number)
        if records is None:
            shard = self._shards[number]
            size = len(shard.keys) * self.spec.stride
            raw = np.memmap(self.folder / shard.file, dtype=np.uint8, mode="r", shape=(size,))
            one = np.dtype((np.dtype(self.spec.dtype), self.spec.shape))
            records = np.ndarray((len(shard.keys),), dtype=one, buffer=raw, strides=(self.spec.stride,))
            self._maps[number] = records
        return records


def part_shape(shape: tuple[int, ...], part: tuple[slice | list[int], ...]) -> tuple[int, ...]:
    """The shape of ``array[part]`` for an array of ``shape``."""
    return np.broadcast_to(np.zeros((), dtype=np.uint8), shape)[part].shape
