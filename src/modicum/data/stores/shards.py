"""A store of fixed-size records: raw shard files, one manifest, checksums, read through memory maps.

Frozen work is done once and kept here: decoded images now, what a frozen backbone says of each image next.
A store is a folder::

    store.json                what was stored and under which settings; replaced in one step, the only truth
    shard-000-00-00000.bin    records one after another, nothing else; (commit, rank, number); never changed
    journal-*.jsonl, *.part   while a build is under way or was killed: modicum.data.stores.shard_journal
    damaged.txt               after a reader met a damaged record: the next build makes those again
    rank-*.lock               who writes

Reading is here, writing in :mod:`modicum.data.stores.shard_writer`, the files themselves in
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
    """Read-only view of a finished store. Picklable: each process opens its own memory maps, when first read.

    A record's checksum is compared when a process first reads it, so that damage is never handed on.
    """

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.settings = manifest.settings
        self.spec = manifest.spec
        self._shards = manifest.shards
        places = [
            (key, number, slot, shard.crc32[slot])
            for number, shard in enumerate(manifest.shards)
            for slot, key in enumerate(shard.keys)
            if key is not None
        ]
        self._keys = [place[0] for place in places]
        self._position = {key: position for position, key in enumerate(self._keys)}
        self._shard = np.array([place[1] for place in places], dtype=np.int32)
        self._slot = np.array([place[2] for place in places], dtype=np.int64)
        self._crc = np.array([place[3] for place in places], dtype=np.uint32)
        self._forget_maps()

    @classmethod
    def open(
        cls, folder: Path, settings: Mapping[str, Any] | None = None, *, skip_damaged: bool = False
    ) -> "ShardStore":
        """Opens a store; checks its settings and its files' sizes.

        Args:
            folder: the store's folder.
            settings: what the store must have been built with; None to take it as it is.
            skip_damaged: leave out shards that are missing or have another size, and records on the damage
                list, rather than raise, so that they can be built again.

        Raises:
            InputError: no store there, or other settings; the setting is named.
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
        return key in self._position

    @property
    def keys(self) -> Sequence[str]:
        """The keys, in the order of positions."""
        return self._keys

    @property
    def nbytes(self) -> int:
        """Bytes of all shard files."""
        return sum(len(shard.keys) for shard in self._shards) * self.spec.stride

    def position_of(self, key: str) -> int:
        """Where the record of ``key`` is among all records. Raises KeyError for an unknown key."""
        return self._position[key]

    def record(self, position: int) -> Shaped[np.ndarray, "..."]:
        """One record, without copying: a read-only view into the shard, checked when first read.

        Raises:
            DamagedRecordError: its bytes are not what was written. The record goes on the damage list.
        """
        view = self._records_of(int(self._shard[position]))[self._slot[position]]
        if not self._checked[position]:
            if zlib.crc32(view.data) != self._crc[position]:
                key = self._keys[position]
                self.report_damage([key])
                raise DamagedRecordError(self.folder.name, key)
            self._checked[position] = True
        return view

    def read(
        self,
        positions: Sequence[int] | np.ndarray,
        out: Shaped[np.ndarray, "batch ..."] | None = None,
        part: tuple[slice | list[int], ...] = (),
    ) -> Shaped[np.ndarray, "batch ..."]:
        """Copies records into one array, in the order asked for; the disk is read in its own order.

        Args:
            positions: as :meth:`position_of` gives them.
            out: array to fill, for instance pinned memory; a new one if None.
            part: index into each record; only that part is copied.

        Raises:
            DamagedRecordError: see :meth:`record`.
        """
        asked = np.asarray(positions, dtype=np.int64)
        if out is None:
            out = np.empty((len(asked), *part_shape(self.spec.shape, part)), dtype=self.spec.dtype)
        for row in np.argsort(asked, kind="stable"):
            out[row] = self.record(int(asked[row]))[part]
        return out

    def verify(self) -> list[str]:
        """Reads everything and returns the keys of damaged records; none if all is as it was written."""
        damaged: list[str] = []
        with bar("checking store", len(self._shards)) as shown:
            for number, shard in enumerate(self._shards):
                records = self._records_of(number)
                wrong = [
                    key
                    for slot, key in enumerate(shard.keys)
                    if key is not None and zlib.crc32(records[slot].data) != shard.crc32[slot]
                ]
                if not wrong and None not in shard.keys:
                    # Guards the padding and the checksums themselves.
                    with (self.folder / shard.file).open("rb") as file:
                        if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                            wrong = [key for key in shard.keys if key is not None]
                damaged.extend(wrong)
                shown.advance()
        return damaged

    def report_damage(self, keys: Sequence[str]) -> None:
        """Puts records on the damage list; the next build of this store makes them again."""
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
    """The shape that an index cuts out of an array of ``shape``."""
    return np.broadcast_to(np.zeros((), dtype=np.uint8), shape)[part].shape
