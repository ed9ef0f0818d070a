"""Which file holds which record of an image store, and what is known of each image (its facts).

A file is known by the hash of its absolute path (so that a store holds no paths), its size and its time of
change: one that has not changed is not read again. Kept as Parquet; while a build is under way, new rows go to
a journal first, so that a killed build loses none.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.image import ImageRef
from modicum.data.scan import ImageFacts
from modicum.data.shard_format import replace_file

CATALOGUE = "facts.parquet"
PENDING = "facts-pending.jsonl"
_OWN_COLUMNS = ("item", "size", "mtime_ns", "key")  # the others are the facts


@dataclass(frozen=True)
class FileState:
    """What tells that a file is the same as before, without reading it."""

    size: int
    mtime_ns: int


def item_of(ref: ImageRef) -> str:
    """Identifies an image of this machine (path and part) without telling its path."""
    text = str(ref.path.resolve()) + "\0" + part_of(ref)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def part_of(ref: ImageRef) -> str:
    """The part of the file: ``#axis=2&index=80``; empty for the file as a whole."""
    parts = [("array", ref.array), ("frame", ref.frame), ("axis", ref.axis), ("index", ref.index)]
    chosen = "&".join(f"{name}={value}" for name, value in parts if value is not None)
    return f"#{chosen}" if chosen else ""


class Catalogue:
    """Rows of one image store: by image, the file's state, the record's key and the facts."""

    def __init__(self, folder: Path) -> None:
        self._path, self._pending = folder / CATALOGUE, folder / PENDING
        self._table: pa.Table | None = None
        self._journal: BinaryIO | None = None
        self._new: dict[str, dict[str, Any]] = {}
        self._row: dict[str, int] = {}
        self._known: dict[str, tuple[FileState, str]] = {}
        self._item_of_key: dict[str, str] = {}
        if self._path.exists():
            try:
                self._table = pq.read_table(self._path)
                columns = [self._table[name].to_pylist() for name in _OWN_COLUMNS]
            except (pa.ArrowInvalid, OSError, KeyError):
                # Damaged: without it, the images are read once more, which writes a good one.
                self._table, columns = None, [[] for _ in _OWN_COLUMNS]
            for number, (item, size, mtime_ns, key) in enumerate(zip(*columns, strict=True)):
                self._row[item] = number
                self._learn(item, size, mtime_ns, key)
        for row in self._read_pending():
            self._new[row["item"]] = row
            self._learn(row["item"], row["size"], row["mtime_ns"], row["key"])

    def _learn(self, item: str, size: int, mtime_ns: int, key: str) -> None:
        self._known[item] = FileState(size, mtime_ns), key
        self._item_of_key.setdefault(key, item)

    def _read_pending(self) -> list[dict[str, Any]]:
        if not self._pending.exists():
            return []
        rows = []
        for line in self._pending.read_bytes().split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                row["thumbnail"] = base64.b64decode(row["thumbnail"])
            except (ValueError, KeyError):
                continue  # torn by a kill: that image is read once more
            rows.append(row)
        return rows

    @property
    def keys(self) -> frozenset[str]:
        """Keys of all images whose facts are known."""
        return frozenset(self._item_of_key)

    def key_of(self, item: str, state: FileState) -> str | None:
        """The record's key, if the file is the one that was read; None if it is new or has changed."""
        known = self._known.get(item)
        return known[1] if known is not None and known[0] == state else None

    def add(self, item: str, state: FileState, key: str, facts: ImageFacts | None) -> None:
        """Notes an image that was read; ``facts`` is None where another image with the same key has them."""
        if facts is None:
            same = self._item_of_key[key]
            row = {**self._rows([same])[0]}
        else:
            row = asdict(facts)
        row |= {"item": item, "size": state.size, "mtime_ns": state.mtime_ns, "key": key, "ref": ""}
        self._new[item] = row
        self._learn(item, state.size, state.mtime_ns, key)
        line = json.dumps(row | {"thumbnail": base64.b64encode(row["thumbnail"]).decode()})
        if self._journal is None:
            self._journal = self._pending.open("ab", buffering=0)
        # The line end first: what a kill tore off before cannot spoil this line.
        self._journal.write(b"\n" + line.encode() + b"\n")

    def save(self) -> None:
        """Writes all rows in one step."""
        if self._new:
            kept = [number for item, number in self._row.items() if item not in self._new]
            tables = [pa.Table.from_pylist(list(self._new.values()))]
            if self._table is not None and kept:
                tables.insert(0, self._table.take(kept))
            merged = pa.concat_tables(tables, promote_options="permissive")
            sink = pa.BufferOutputStream()
            pq.write_table(merged, sink, compression="zstd")
            replace_file(self._path, sink.getvalue().to_pybytes())
            self._table, self._new = merged, {}
            self._row = {item: number for number, item in enumerate(merged["item"].to_pylist())}
        self.close()
        self._pending.unlink(missing_ok=True)

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the journal; what is in it is not lost."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def facts(self, items: Iterable[str]) -> list[ImageFacts]:
        """The facts of images, in order; their ``ref`` is empty. Raises KeyError for an unknown image."""
        found = []
        for row in self._rows(list(items)):
            known = {name: value for name, value in row.items() if name not in _OWN_COLUMNS}
            spacing = known.pop("spacing")
            found.append(ImageFacts(**known, spacing=None if spacing is None else tuple(spacing)))
        return found

    def _rows(self, items: list[str]) -> list[dict[str, Any]]:
        stored = [item for item in items if item not in self._new]
        found = dict(self._new)
        if stored and self._table is not None:
            rows = self._table.take([self._row[item] for item in stored]).to_pylist()
            found |= zip(stored, rows, strict=True)
        return [found[item] for item in items]
