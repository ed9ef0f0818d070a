"""Saves facts of a scan as a Parquet file, so that the next scan reads only changed files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modicum.atomic_files import atomic_file
from modicum.data.checks.scan import KnownFacts, ScanResult
from modicum.data.image_facts import ImageFacts

# Increase whenever the same file would give other facts than before.
VERSION = b"1"
_SCHEMA = pa.schema(
    [
        ("ref", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("bits", pa.int32()),
        ("mode", pa.string()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("slices", pa.int64()),
        ("mislabelled", pa.bool_()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("spacing", pa.list_(pa.float64())),
        ("thumbnail", pa.binary()),
        ("orientation", pa.int32()),
        ("decoded", pa.list_(pa.int64())),
        ("cropped", pa.list_(pa.int64())),
        ("plane", pa.list_(pa.float64())),
        ("mtime_ns", pa.int64()),
    ],
    metadata={b"modicum_facts": VERSION},
)


def save_facts(result: ScanResult, path: Path) -> None:
    """Writes the facts of the readable images, atomically; broken ones are read again next time."""
    rows = [{**facts.as_row(), "mtime_ns": result.mtimes_ns.get(facts.ref)} for facts in result.facts]
    table = pa.Table.from_pylist([row for row in rows if row["mtime_ns"] is not None], schema=_SCHEMA)
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def load_facts(path: Path) -> dict[str, KnownFacts]:
    """Facts by reference; empty if the file is missing, damaged or of another version."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        if (table.schema.metadata or {}).get(b"modicum_facts") != VERSION or table.schema != _SCHEMA:
            return {}
        rows = table.to_pylist()
    except (OSError, pa.ArrowException, ValueError):
        return {}
    facts_by_ref: dict[str, KnownFacts] = {}
    for row in rows:
        mtime_ns = row.pop("mtime_ns")
        facts = ImageFacts.of_row(row)
        facts_by_ref[facts.ref] = KnownFacts(facts, mtime_ns)
    return facts_by_ref
