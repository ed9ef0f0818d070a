"""Tables as JSON lines (``metadata.jsonl``, as Hugging Face's image folders have them): an object a line."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.data.manifest import text_column
from modicum.data.table_cells import decode
from modicum.errors import InputError

SUFFIX = ".jsonl"


def read_lines(path: Path, most: int | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The table as text, and the lines of its rows.

    Args:
        path: the file.
        most: read that many rows only.

    Raises:
        InputError: a line is no JSON object.
    """
    rows: list[dict[str, Any]] = []
    origins: list[str] = []
    with path.open("rb") as file:
        for number, line in islice(enumerate(file, start=1), None if most is None else 2 * most):
            if not line.strip():
                continue
            try:
                read = json.loads(decode(line)[0])
            except ValueError:
                read = None
            if not isinstance(read, dict):
                raise InputError(
                    f"{path.name} line {number} is no JSON object",
                    'write {"image": "a.png", "label": "x"} a line',
                )
            rows.append({str(name): _plain(value) for name, value in read.items()})
            origins.append(f"line {number}")
            if most is not None and len(rows) >= most:
                break
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: text_column(row.get(name) for row in rows) for name in names}), origins


def _plain(value: Any) -> Any:
    """Objects as text, and an empty list as one that says that nothing is there."""
    if value == []:
        return "[]"
    return json.dumps(value) if isinstance(value, dict) else value
