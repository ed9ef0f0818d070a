"""The catalogue of an image store: which file has which record, and the facts of each record.

A file is identified by the hash of its absolute path (so that a store contains no paths), its size and its time of
change: one that has not changed is not read again. Facts belong to the content, by the record's key. Both are
kept as Parquet; during a build, rows go to a journal first, so that a killed build loses none.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
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
_AT_ONCE = 20_000
"""Rows that are dictionaries at a time: 50 MB."""
_FILE_COLUMNS = ("item", "size", "mtime_ns", "key")


def item_of(ref: ImageRef) -> str:
    """A hash that identifies an image of this machine (path and part) without its path."""
    text = f"{ref.path.absolute()}\0{ref.part}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


class DamagedFactsError(Exception):
    """The file of facts cannot be read: the images have to be read again."""


class Catalogue:
    """The files and facts of one image store; a context manager for adding rows.

    A damaged file counts as absent: the images are then read again, which writes a good one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal: BinaryIO | None = None
        self._facts_row = _facts_rows(folder / FACTS)
        self._new_facts: dict[str, ImageFacts] = {}
        columns = [column(folder / FILES, name) for name in _FILE_COLUMNS]
        whole = len({len(values) for values in columns}) == 1  # a damaged column is empty
        rows = zip(*columns, strict=True) if whole else ()
        self._files: dict[str, list[Any]] = {item: file_row for item, *file_row in rows}
        self._has_new = False
        self._read_pending()
        self._sizes = {file_row[0] for file_row in self._files.values()}

    def _read_pending(self) -> None:
        path = self._folder / PENDING
        for line in path.read_bytes().split(b"\n") if path.exists() else []:
            try:
                row = json.loads(line)
                facts = row["facts"]
                if facts is not None:
                    facts["thumbnail"] = base64.b64decode(facts["thumbnail"])
                    self._new_facts[row["key"]] = ImageFacts.of_row(facts)
                self._files[row["item"]] = [row["size"], row["mtime_ns"], row["key"]]
                self._has_new = True
            except (ValueError, KeyError, TypeError):
                continue  # torn by a kill: that image is read again

    def has_facts(self, key: str | None) -> bool:
        """Whether the facts of a record are known."""
        return key in self._facts_row or key in self._new_facts

    def has_size(self, size: int) -> bool:
        """Whether a file of that size was ever read."""
        return size in self._sizes

    def key_of(self, item: str, state: FileState) -> str | None:
        """The record's key if the file is unchanged since it was read; None if it is new or has changed."""
        size, mtime_ns, key = self._files.get(item, (None, None, None))
        unchanged = (size, mtime_ns) == (state.size, state.mtime_ns)
        return key if unchanged and self.has_facts(key) else None

    def forget(self, items: Iterable[str]) -> None:
        """Forgets which records files have, so that they are read again; facts and records stay."""
        for item in items:
            self._has_new |= self._files.pop(item, None) is not None

    def add(self, item: str, state: FileState, key: str, facts: ImageFacts | None) -> None:
        """Adds an image that was read; ``facts`` is None if those of the key are known."""
        row: dict[str, Any] = {"item": item, "size": state.size, "mtime_ns": state.mtime_ns, "key": key}
        written = None
        if facts is not None:
            self._new_facts[key] = replace(facts, ref="")
            thumbnail = base64.b64encode(facts.thumbnail).decode()
            written = self._new_facts[key].as_row() | {"thumbnail": thumbnail}
        self._files[item] = [state.size, state.mtime_ns, key]
        self._has_new = True
        if self._journal is None:
            self._journal = (self._folder / PENDING).open("ab", buffering=0)
        # The line end first: a line torn by a kill cannot damage this one.
        self._journal.write(b"\n" + json.dumps(row | {"facts": written}).encode() + b"\n")

    def save(self) -> None:
        """Writes the added rows; each file atomically, facts first."""
        if self._has_new:
            tables = [_table_of(self._new_facts, keys) for keys in batched(self._new_facts)]
            if self._facts_row:
                old = read_parquet(self._folder / FACTS)
                kept = [row for key, row in self._facts_row.items() if key not in self._new_facts]
                tables.insert(0, old.take(pa.array(kept, pa.int64())))
            if tables:
                write_table(self._folder / FACTS, pa.concat_tables(tables, promote_options="permissive"))
            file_columns = zip(*self._files.values(), strict=True)
            columns = [list(self._files), *map(list, file_columns)]
            write_table(self._folder / FILES, pa.table(dict(zip(_FILE_COLUMNS, columns, strict=True))))
        self.close()
        (self._folder / PENDING).unlink(missing_ok=True)

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the journal; its rows are kept."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def facts(self, keys: Sequence[str]) -> list[ImageFacts]:
        """Facts by the records' keys, in order; their ``ref`` is empty.

        Raises:
            KeyError: an unknown key.
            DamagedFactsError: the file is damaged.
        """
        try:
            return self._facts(keys)
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise DamagedFactsError(f"'{FACTS}' of the image store is damaged") from error

    def _facts(self, keys: Sequence[str]) -> list[ImageFacts]:
        facts_by_key = dict(self._new_facts)
        wanted = {key: self._facts_row[key] for key in keys if key not in facts_by_key}
        first = 0
        # Neither the table nor rows as dictionaries, which take three times the memory of the facts, at once.
        for part in _parts(self._folder / FACTS) if wanted else ():
            own = [row for row, key in enumerate(part["key"].to_pylist()) if wanted.get(key) == first + row]
            for row in part.take(pa.array(own, pa.int64())).to_pylist():
                key = row.pop("key")
                facts_by_key[key] = ImageFacts.of_row(row)
            first += part.num_rows
        return [facts_by_key[key] for key in keys]


def _parts(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, :data:`_AT_ONCE` at a time."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from file.iter_batches(_AT_ONCE)


def batched(keys: Iterable[str]) -> Iterator[list[str]]:
    """Keys in lists of :data:`_AT_ONCE`."""
    following = iter(keys)
    while some := list(islice(following, _AT_ONCE)):
        yield some


def _table_of(facts: Mapping[str, ImageFacts], keys: Sequence[str]) -> pa.Table:
    return pa.Table.from_pylist([{"key": key, **facts[key].as_row()} for key in keys])


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
    """One column of a Parquet file; empty if the file is absent or damaged."""
    try:
        return read_parquet(path, columns=[name])[name].to_pylist()
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return []


def write_table(path: Path, table: pa.Table) -> None:
    """Writes a Parquet file atomically."""
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def read_parquet(path: Path, **options: Any) -> pa.Table:
    """Reads a Parquet file, with its checksums where it has some. Raises ArrowException or OSError for damage."""
    return pq.read_table(path, page_checksum_verification=True, **options)
