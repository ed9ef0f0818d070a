"""The rows that come out of a step, as a table that later steps read: ``data: step:NAME``.

Of a predict step they are the rows of its data with its outputs in place of the images, without those that it made
nothing of. Of a fit step they are the rows that it learned from and was scored on, with the split that it gave them.
Labels, patients, masks and all that lies beside an image stay as they were.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modicum.data.layouts.table import table_columns
from modicum.data.manifest import LABELS_PREFIX, Manifest, path_columns, split_reference
from modicum.data.table_cells import as_written
from modicum.errors import InputError

_REPORT = "report"
_VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class StepTable:
    """A table that a step left, or will leave.

    Attributes:
        path: the CSV file.
        images: the folder that its paths are relative to, if not the table's own.
        read_as: by role, what its columns were called where they were read before.
    """

    path: Path
    images: Path | None = None
    read_as: Mapping[str, Collection[str]] = field(default_factory=dict)

    def columns(self, asked: Mapping[str, Any], usual: bool = False) -> dict[str, Any]:
        """The columns by role that a step asks for, as this table has them.

        A plan names the columns of its data once more in every step; what they are called in a data set that a step has
        read already has the name of its role here.

        Args:
            asked: columns by role.
            usual: whether nobody asked for them: they are those of the run's training.
        """
        there = table_columns(self.path)
        findings = any(name.startswith(LABELS_PREFIX) for name in there)
        kept = {}
        for role, name in asked.items():
            names = [name] if isinstance(name, str) else name if isinstance(name, list) else []
            known = role in there or (role == "labels" and findings)
            before = usual or set(names) <= set(self.read_as.get(role, ()))
            if known and before and not all(one in there for one in names):
                continue
            kept[role] = name
        return kept


def named_columns(settings: Iterable[Mapping[str, Any]]) -> set[str]:
    """The names of columns that steps ask for: only these, and columns with a meaning, go into tables of steps."""
    return {name for values in settings for names in columns_of(values).values() for name in names}


def columns_of(settings: Mapping[str, Any]) -> dict[str, set[str]]:
    """The names of columns by role that a step asks for."""
    columns = settings.get("columns") or (settings.get("data") or {}).get("columns") or {}
    return {
        role: {name} if isinstance(name, str) else {one for one in name if isinstance(one, str)}
        for role, name in columns.items()
    }


def write_rows(
    manifest: Manifest, out: Path, named: Collection[str], split: Mapping[str, str] | None = None
) -> StepTable:
    """Writes rows as they are, with paths relative to their own folder.

    Args:
        manifest: the rows.
        out: the table.
        named: columns to keep besides those with a meaning.
        split: of each image that is kept; None keeps all as they are.
    """
    if split is not None:
        images = manifest.table["image"]
        kept = manifest.subset(images.isin(list(split)).to_numpy(dtype=bool))
        manifest = kept.with_columns(split=[split[name] or np.nan for name in kept.table["image"]])
    _kept(manifest, named).save(out)
    return StepTable(out, manifest.root)


def write_outputs(
    manifest: Manifest, out: Path, named: Collection[str], files: Mapping[str, str], folder: Path
) -> StepTable:
    """Writes rows with the outputs of a prediction in place of their images.

    Args:
        manifest: the rows that were predicted.
        out: the table.
        named: columns to keep besides those with a meaning.
        files: the output of each image, relative to ``folder``.
        folder: of the outputs.

    Raises:
        InputError: no image has an output.
    """
    kept = manifest.subset([row for row, name in enumerate(manifest.table["image"]) if name in files])
    if not len(kept):
        raise InputError("no image has an output", "look at the errors in the table of predictions")
    place = out.parent
    table = _kept(kept, named).table.copy()
    for column in path_columns(table):
        if column != "image":
            table[column] = table[column].map(lambda cell: _absolute(kept.root, cell), na_action="ignore")
    table["image"] = [os.path.relpath(folder / files[name], place) for name in kept.table["image"]]
    replace(kept, table=table, root=place, origins=[]).save(out)
    return StepTable(out)


def _kept(manifest: Manifest, named: Collection[str]) -> Manifest:
    """Without columns that nobody asked for: they may hold private information, as reports do."""
    meaning = set(manifest.without_extras().table) - ({_REPORT} - set(named))
    return replace(
        manifest, table=manifest.table[[name for name in manifest.table if name in meaning or name in named]]
    )


def _absolute(root: Path, cell: str) -> str:
    file, part = split_reference(cell)
    return f"{os.path.normpath(root.absolute() / file)}{part}"


def outputs_by_image(predictions: Path, names: Iterable[str]) -> dict[str, str]:
    """The output file of each image, by the table of a prediction.

    Slices of a volume that was predicted whole are slices of the predicted volume.

    Args:
        predictions: ``predictions.csv`` beside the outputs.
        names: of the images.

    Raises:
        InputError: an image became several files, of which no row can name one.
    """
    table = pd.read_csv(predictions, dtype=str, keep_default_na=False)
    exact: dict[str, str] = {}
    whole: dict[str, set[str]] = {}
    for image, file, error in zip(
        table["image"].map(as_written), table["file"].map(as_written), table["error"], strict=True
    ):
        if error or not file:
            continue
        body, part = split_reference(image)
        exact[image] = f"{file}{part}" if file.lower().endswith(_VOLUMES) else file
        whole.setdefault(body, set()).add(file)
    found = {}
    for name in names:
        if name in exact:
            found[name] = exact[name]
        elif files := whole.get(name):
            if len(files) > 1:
                raise InputError(
                    f"image '{name}' became {len(files)} files", "name its frames one by one in the data"
                )
            found[name] = next(iter(files))
    return found
