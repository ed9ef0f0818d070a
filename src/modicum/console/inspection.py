"""Inspects a data set without training on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.data.checks.fingerprint import fingerprint, write_fingerprint
from modicum.data.checks.scan import scan
from modicum.data.layouts import load_manifest
from modicum.planning.inspect_table import inspect_tables


@dataclass(frozen=True)
class Inspection:
    """The tables to print, and the number of broken images."""

    tables: Sequence[Any]
    broken: int


def inspect_data(data: str, reading: Mapping[str, Any], out: Path, workers: int | None) -> Inspection:
    """Reads every image of a data set once and describes the data set.

    Args:
        data: what :func:`modicum.load` reads.
        reading: keyword arguments of :func:`modicum.data.layouts.load_manifest`.
        out: JSON file to write the facts to.
        workers: processes that decode images.
    """
    manifest = load_manifest(data, **{"slices": None, **reading}, missing="keep")
    result = scan(manifest.refs(), workers=workers)
    found = fingerprint(manifest, result, box_options=reading.get("box_options"))
    write_fingerprint(found, out)
    return Inspection(inspect_tables(found), len(result.broken))
