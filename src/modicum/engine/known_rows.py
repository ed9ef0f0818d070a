"""What is known of images, for decisions over a set of them."""

from collections.abc import Sequence

import pandas as pd

from modicum.data.manifest import Manifest
from modicum.methods.decision import Rows


def rows_known(manifest: Manifest) -> Rows:
    """Names, patients, eyes and domains of all rows of a manifest."""
    table = manifest.table
    return Rows(
        [str(name) for name in table["image"]],
        *(_texts(table, column) for column in ("patient", "eye", "domain")),
    )


def rows_unknown(names: Sequence[str]) -> Rows:
    """Images of which nothing but the name is known."""
    nothing: list[str | None] = [None] * len(names)
    return Rows(list(names), nothing, nothing, nothing)


def _texts(table: pd.DataFrame, column: str) -> list[str | None]:
    if column not in table:
        return [None] * len(table)
    return [None if pd.isna(value) or value == "" else str(value) for value in table[column]]
