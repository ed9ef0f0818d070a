"""Inspects a data set without training on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.data.checks.fingerprint import fingerprint, write_fingerprint
from modicum.data.checks.identifiers import find_identifiers, identifier_warnings
from modicum.data.checks.scan import scan
from modicum.data.layouts import load_manifest
from modicum.data.layouts.files_read import files_of, files_read
from modicum.data.processes import usable_cores
from modicum.output_paths import check_files, check_output
from modicum.planning.inspect_table import inspect_tables


@dataclass(frozen=True)
class Inspection:
    """The tables to print, and the number of broken images."""

    tables: Sequence[Any]
    broken: int


def inspect_data(data: str, reading: Mapping[str, Any], out: Path, workers: int | None) -> Inspection:
    """Reads every image of a data set once, and what lies beside it as ``fit`` does, and describes the data set.

    Args:
        data: what :func:`modicum.load` reads.
        reading: keyword arguments of :func:`modicum.data.layouts.load_manifest`.
        out: JSON file to write the facts to.
        workers: processes that decode images.
    """
    manifest = load_manifest(data, **{"slices": None, **reading}, missing="keep")
    check_output(
        "--out", out, files_read(Path(data), manifest, reading.get("split_lists"), reading.get("columns"))
    )
    check_files("--out", [out], files_of(manifest))
    result = scan(manifest.refs(), workers=workers)
    facts = fingerprint(manifest, result, box_options=reading.get("box_options"))
    # The engine's checks load PyTorch, which takes seconds: not before the images have been read.
    from modicum.engine.inputs.inspected import inspected

    beside = inspected(manifest, result.facts, usable_cores() if workers is None else workers)
    others = [*beside.warnings, *identifier_warnings(find_identifiers(manifest))]
    further = [{**vars(warning), "examples": list(warning.examples)} for warning in others]
    facts["warnings"] = sorted([*further, *facts["warnings"]], key=lambda warning: not warning["stops"])
    facts["notes"] += [note for note in beside.notes if note not in facts["notes"]]
    write_fingerprint(facts, out)
    return Inspection(inspect_tables(facts), len(result.broken))
