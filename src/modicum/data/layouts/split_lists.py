"""Split lists ``*train*.txt``, ``*val*.txt`` and ``*test*.txt``: one image per line, optionally with labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modicum.data.layouts.file_finder import FileFinder
from modicum.data.layouts.list_labels import labels_of_lists
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.manifest import SPLITS, Manifest, split_reference, text_column
from modicum.data.table_cells import read_text
from modicum.errors import InputError
from modicum.wording import count_of, listed

# Priority of splits when overlaps are dropped: evaluated images must not be trained on.
_BEFORE = ("test", "val", "train")


@dataclass(frozen=True)
class Listed:
    """One line of a list."""

    text: str
    split: str
    origin: str


def apply_split_lists(
    manifest: Manifest,
    lists: Path | Sequence[Path],
    *,
    missing: str = "error",
    options: LayoutOptions | None = None,
    classes: Sequence[str] | None = None,
) -> Manifest:
    """Sets ``split`` from lists. A line is ``file``, or ``file label ...``, separated by blanks or commas.

    A line names an image by its reference, or by the end of it (the file name, also without suffix), if that is
    unique. Images that are not listed are left out. Labels in the lists are used if the manifest has none; several
    per line are findings.

    Args:
        manifest: the images; an existing split is replaced.
        lists: the folder of the lists, or the files.
        missing: ``error``, or ``keep`` to ignore listed images that are not in the manifest.
        options: ``overlaps`` and ``relabel``.
        classes: names of the findings or classes.

    Raises:
        InputError: no lists, two lists for a split, an image in two splits, listed images that do not exist, invalid
            labels.
    """
    options = options or LayoutOptions()
    rows = _Rows(manifest)
    lines_of_row: dict[int, dict[str, Listed]] = {}
    labels: dict[int, list[tuple[Listed, str]]] = {}
    absent: list[str] = []
    lines, notes = read_split_lists(lists)
    for line in lines:
        row, rest = rows.find(line)
        if row is None:
            absent.append(f"{line.origin}: '{line.text}'")
            continue
        lines_of_row.setdefault(row, {}).setdefault(line.split, line)
        labels.setdefault(row, []).append((line, rest))
    if absent and missing != "keep":
        raise InputError(
            f"{count_of(len(absent), 'listed image')} not found in {manifest.source} ({listed(absent)})",
            "add them, remove them from the lists, or pass --skip-broken",
        )
    source = (
        lists.name if isinstance(lists, Path) else lists[0].parent.name if len(lists) > 1 else lists[0].name
    )
    splits, more = _splits_of(lines_of_row, options)
    label_of_row, contrary = _labels_of(labels, splits)
    notes = [f"splits are those listed in '{source}'", *notes, *more, *contrary]
    if absent:
        notes.append(f"left out: {count_of(len(absent), 'image')} listed in '{source}' that do not exist")
    if len(lines_of_row) < len(manifest):
        notes.append(
            f"left out: {count_of(len(manifest) - len(lines_of_row), 'image')} not listed in '{source}'"
        )
    labelled = labels_of_lists(manifest, label_of_row, source, options, classes)
    kept = [(row, split) for row in sorted(splits) for split in splits[row]]
    selected = labelled.subset(np.array([row for row, _ in kept], dtype=np.int64))
    return selected.with_columns(notes, split=text_column(split for _, split in kept))


def _splits_of(
    lines_of_row: Mapping[int, Mapping[str, Listed]], options: LayoutOptions
) -> tuple[dict[int, list[str]], list[str]]:
    """The splits of each row (one, unless overlaps are kept), and notes."""
    twice = {row: lines for row, lines in lines_of_row.items() if len(lines) > 1}
    if twice and options.overlaps == "error":
        first, second = list(next(iter(twice.values())).values())[:2]
        more = f" (and {count_of(len(twice) - 1, 'other image')})" if len(twice) > 1 else ""
        raise InputError(
            f"image '{second.text}' is in two splits: {first.origin} and {second.origin}{more}",
            "remove it from one of the lists, or set layout option overlaps to drop or keep",
        )
    pairs = Counter(
        (first_split, other_split)
        for lines in twice.values()
        for at, first_split in enumerate(_BEFORE)
        for other_split in _BEFORE[at + 1 :]
        if first_split in lines and other_split in lines
    )
    sizes = Counter(split for lines in lines_of_row.values() for split in lines)
    done = (
        "kept in both, so that scores are optimistic"
        if options.overlaps == "keep"
        else "kept in the first only"
    )
    notes = [
        f"leak: {first_split} and {other_split} share {count_of(number, 'image')} "
        f"({number / sizes[first_split]:.0%} of {first_split}), {done}"
        for (first_split, other_split), number in pairs.items()
    ]
    if options.overlaps == "keep":
        return {
            row: [split for split in SPLITS if split in lines] for row, lines in lines_of_row.items()
        }, notes
    return {
        row: [next(split for split in _BEFORE if split in lines)] for row, lines in lines_of_row.items()
    }, notes


def _labels_of(
    lines: Mapping[int, Sequence[tuple[Listed, str]]], splits: Mapping[int, Sequence[str]]
) -> tuple[dict[int, tuple[str, str]], list[str]]:
    """The label of each row and its origin, from the lines that are kept, and notes.

    Raises:
        InputError: kept lines give one image two labels.
    """
    chosen: dict[int, tuple[str, str]] = {}
    dropped: list[str] = []
    for row, of_row in lines.items():
        kept = [(line, label) for line, label in of_row if line.split in splits[row]]
        labelled = [(line, label) for line, label in kept if label] or kept
        first, label = labelled[0]
        for other, text in labelled[1:]:
            if text.split() != label.split():
                raise InputError(
                    f"image '{first.text.split()[0]}' has two labels: '{label}' in {first.origin} and '{text}' in "
                    f"{other.origin}",
                    "correct or remove one of the lines",
                )
        chosen[row] = (label, first.origin)
        if any(label and text and text.split() != label.split() for _, text in of_row):
            dropped.append(first.origin)
    if not dropped:
        return chosen, []
    return chosen, [
        f"caution: {count_of(len(dropped), 'image')} had other labels in the lists that they were dropped from "
        f"({listed(dropped)} count)"
    ]


def read_split_lists(lists: Path | Sequence[Path]) -> tuple[list[Listed], list[str]]:
    """Reads the lines of all lists in a folder, or of these files, and notes.

    Of ``train_1.txt``, ``train_10.txt`` and ``train_list.txt`` (subsets for few labels), only the last is read.

    Raises:
        InputError: no lists, or two for one split.
    """
    paths, where = _files(lists)
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        # 'train_val_list.txt' of ChestX-ray14 is a training list, from which a validation split is drawn later.
        split = next((split for split in SPLITS if split in path.stem.lower()), None)
        if split is not None:
            by_split.setdefault(split, []).append(path)
    if not by_split:
        raise InputError(f"{where} has no split lists", "name them *train*.txt, *val*.txt and *test*.txt")
    lines: list[Listed] = []
    notes: list[str] = []
    for split, several in by_split.items():
        whole = _whole(several)
        if whole is None:
            names = ", ".join(path.name for path in several)
            raise InputError(
                f"{where} has two lists for {split} ({names})", "pass a folder with one list per split"
            )
        if len(several) > 1:
            notes.append(f"{split} is the whole of {whole.name}; for fewer labels pass the lists by name")
        for number, line in enumerate(read_text(whole)[0].splitlines(), start=1):
            if line.strip():
                lines.append(Listed(line.strip(), split, f"{whole.name} row {number}"))
    return lines, notes


def _files(lists: Path | Sequence[Path]) -> tuple[list[Path], str]:
    """The files that may be lists, and a description of where they are."""
    if isinstance(lists, Path) and lists.is_dir():
        return sorted(lists.glob("*.txt")), f"folder '{lists.name}'"
    paths = [lists] if isinstance(lists, Path) else list(lists)
    for path in paths:
        if not path.is_file():
            what = "folder of split lists" if len(paths) == 1 else "split list"
            raise InputError(
                f"the {what} '{path}' does not exist", "pass a folder with *train*.txt, ..., or the lists"
            )
    return paths, f"'{listed(path.name for path in paths)}'"


def _whole(paths: Sequence[Path]) -> Path | None:
    """The only list, or the complete one among subsets (``train_list.txt``, not ``train_10.txt``)."""
    shares = [path for path in paths if path.stem.rpartition("_")[2].isdigit()]
    whole = [path for path in paths if path not in shares]
    return whole[0] if len(whole) == 1 else paths[0] if len(paths) == 1 else None


class _Rows:
    """Looks up rows of a manifest by the names that lists may use."""

    def __init__(self, manifest: Manifest) -> None:
        self.root = manifest.root.name
        self.full: dict[str, int] = {}
        self.by_file: dict[str, list[int]] = {}
        for row, reference in enumerate(manifest.table["image"]):
            self.full[reference] = row
            self.by_file.setdefault(split_reference(reference)[0], []).append(row)
        self.finder = FileFinder(self.by_file)

    def find(self, line: Listed) -> tuple[int | None, str]:
        """The row and the labels of a line; names may contain blanks, so the longest match counts."""
        for name, rest in _readings(line.text):
            row = self._row(name.removeprefix("./"), line)
            if row is not None:
                return row, rest
        return None, ""

    def _row(self, name: str, line: Listed) -> int | None:
        if name in self.full:
            return self.full[name]
        # Names in lists of CheXpert begin with the data set's own folder.
        above, _, rest = name.partition("/")
        if above == self.root and rest in self.full:
            return self.full[rest]
        rows = [row for file in self.finder.find(name) for row in self.by_file[file]]
        if len(rows) > 1:
            raise InputError(
                f"{line.origin}: '{name}' is the name of several images",
                "write it with its folder, for instance a/001.png",
            )
        return rows[0] if rows else None


def _readings(text: str) -> list[tuple[str, str]]:
    """All ways to read a line as a name and a rest, the longest name first."""
    cuts = [len(text)] + [index for index in range(len(text) - 1, 0, -1) if text[index] in " \t,"]
    return [(text[:cut].rstrip(" \t,"), text[cut:].strip(" \t,").replace(",", " ")) for cut in cuts]
