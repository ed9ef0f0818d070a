"""Whether the names of folders may be taken for classes, which is the last resort, and on what grounds."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modicum.data.layouts.file_finder import FileFinder
from modicum.data.layouts.folder_tables import head_of, naming_table
from modicum.data.layouts.table import tables_of
from modicum.data.manifest import Manifest, split_reference
from modicum.errors import InputError
from modicum.wording import listed

# Folders that say where files are from, not what is on them: 'images_part_1', 'batch-2', 'train_images', 'imagesTr'.
_PART = re.compile(r".*(part|batch|chunk|shard|volume|archive|images?|imgs?|disk|zip|fold)s?[ _-]?\d+")
_KIND = re.compile(
    r"(.*[_ -])?(images?|imgs?|masks?|annotations?|segmentations?|groundtruths?|metadata)"
    r"([_ -]?(tr|ts|train|val|test|\d+))?"
)

_ANYWAY = "or take the folders for classes: modicum fit --set layout=folder"


def grounded(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest of a bare folder with a note of why its folders are classes.

    Raises:
        InputError: its folders are parts or kinds of files rather than classes, or a table names the images.
    """
    table = _table_about(folder, manifest)
    if "label" not in manifest.table:
        if table is None:
            return manifest
        note = f"images without labels; the table '{table[0].name}' names them in column '{table[1]}': give it for more"
        return replace(manifest, notes=[note, *manifest.notes])
    classes = manifest.classes()
    if table is not None:
        path, column = table
        raise InputError(
            f"folder '{folder.name}' has folders ({listed(classes, most=4)}) that would be taken for classes, but the "
            f"table '{path.name}' names its images in column '{column}'",
            f"give the table: {_quoted(path)} --image {shlex.quote(column)} --label COLUMN --images {_quoted(folder)}; "
            f"{_ANYWAY}",
        )
    odd = [name for name in classes if _PART.fullmatch(name.lower()) or _KIND.fullmatch(name.lower())]
    if odd and (len(odd) == len(classes) or any(_KIND.fullmatch(name.lower()) for name in odd)):
        raise InputError(
            f"folder '{folder.name}' has folders {listed(odd, most=4)}, which do not look like classes",
            f"give a table with --label, name image and target folders with --pairs, {_ANYWAY}",
        )
    ground = (
        f"classes are the names of the folders ({listed(classes, most=8)}): "
        "no table, data list or known layout was found"
    )
    return replace(manifest, notes=[ground, *manifest.notes])


def _quoted(path: Path) -> str:
    """As a shell takes it, however it was given."""
    return shlex.quote(os.path.normpath(path))


def _table_about(folder: Path, manifest: Manifest) -> tuple[Path, str] | None:
    """A table in, beside or one folder below that names the images and does not just repeat the folders' names."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    tables = [
        *tables_of(folder),
        *(table for path in below[:30] for table in tables_of(path)),
        *_beside(folder),
    ]
    if not tables:
        return None
    finder = FileFinder(split_reference(image)[0] for image in manifest.table["image"])
    cells = manifest.table["label"] if "label" in manifest.table else [""] * len(manifest)
    labels = dict(zip(manifest.table["image"], cells, strict=True))
    for table in tables:
        named = naming_table([table], finder)
        if named is not None and not _repeats(table, named[1], finder, labels):
            return named
    return None


def _beside(folder: Path) -> Sequence[Path]:
    try:
        return tables_of(folder.absolute().parent)
    except OSError:  # a folder above that may not be read holds nothing for this one
        return []


def _repeats(table: Path, column: str, finder: FileFinder, labels: dict[str, str]) -> bool:
    """Whether some column says of each image what its folder says."""
    head = head_of(table)
    files = [finder.find(str(cell)) for cell in head[column]]
    wanted = [labels.get(match[0]) if len(match) == 1 else None for match in files]
    return any(
        all(
            label is None or str(cell).casefold() == str(label).casefold()
            for cell, label in zip(head[name], wanted, strict=True)
        )
        for name in head
        if name != column
    )
