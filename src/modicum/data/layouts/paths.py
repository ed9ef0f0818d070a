"""Checks references to files: inside the root, existing, and unique."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from modicum.data.layouts.file_finder import near_matches
from modicum.data.manifest import Manifest, path_columns, split_reference
from modicum.errors import InputError
from modicum.wording import count_of, listed

_PROBES = 20
_LONGEST_SHOWN = 200  # signs of a name in a message


def prefix_images(manifest: Manifest, images: Path | None) -> Manifest:
    """Finds the folder of a table's images (and masks, targets), and prefixes it to each reference.

    That is the given folder, or the table's own folder, or the folder ``images`` (``masks``, ``targets``)
    next to the table, with a note.

    Raises:
        InputError: the given folder does not exist.
    """
    if images is not None:
        folder = _images_folder(manifest, images)
        if not folder.resolve().is_relative_to(manifest.root.resolve()):
            return replace(manifest, root=folder)
        prefixes = [os.path.relpath(folder.resolve(), manifest.root.resolve())]
    else:
        prefixes = ["", "images"]
    table, notes = manifest.table.copy(), list(manifest.notes)
    for column in path_columns(table):
        folders = ["", f"{column}s", column.partition(":")[2], *prefixes]
        choices = prefixes if column == "image" else list(dict.fromkeys(folders))
        prefix = _holding(manifest.root, choices, table[column].dropna())
        if prefix not in ("", "."):
            table[column] = table[column].map(lambda text, p=prefix: _below(p, text), na_action="ignore")
            if images is None or column != "image":
                notes.append(f"column '{column}' of {manifest.source} is relative to the folder '{prefix}/'")
    return replace(manifest, table=table, notes=notes)


def _images_folder(manifest: Manifest, images: Path) -> Path:
    for folder in (manifest.root / images, Path(images).absolute()):
        if folder.is_dir():
            return folder
    raise InputError(
        f"the folder of images '{images}' does not exist", f"pass one below the folder of {manifest.source}"
    )


def _below(prefix: str, text: str) -> str:
    text = text.replace("\\", "/")
    return text if re.match(r"/|[A-Za-z]:/", text) else f"{prefix}/{text}"


def _holding(root: Path, prefixes: list[str], texts: Iterable[str]) -> str:
    """The first prefix under which one of the first files exists; the first prefix if there is none."""
    first = [split_reference(text)[0] for text in islice(texts, _PROBES)]
    for prefix in prefixes:
        if any(
            (root / _below(prefix, text)).exists() if prefix else (root / text).exists() for text in first
        ):
            return prefix
    return prefixes[0]


def confine(manifest: Manifest, allow_outside: bool = False) -> Manifest:
    """Normalises references (relative, forward slashes), and refuses those outside the root.

    Raises:
        InputError: a blank image; a reference outside the root, also through a link.
    """
    table = manifest.table.copy()
    for row in np.flatnonzero(table["image"].isna())[:1]:
        raise InputError(
            f"{manifest.describe_row(int(row))} names no image", "fill in the cell or delete the row"
        )
    inside = _Inside(manifest.root)
    for column in path_columns(table):
        texts = []
        for row, text in enumerate(table[column]):
            plain, is_inside = (text, True) if isinstance(text, float) else inside.plain(text)
            if not is_inside and not allow_outside:
                near = near_matches(manifest, [split_reference(text)[0].replace("\\", "/")])
                raise InputError(
                    f"{manifest.describe_row(row)}: {column} '{text}' is outside the data's folder",
                    f"move it there, or pass --allow-outside if you trust the table{near}",
                )
            texts.append(plain)
        table[column] = pd.Series(texts, dtype=table[column].dtype)
    return replace(manifest, table=table)


class _Inside:
    """Checks whether files are below a root; looks up each folder once."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.normpath(root.absolute())
        self.real = os.path.realpath(root)
        self.folders: dict[str, bool] = {}

    def plain(self, text: str) -> tuple[str, bool]:
        """The reference relative to the root with forward slashes, and whether it is inside.

        A reference outside is returned as absolute.
        """
        path, fragment = split_reference(text)
        if "\\" in path and not os.path.lexists(f"{self.root}/{path}"):
            path = path.replace("\\", "/")
        if re.match(r"[A-Za-z]:/", path) and os.name != "nt":
            return path + fragment, False
        full = os.path.normpath(path if Path(path).is_absolute() else f"{self.root}/{path}")
        for root in (self.root, self.real):
            if full.startswith(root.rstrip(os.sep) + os.sep):
                relative = full[len(root.rstrip(os.sep)) + 1 :]
                return relative.replace(os.sep, "/") + fragment, self._truly_inside(full)
        return full.replace(os.sep, "/") + fragment, False

    def _truly_inside(self, full: str) -> bool:
        if Path(full).is_symlink():
            return self._real_inside(full)
        folder = full.rpartition(os.sep)[0]
        if folder not in self.folders:
            self.folders[folder] = self._real_inside(folder)
        return self.folders[folder]

    def _real_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self.real or real.startswith(self.real.rstrip(os.sep) + os.sep)


def refuse_repeats(manifest: Manifest) -> None:
    """Raises :class:`~modicum.errors.InputError` if an image is in several rows, with the rows."""
    images = manifest.table["image"]
    repeated = images.duplicated(keep=False)
    if not repeated.any():
        return
    first = images[repeated].iloc[0]
    rows = [int(row) for row in np.flatnonzero(images == first)]
    where = " and ".join(manifest.describe_row(row) for row in rows[:3])
    num_others = images[repeated].nunique() - 1
    more = f" (and {count_of(num_others, 'other image')})" if num_others else ""
    raise InputError(f"image '{first}' is in {len(rows)} rows: {where}{more}", "keep one row per image")


def require_files(manifest: Manifest) -> None:
    """Raises :class:`~modicum.errors.InputError` if files do not exist, with their count and the first few."""
    exists: dict[str, bool] = {}
    absent: list[str] = []
    names: list[str] = []
    for column in path_columns(manifest.table):
        for row, text in enumerate(manifest.table[column]):
            if isinstance(text, float):
                continue
            file = split_reference(text)[0]
            if file not in exists:
                exists[file] = (manifest.root / file).is_file()
            if not exists[file]:
                origin = manifest.origins[row] if manifest.origins else f"image {row + 1}"
                shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
                absent.append(f"{origin}: {column} '{shown}'")
                names.append(file)
    if absent:
        near = near_matches(manifest, names)
        raise InputError(
            f"{manifest.source}: {count_of(len(absent), 'file')} not found ({listed(absent)}{near})",
            "fix the paths, pass their folder with --images, or pass --skip-broken",
        )
