"""What is known of images, for decisions over a set of them."""

from collections.abc import Sequence

import pandas as pd

from modicum.data.manifest import Manifest
from modicum.methods.decision import Rows


def rows_known(manifest: Manifest) -> Rows:
    """Names, patients, eyes and domains of all rows of a manifest."""
    return rows_of([str(name) for name in manifest.table["image"]], manifest.table)


def rows_of(names: Sequence[str], facts: pd.DataFrame) -> Rows:
    """Images by name, with what a table's columns ``patient``, ``eye`` and ``domain`` say of each."""
    return Rows(list(names), *(_texts(facts, column) for column in ("patient", "eye", "domain")))


def _texts(table: pd.DataFrame, column: str) -> list[str | None]:
    if column not in table:
        return [None] * len(table)
    return [None if pd.isna(value) or value == "" else str(value) for value in table[column]]
