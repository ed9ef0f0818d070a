"""Keeps the texts of report files, so that a file that has not changed is not opened again.

A Parquet file in the folder of the stores, ``report-files-<hash of the folder>.parquet``. Like the images beside it, it
holds data of patients. A file is known by a hash of its path, its size and its time of change.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from modicum.atomic_files import atomic_file
from modicum.data.file_content import FileState

# Of how files become texts: another number where that changes, so that texts of before are not used.
_RULES = 1


class KeptText(NamedTuple):
    """What reading a file gave.

    Attributes:
        text: None where the file cannot be used.
        changes: how it was changed.
        reason: why it cannot be used; empty where it can.
    """

    text: str | None
    changes: list[str]
    reason: str


class KeptFiles:
    """The texts of the files below one folder. A damaged or missing file of them counts as empty.

    Args:
        stores: where stores are kept; None to keep nothing.
        root: the data's folder.
    """

    def __init__(self, stores: Path | None, root: Path) -> None:
        digest = hashlib.sha256(f"{_RULES}\0{root}".encode(errors="surrogateescape")).hexdigest()[:16]
        self._path = None if stores is None else stores / f"report-files-{digest}.parquet"
        self._known: dict[str, tuple[FileState, KeptText]] = {}
        self._new = 0
        self._loaded = False

    def get(self, path: Path, state: FileState) -> KeptText | None:
        """What a file gave when it was read; None where it was not, or has changed since."""
        if self._path is None:
            return None
        if not self._loaded:
            self._known = _read(self._path)
            self._loaded = True
        known = self._known.get(_item(path))
        return known[1] if known is not None and known[0] == state else None

    def add(self, path: Path, state: FileState, kept: KeptText) -> None:
        """Adds what a file gave; :meth:`save` writes it."""
        if self._path is not None:
            self._known[_item(path)] = state, kept
            self._new += 1

    def save(self) -> None:
        """Writes what was added, atomically."""
        if self._path is None or not self._new:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        states, texts = zip(*self._known.values(), strict=True)
        columns = {
            "item": pa.array(list(self._known), pa.string()),
            "size": pa.array([state.size for state in states], pa.int64()),
            "mtime_ns": pa.array([state.mtime_ns for state in states], pa.int64()),
            "text": pa.array([kept.text for kept in texts], pa.large_string()),
            "changes": pa.array(["\n".join(kept.changes) for kept in texts], pa.string()),
            "reason": pa.array([kept.reason for kept in texts], pa.string()),
        }
        with atomic_file(self._path) as file:
            pq.write_table(pa.table(columns), file, compression="zstd", write_page_checksum=True)
        self._new = 0


def _item(path: Path) -> str:
    return hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:32]


def _read(path: Path) -> dict[str, tuple[FileState, KeptText]]:
    if not path.is_file():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        columns = [
            table[name].to_pylist() for name in ("item", "size", "mtime_ns", "text", "changes", "reason")
        ]
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return {}
    return {
        item: (FileState(size, mtime_ns), KeptText(text, changes.split("\n") if changes else [], reason))
        for item, size, mtime_ns, text, changes, reason in zip(*columns, strict=True)
    }
