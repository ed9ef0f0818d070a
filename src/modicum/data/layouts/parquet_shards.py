"""Data sets of several Parquet files with the images inside, as Hugging Face writes them.

``data/train-00000-of-00002.parquet``, ``test.parquet``, ``default/train/0000.parquet``: the split is the name's first
word, or that of the folder.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.parquet_table import holds_images
from modicum.data.layouts.table import named_table_in, read_table, tables_of
from modicum.data.manifest import Manifest, path_columns
from modicum.errors import InputError
from modicum.wording import count_of

_PLACES = ("*.parquet", "data/*.parquet", "default/*/*.parquet", "*/*.parquet")
_PART = re.compile(r"(?P<split>[A-Za-z]*)[-_.]?(?P<part>\d*)([-_]of[-_]\d+)?(-[0-9a-f]{16})?")


def shards_in(folder: Path) -> list[tuple[Path, str | None]]:
    """The files of a data set in several Parquet files, with their splits; none where it is something else.

    A table of another kind beside them goes before.
    """
    if named_table_in(folder) is not None or any(
        path.suffix.lower() != ".parquet" for path in tables_of(folder)
    ):
        return []
    for place in _PLACES:
        files = sorted(path for path in folder.glob(place) if not path.name.startswith("."))
        parts = [(path, _split(path, folder)) for path in files]
        if len(files) == 1 and files[0].parent == folder:
            return []  # a table as any other
        if files and all(found is not None for _, found in parts) and all(map(holds_images, files)):
            return [(path, found or None) for path, found in parts]
    return []


def _split(path: Path, folder: Path) -> str | None:
    """The split that a file's name or folder says, empty where it is a part of something; None for other names."""
    match = _PART.fullmatch(path.stem)
    if match is None:
        return None
    words = [match["split"]] if path.parent == folder else [match["split"], path.parent.name]
    named = next((split for word in words if (split := split_of(word)) is not None), None)
    return named or ("" if match["part"] else None)


def read_shards(
    folder: Path,
    shards: Sequence[tuple[Path, str | None]],
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> Manifest:
    """One table of several Parquet files.

    Raises:
        InputError: a file cannot be read, or they have other columns than each other.
    """
    parts: list[Manifest] = []
    for path, split in shards:
        part = read_table(path, columns)
        below = path.parent.relative_to(folder).as_posix()
        table = part.table.copy()
        if below != ".":
            for column in path_columns(table):
                table[column] = table[column].map(lambda text, b=below: f"{b}/{text}", na_action="ignore")
        if split is not None and "split" not in table:
            table["split"] = split
        if parts and set(table) != set(parts[0].table):
            other = min(map(str, set(table) ^ set(parts[0].table)))
            raise InputError(
                f"'{path.name}' and '{shards[0][0].name}' differ in column '{other}'",
                "pass one of the files, or write them with the same columns",
            )
        origins = [f"{path.name} {origin}" for origin in part.origins]
        parts.append(replace(part, table=table, origins=origins))
    counts = ", ".join(
        f"{path.name} ({count_of(len(part), 'row')})"
        for (path, _), part in list(zip(shards, parts, strict=True))[:4]
    )
    note = f"read as one table of {count_of(len(parts), 'Parquet file')}: {counts}{', ...' if len(parts) > 4 else ''}"
    return Manifest(
        pd.concat([part.table for part in parts], ignore_index=True),
        folder.absolute(),
        source=folder.name,
        name=folder.absolute().name,
        notes=list(dict.fromkeys([note, *(one for part in parts for one in part.notes)])),
        origins=[origin for part in parts for origin in part.origins],
    )
