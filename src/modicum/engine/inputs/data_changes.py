"""What has changed in the data of a run since it was started: a run only goes on with the data that it began with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modicum.data.manifest import LABELS_PREFIX, Manifest, path_columns
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.run_folder import RunFolder, read_table
from modicum.errors import InputError
from modicum.tasks import Task
from modicum.wording import count_of, listed

AUXILIARY = "auxiliary_sha256"
"""Key of ``fingerprint.json``: a digest of the content of all masks (targets, ...), by column."""
_PRIVATE = ("patient",)
_DIGESTS = {"sha256": "file", "near_hash": "picture"}
"""Columns of what is in an image's file, and what changes with them."""


def check_same_data(folder: RunFolder, prepared: PreparedData, task: Task) -> None:
    """Raises :class:`InputError` where a run is resumed with other data, with what has changed.

    Args:
        folder: of a run that was started before.
        prepared: the data now.
        task: the task for them.
    """
    changes = data_changes(folder, prepared)
    if folder.model.is_file():
        classes = read_table(folder.model).get("task", {})
        before = classes.get("classes") if isinstance(classes, dict) else None
        now = task.to_dict().get("classes")
        if before is not None and now is not None and list(before) != list(now):
            changes.append(f"the classes were {listed(before, 8)}, now {listed(now, 8)}")
    if changes:
        raise InputError(
            f"the data of run '{folder.name}' have changed since it was started: {'; '.join(changes)}",
            "restore them, or train anew (another --name, or --overwrite)",
        )


def data_changes(folder: RunFolder, prepared: PreparedData) -> list[str]:
    """What differs between the data that a run was started with and the present ones, a phrase each; empty if nothing."""
    if not folder.manifest.is_file():
        return []
    before = Manifest.read_saved(folder.manifest, Path())
    return [*manifest_changes(before, prepared.with_digests()), *_auxiliary_changes(folder, prepared)]


def manifest_changes(before: Manifest, now: Manifest) -> list[str]:
    """Differences of two tables; columns that one version of modicum keeps and another does not are not compared."""
    old, new = _by_image(before.table), _by_image(now.table)
    gone, added = (old.index.difference(new.index), new.index.difference(old.index))
    changes = []
    if len(gone):
        changes.append(f"{count_of(len(gone), 'image')} gone ({gone[0][0]})")
    if len(added):
        changes.append(f"{count_of(len(added), 'image')} new ({added[0][0]})")
    both = old.index.intersection(new.index)
    for column in old.columns:
        if column in new.columns and column != "near_hash":
            changes += _column_changes(str(column), old.loc[both, column], new.loc[both, column])
        elif column not in new.columns and column not in _DIGESTS:
            changes.append(f"column '{column}' is gone")
    if not changes and list(before.table["image"]) != list(now.table["image"]):
        changes.append("the order of the rows")  # which decides what is in a batch
    return changes


def _column_changes(column: str, old: pd.Series, new: pd.Series) -> list[str]:
    before, after = _texts(old), _texts(new)
    rows = np.flatnonzero(before != after)
    if not len(rows):
        return []
    image = old.index[rows[0]][0]
    if column in _DIGESTS:
        return [f"{count_of(len(rows), _DIGESTS[column])} of another content ({image})"]
    what = column.removeprefix(LABELS_PREFIX)
    if column in _PRIVATE:
        return [f"{what} of {count_of(len(rows), 'image')} ({image})"]
    return [
        f"{what} of {count_of(len(rows), 'image')} ({image}: was '{before[rows[0]]}', now '{after[rows[0]]}')"
    ]


def _by_image(table: pd.DataFrame) -> pd.DataFrame:
    """The table by image and, where one is there several times, by its turn."""
    turn = table.groupby("image").cumcount()
    return table.drop(columns="image").set_index(pd.MultiIndex.from_arrays([table["image"], turn]))


def _texts(values: pd.Series) -> np.ndarray:
    return np.array(["" if pd.isna(value) else str(value) for value in values], dtype=object)


def _auxiliary_changes(folder: RunFolder, prepared: PreparedData) -> list[str]:
    """Columns of masks (targets, ...) of which a file's content has changed."""
    before: Mapping[str, Any] = read_table(folder.fingerprint) if folder.fingerprint.is_file() else {}
    digests = before.get(AUXILIARY)
    if not isinstance(digests, dict):  # a run of an earlier version
        return []
    changed = [name for name, now in prepared.auxiliary_digests.items() if digests.get(name, now) != now]
    files = path_columns(changed)
    return [f"{'files of ' if name in files else ''}column '{name}' of another content" for name in changed]
