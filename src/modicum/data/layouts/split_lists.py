"""Published splits as lists: ``*train*.txt``, ``*val*.txt`` and ``*test*.txt``, a file name a line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modicum.data.layouts.table import read_text
from modicum.data.manifest import SPLITS, Manifest, split_reference, text_column
from modicum.errors import InputError
from modicum.wording import count_of, listed


@dataclass(frozen=True)
class Listed:
    """One line of a list."""

    text: str
    split: str
    place: str


def apply_split_lists(manifest: Manifest, folder: Path, *, missing: str = "error") -> Manifest:
    """Sets ``split`` from lists. A line is ``file``, or ``file label``, with blanks or commas between.

    A line names an image by its reference, or by the end of it (the name alone), where only one image has
    that. Images that are not listed are left out. Labels in the lists are taken where the manifest has none.

    Args:
        manifest: the images; a split it has already is replaced.
        folder: where the lists are.
        missing: ``error``, or ``keep`` to go on without the listed images that are not in the manifest.

    Raises:
        InputError: no lists, two lists for a split, an image in two splits, listed images that are not there.
    """
    rows = _Rows(manifest)
    splits: dict[int, str] = {}
    labels: dict[int, str] = {}
    first: dict[int, str] = {}
    absent: list[str] = []
    for line in read_split_lists(folder):
        row, label = rows.find(line)
        if row is None:
            absent.append(f"{line.place}: '{line.text}'")
            continue
        if splits.setdefault(row, line.split) != line.split:
            raise InputError(
                f"image '{line.text}' is in two splits: {first[row]} and {line.place}",
                "take it out of one of the lists",
            )
        first.setdefault(row, line.place)
        if label:
            labels[row] = label
    if absent and missing != "keep":
        raise InputError(
            f"{count_of(len(absent), 'listed image')} not found in {manifest.source} ({listed(absent)})",
            "add them, take them off the lists, or pass --skip-broken",
        )
    return _applied(manifest, folder.name, splits, labels, len(absent))


def _applied(
    manifest: Manifest, source: str, splits: Mapping[int, str], labels: Mapping[int, str], absent: int
) -> Manifest:
    notes = [f"splits are those listed in '{source}'"]
    if absent:
        notes.append(f"left out: {count_of(absent, 'image')} listed in '{source}' but not there")
    if len(splits) < len(manifest):
        notes.append(f"left out: {count_of(len(manifest) - len(splits), 'image')} not listed in '{source}'")
    every = range(len(manifest))
    columns = {"split": text_column(splits.get(row) for row in every)}
    if labels and "label" not in manifest.table and not manifest.findings:
        columns["label"] = text_column(labels.get(row) for row in every)
        notes.append(f"labels are those of the lists in '{source}'")
    elif labels and "label" in manifest.table:
        own = manifest.table["label"]
        other = sum(isinstance(own[row], str) and own[row] != label for row, label in labels.items())
        if other:
            notes.append(
                f"labels of {manifest.source} kept for {count_of(other, 'image')} that '{source}' labels otherwise"
            )
    return manifest.with_columns(notes, **columns).subset(np.array(sorted(splits), dtype=np.int64))


def read_split_lists(folder: Path) -> list[Listed]:
    """The lines of all lists in a folder.

    Raises:
        InputError: no lists, or two for one split.
    """
    if not folder.is_dir():
        raise InputError(
            f"the folder of split lists '{folder}' is not there", "give a folder with *train*.txt, ..."
        )
    lists: dict[str, Path] = {}
    for path in sorted(folder.glob("*.txt")):
        # 'train_val_list.txt' of ChestX-ray14 is a training list from which a validation part is taken later.
        split = next((split for split in SPLITS if split in path.stem.lower()), None)
        if split is None:
            continue
        if split in lists:
            raise InputError(
                f"folder '{folder.name}' has two lists for {split} ({lists[split].name}, {path.name})",
                "give a folder with the lists of one split",
            )
        lists[split] = path
    if not lists:
        raise InputError(
            f"folder '{folder.name}' has no split lists", "name them *train*.txt, *val*.txt and *test*.txt"
        )
    lines = []
    for split, path in lists.items():
        for number, line in enumerate(read_text(path)[0].splitlines(), start=1):
            if line.strip():
                lines.append(Listed(line.strip(), split, f"{path.name} row {number}"))
    return lines


class _Rows:
    """Rows of a manifest by what a list may call their images."""

    def __init__(self, manifest: Manifest) -> None:
        self.full: dict[str, int] = {}
        self.short: dict[str, int | None] = {}
        for row, reference in enumerate(manifest.table["image"]):
            file = split_reference(reference)[0]
            self.full[reference] = row
            ends = file.split("/")
            for start in range(1, len(ends)):
                end = "/".join(ends[start:])
                # None marks a name that several images end with.
                self.short[end] = None if end in self.short else row

    def find(self, line: Listed) -> tuple[int | None, str]:
        """The row and the label of a line; names may hold blanks, so the longest that is known counts."""
        for name, rest in _readings(line.text):
            row = self._row(name.removeprefix("./"), line)
            if row is not None:
                return row, rest if len(rest.split()) == 1 else ""
        return None, ""

    def _row(self, name: str, line: Listed) -> int | None:
        if name in self.full:
            return self.full[name]
        if name in self.short and self.short[name] is None:
            raise InputError(
                f"{line.place}: '{name}' is the name of several images", "write it with its folder"
            )
        return self.short.get(name)


def _readings(text: str) -> list[tuple[str, str]]:
    """All ways to read a line as a name and a rest, the longest name first."""
    cuts = [len(text)] + [index for index in range(len(text) - 1, 0, -1) if text[index] in " \t,"]
    return [(text[:cut].rstrip(" \t,"), text[cut:].strip(" \t,").replace(",", " ")) for cut in cuts]
