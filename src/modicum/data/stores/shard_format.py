"""The format of a shard store on disk: the record's layout and the manifest ``store.json``.

See :mod:`modicum.data.stores.shards` for the folder as a whole.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from modicum.atomic_files import write_text
from modicum.errors import InputError, ModicumError

SCHEMA = 1
MANIFEST = "store.json"
DAMAGE_LIST = "damaged.txt"


class DamagedStoreError(ModicumError):
    """A store's files are damaged."""


class DamagedRecordError(DamagedStoreError):
    """One record's bytes do not match its checksum.

    Args:
        store: name of the store's folder.
        key: the record's key.
    """

    def __init__(self, store: str, key: str) -> None:
        self.store, self.key = store, key
        super().__init__(
            f"store {store}: record {key} is damaged", "build the store again: only this record is rebuilt"
        )

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.store, self.key)


@dataclass(frozen=True)
class RecordSpec:
    """Data type, shape and alignment of a record.

    Args:
        dtype: numpy's name with byte order, ``|u1`` or ``<f2``; other names are normalised.
        shape: shape of one record.
        align: records start at multiples of this many bytes in their shard; 4096 for records of megabytes, so
            that a record is whole pages.
    """

    dtype: str
    shape: tuple[int, ...]
    align: int = 1

    def __post_init__(self) -> None:
        kind = np.dtype(self.dtype)
        object.__setattr__(self, "dtype", kind.str)
        if kind.hasobject or not self.shape or self.nbytes == 0:
            raise ValueError(f"records of {kind} and shape {self.shape} cannot be stored")
        if self.stride % kind.itemsize:
            raise ValueError(f"align={self.align} is not a multiple of the {kind.itemsize} bytes of {kind}")

    @property
    def nbytes(self) -> int:
        """Bytes of one record."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def stride(self) -> int:
        """Bytes from one record's start to the next one's."""
        return -(-self.nbytes // self.align) * self.align


@dataclass(frozen=True)
class Shard:
    """One finished file. A slot whose key is None is unused (a duplicate, a damaged record)."""

    file: str
    sha256: str
    keys: tuple[str | None, ...]
    crc32: tuple[int, ...]

    def without(self, keys: Iterable[str]) -> "Shard":
        """This shard with the slots of ``keys`` unused."""
        dropped = set(keys)
        return replace(self, keys=tuple(None if key in dropped else key for key in self.keys))


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings after a round trip through JSON (tuples become lists), for comparison with stored ones."""
    return json.loads(json.dumps(dict(settings), sort_keys=True))


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the settings, in hexadecimal; the order of the entries does not matter."""
    return hashlib.sha256(json.dumps(plain(settings), sort_keys=True).encode()).hexdigest()


def store_folder(parent: Path, kind: str, settings: Mapping[str, Any]) -> Path:
    """The folder of the store with these settings: ``parent/kind-<first 16 digits of the settings' hash>``."""
    return parent / f"{kind}-{settings_hash(settings)[:16]}"


@dataclass
class StoreManifest:
    """The content of ``store.json``. It has no times or machine names: equal builds give equal bytes."""

    settings: dict[str, Any]
    spec: RecordSpec
    commits: int = 0
    shards: list[Shard] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        document = {
            "schema": SCHEMA,
            "settings": self.settings,
            "settings_sha256": settings_hash(self.settings),
            "record": {"dtype": self.spec.dtype, "shape": list(self.spec.shape), "align": self.spec.align},
            "commits": self.commits,
            "records": sum(key is not None for shard in self.shards for key in shard.keys),
            "shards": [
                {
                    "file": shard.file,
                    "records": len(shard.keys),
                    "sha256": shard.sha256,
                    "keys": list(shard.keys),
                    "crc32": list(shard.crc32),
                }
                for shard in self.shards
            ],
        }
        write_text(folder / MANIFEST, json.dumps(document, separators=(",", ":")))

    @classmethod
    def read(cls, folder: Path) -> "StoreManifest":
        """Reads ``store.json``.

        Raises:
            InputError: it does not exist, or was written by another version of modicum.
            DamagedStoreError: it is damaged.
        """
        again = f"delete the folder '{folder}' and build the store again"
        try:
            document = json.loads((folder / MANIFEST).read_bytes())
            schema = document["schema"]
        except FileNotFoundError:
            raise InputError(f"store {folder.name} has no {MANIFEST}", "build the store first") from None
        except (ValueError, KeyError, TypeError):
            raise DamagedStoreError(f"store {folder.name}: {MANIFEST} is damaged", again) from None
        if schema != SCHEMA:
            raise InputError(f"store {folder.name} has schema {schema}, this modicum reads {SCHEMA}", again)
        try:
            record = document["record"]
            spec = RecordSpec(record["dtype"], tuple(record["shape"]), record["align"])
            shards = [
                Shard(entry["file"], entry["sha256"], tuple(entry["keys"]), tuple(entry["crc32"]))
                for entry in document["shards"]
            ]
            if document["settings_sha256"] != settings_hash(document["settings"]):
                raise ValueError
            if any(not len(s.keys) == len(s.crc32) or Path(s.file).name != s.file for s in shards):
                raise ValueError
            return cls(document["settings"], spec, document["commits"], shards)
        except (ValueError, KeyError, TypeError):
            raise DamagedStoreError(f"store {folder.name}: {MANIFEST} is damaged", again) from None

    def check_settings(self, wanted: Mapping[str, Any], name: str, spec: RecordSpec | None = None) -> None:
        """Raises an InputError for the first setting that differs, or different records."""
        requested = plain(wanted)
        for key in sorted({*requested, *self.settings}):
            stored_value, requested_value = self.settings.get(key), requested.get(key)
            if stored_value != requested_value:
                raise InputError(
                    f"store {name}: it was built with {key}={stored_value!r}, not {key}={requested_value!r}",
                    "use those settings, or another folder",
                )
        if spec is not None and spec != self.spec:
            raise InputError(
                f"store {name}: its records are {self.spec}, not {spec}",
                "use another folder, or delete this one",
            )


def sound(folder: Path, manifest: StoreManifest, skip_damaged: bool) -> StoreManifest:
    """The manifest without damaged records, by file sizes and the damage list (no file is read).

    Raises:
        DamagedStoreError: a shard is missing or has another size, unless ``skip_damaged``.
    """
    listed: set[str] = set()
    if skip_damaged and (folder / DAMAGE_LIST).exists():
        listed = set((folder / DAMAGE_LIST).read_text(encoding="utf-8", errors="replace").splitlines())
    shards = []
    for shard in manifest.shards:
        path, size = folder / shard.file, len(shard.keys) * manifest.spec.stride
        file_size = path.stat().st_size if path.exists() else None
        if file_size == size:
            shards.append(shard.without(listed) if listed else shard)
        elif not skip_damaged:
            state = "is missing" if file_size is None else f"has {file_size} bytes instead of {size}"
            raise DamagedStoreError(
                f"store {folder.name}: {shard.file} {state}",
                "build the store again: only that shard is rebuilt",
            )
    return replace(manifest, shards=shards)
