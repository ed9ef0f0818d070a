"""Which file holds which record of an image store, and what is known of each record (its facts).

A file is known by the hash of its absolute path (so that a store holds no paths), its size and its time of
change: one that has not changed is not read again. Facts belong to the content, by the record's key. Both are
kept as Parquet; while a build is under way, rows go to a journal first, so that a killed build loses none.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from modicum.atomic_files import atomic_file
from modicum.data.file_content import FileState
from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts

FILES = "files.parquet"
FACTS = "facts.parquet"
PENDING = "pending.jsonl"
_PLACED = ("dicom", "nifti")
_FILE_COLUMNS = ("item", "size", "mtime_ns", "key")


def item_of(ref: ImageRef) -> str:
    """Identifies an image of this machine (path and part) without telling its path."""
    text = f"{ref.path.absolute()}\0{ref.part}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


class Catalogue:
    """The files and facts of one image store. A context manager while rows are added.

    A file of it that is damaged counts as absent: the images are then read once more, which writes a good one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal: BinaryIO | None = None
        self._facts_row = _facts_rows(folder / FACTS)
        self._new_facts: dict[str, dict[str, Any]] = {}
        columns = [column(folder / FILES, name) for name in _FILE_COLUMNS]
        self._files: dict[str, list[Any]] = {item: known for item, *known in zip(*columns, strict=True)}
        self._has_new = False
        self._read_pending()
        self._sizes = {known[0] for known in self._files.values()}

    def _read_pending(self) -> None:
        path = self._folder / PENDING
        for line in path.read_bytes().split(b"\n") if path.exists() else []:
            try:
                row = json.loads(line)
                facts = row["facts"]
                if facts is not None:
                    facts["thumbnail"] = base64.b64decode(facts["thumbnail"])
                    self._new_facts[row["key"]] = facts
                self._files[row["item"]] = [row["size"], row["mtime_ns"], row["key"]]
                self._has_new = True
            except (ValueError, KeyError, TypeError):
                continue  # torn by a kill: that image is read once more

    def has_facts(self, key: str | None) -> bool:
        """Whether the facts of a record are known."""
        return key in self._facts_row or key in self._new_facts

    def has_size(self, size: int) -> bool:
        """Whether a file of that size was ever read."""
        return size in self._sizes

    def key_of(self, item: str, state: FileState) -> str | None:
        """The record's key, if the file is the one that was read; None if it is new or has changed."""
        size, mtime_ns, key = self._files.get(item, (None, None, None))
        known = (size, mtime_ns) == (state.size, state.mtime_ns)
        return key if known and self.has_facts(key) else None

    def add(self, item: str, state: FileState, key: str, facts: ImageFacts | None) -> None:
        """Notes an image that was read; ``facts`` is None where those of the key are known."""
        row: dict[str, Any] = {"item": item, "size": state.size, "mtime_ns": state.mtime_ns, "key": key}
        written = None
        if facts is not None:
            self._new_facts[key] = asdict(facts) | {"ref": ""}
            thumbnail = base64.b64encode(facts.thumbnail).decode()
            written = self._new_facts[key] | {"thumbnail": thumbnail}
        self._files[item] = [state.size, state.mtime_ns, key]
        self._has_new = True
        if self._journal is None:
            self._journal = (self._folder / PENDING).open("ab", buffering=0)
        # The line end first: what a kill tore off before cannot spoil this line.
        self._journal.write(b"\n" + json.dumps(row | {"facts": written}).encode() + b"\n")

    def save(self) -> None:
        """Writes what was added; each file in one step, facts first."""
        if self._has_new:
            rows = [{"key": key, **facts} for key, facts in self._new_facts.items()]
            tables = [pa.Table.from_pylist(rows)] if rows else []
            if self._facts_row:
                old = pq.read_table(self._folder / FACTS)
                kept = [row for key, row in self._facts_row.items() if key not in self._new_facts]
                tables.insert(0, old.take(pa.array(kept, pa.int64())))
            if tables:
                write_table(self._folder / FACTS, pa.concat_tables(tables, promote_options="permissive"))
            known = zip(*self._files.values(), strict=True)
            columns = [list(self._files), *map(list, known)]
            write_table(self._folder / FILES, pa.table(dict(zip(_FILE_COLUMNS, columns, strict=True))))
        self.close()
        (self._folder / PENDING).unlink(missing_ok=True)

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the journal; what is in it is not lost."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def facts(self, keys: Sequence[str]) -> list[ImageFacts]:
        """Facts by the records' keys, in order; their ``ref`` is empty. Raises KeyError for an unknown key."""
        stored = sorted({key for key in keys if key not in self._new_facts})
        found = dict(self._new_facts)
        if stored:
            rows = pq.read_table(self._folder / FACTS).take([self._facts_row[key] for key in stored])
            found |= zip(stored, rows.drop_columns("key").to_pylist(), strict=True)
        return [ImageFacts.of_row(found[key]) for key in keys]


def _facts_rows(path: Path) -> dict[str, int]:
    """In which row the facts of a record are.

    Earlier versions did not keep where an image lies: facts of formats that may say it are then not known.
    """
    keys = column(path, "key")
    if keys and "plane" not in pq.read_schema(path).names:
        formats = column(path, "format")
        return {key: row for row, key in enumerate(keys) if formats[row] not in _PLACED}
    return {key: row for row, key in enumerate(keys)}


def column(path: Path, name: str) -> list[Any]:
    """One column of a Parquet file; empty where the file is absent or damaged."""
    try:
        return pq.read_table(path, columns=[name])[name].to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return []


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a Parquet file in one step."""
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")
